"""The reveal plan: how many tokens of the ground truth are shown, to which members of a group.

Pure functions of an encoded problem; the environments execute them at every reset, wrappers only write the plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.encoding import EncodedProblem
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal.assignment import Assignment, resolve_assignment
from g2rpo_env.reveal.placement import Placement, resolve_placement
from g2rpo_env.streams import Seed

CAPS: dict[str, Callable[[EncodedProblem], int]] = {
    "final_answer": lambda encoded: encoded.revealable,
    "before_answer": lambda encoded: min(encoded.before_answer, encoded.revealable),
}
"""Ends of a reveal: the end of the steps, or the place where the final answer first occurs in them."""


def _half_up(amount: float) -> int:
    return math.floor(amount + 0.5)  # not round(), which takes 2.5 to 2 and 3.5 to 4


def _tokens(encoded: EncodedProblem, amount: float, cap: int) -> int:
    return _half_up(amount)


def _steps(encoded: EncodedProblem, amount: float, cap: int) -> int:
    count = min(_half_up(amount), len(encoded.step_ends))
    return encoded.step_ends[count - 1] if count else 0


def _fraction(encoded: EncodedProblem, amount: float, cap: int) -> int:
    return _half_up(amount * cap)


UNITS: dict[str, Callable[[EncodedProblem, float, int], int]] = {
    "tokens": _tokens,
    "steps": _steps,
    "fraction": _fraction,
}
"""Units of a reveal length: solution tokens, whole steps, or the fraction of the revealable part."""


def reveal_tokens(encoded: EncodedProblem, amount: float, unit: str = "tokens", cap: str = "final_answer") -> int:
    """Return the number of tokens that a reveal of ``amount`` shows, an int in [0, revealable].

    Args:
        encoded: The problem, or another text of it: :meth:`EncodedProblem.text`.
        amount: Length in ``unit``, >= 0; more than there is shows all that may be shown.
        unit: A key of :data:`UNITS`.
        cap: A key of :data:`CAPS`.

    Raises:
        ConfigurationError: ``amount`` is negative, not a number, or a fraction above 1.
    """
    if not amount >= 0:
        raise ConfigurationError(f"reveal={amount} must be a length of at least 0 {unit}")
    if unit == "fraction" and amount > 1:
        raise ConfigurationError(f"reveal={amount} must lie in [0, 1] for unit='fraction'")
    limit = CAPS[cap](encoded)
    return min(UNITS[unit](encoded, min(amount, 1e9), limit), limit)


Rule = Callable[[Sequence[str], Sequence[int]], Any]
"""(problem_ids, members) -> reveal lengths, (N,)."""


@dataclass(init=False)
class RevealPlan:
    """Guidance at the next resets of an environment; a guidance wrapper writes it, and may change it at any time.

    Args:
        length: Length for every guided episode, in ``unit``, a float that is rounded only where it is used.
        unit: A key of :data:`UNITS`.
        ratio: Share of the members of a group that are guided, in [0, 1]: ceil(ratio * G) of them. For groups of one
            each episode is guided with this probability, from a stream of its own.
        cap: A key of :data:`CAPS`.
        rule: Optional (problem_ids, members) -> lengths, asked at every reset instead of ``length``; this is how a
            controller with per-problem lengths is followed.
        who: Which members are guided, and with what share of the length: an object of
            :mod:`~g2rpo_env.reveal.assignment` or one of its names.
        place: The text that is shown and where it stands: an object of :mod:`g2rpo_env.reveal.placement` or one of its
            names.
        counted: Whether guidance in the answer counts towards the budget of sampled tokens.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    length: float
    unit: str
    ratio: float
    cap: str
    rule: Rule | None
    who: Assignment
    place: Placement
    counted: bool

    def __init__(
        self,
        length: float = 0.0,
        unit: str = "tokens",
        ratio: float = 1.0,
        cap: str = "final_answer",
        rule: Rule | None = None,
        who: Assignment | str = "first",
        place: Placement | str = "answer",
        counted: bool = False,
    ) -> None:
        self.length, self.unit, self.ratio, self.cap = length, unit, ratio, cap
        self.rule, self.counted = rule, counted
        self.who, self.place = resolve_assignment(who), resolve_placement(place)
        self.validate()

    def validate(self) -> None:
        """Raise ConfigurationError unless every field keeps its rule."""
        if not self.length >= 0 or math.isinf(self.length):
            raise ConfigurationError(f"length={self.length} must be finite and at least 0 {self.unit}")
        if self.unit not in UNITS:
            raise ConfigurationError(f"unit={self.unit!r} must be one of {', '.join(UNITS)}")
        if self.unit == "fraction" and self.length > 1:
            raise ConfigurationError(f"length={self.length} must lie in [0, 1] for unit='fraction'")
        if not 0 <= self.ratio <= 1:
            raise ConfigurationError(f"ratio={self.ratio} must lie in [0, 1]")
        if self.cap not in CAPS:
            raise ConfigurationError(f"reveal_cap={self.cap!r} must be one of {', '.join(CAPS)}")

    def share(self, root: Seed, group: int, member: int, group_size: int) -> float:
        """Return the share of the length that this member gets, in [0, 1]; 0 for members without guidance."""
        return self.who.share(root, group, member, group_size, self.ratio)

    def tokens(self, encoded: EncodedProblem, amount: float) -> int:
        """Return the number of tokens that a reveal of ``amount`` shows of a problem, see :func:`reveal_tokens`."""
        return reveal_tokens(encoded.text(self.place.what), amount, self.unit, self.cap)

    def is_guided(self, root: Seed, group: int, member: int, group_size: int) -> bool:
        """Whether this member is guided; a pure function of the key, whatever the lane or the order."""
        return self.share(root, group, member, group_size) > 0

    def lengths(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the length in ``unit`` for each episode, float (N,)."""
        if self.rule is None:
            return np.full(len(problem_ids), float(self.length))
        lengths = np.asarray(self.rule(problem_ids, members), dtype=float)
        if lengths.shape != (len(problem_ids),):
            raise ConfigurationError(
                f"the reveal rule returned shape {lengths.shape}; it must give one length per episode, "
                f"({len(problem_ids)},)"
            )
        return lengths


NO_REVEAL = RevealPlan()
"""Nothing is revealed unless a reset asks for it, in tokens."""
