"""What guidance shows: how many tokens of the ground truth, to which members of a group.

Pure functions of an encoded problem; the environments execute them at every reset, wrappers only write the plan.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from g2rpo_env.assignment import Assignment, FirstMembers, chosen, members_guided
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.placement import InAnswer, Placement, placed
from g2rpo_env.problem import Problem
from g2rpo_env.streams import Seed

__all__ = ["CAPS", "UNITS", "EncodedProblem", "RevealPlan", "first_occurrence", "members_guided", "reveal_tokens"]


@dataclass(frozen=True)
class EncodedProblem:
    """A problem as tokens, each produced once.

    Attributes:
        problem: The problem.
        prompt_T: int32, tokens of the prompt.
        solution_T: int32, tokens of the whole solution, without the end token.
        end_T: int64, where each token of the solution ends in its text.
        step_ends: For each step the number of solution tokens up to its end. A boundary inside a token moves to the
            start of that token.
    """

    problem: Problem
    prompt_T: np.ndarray
    solution_T: np.ndarray
    end_T: np.ndarray
    step_ends: tuple[int, ...]

    @cached_property
    def before_answer(self) -> int:
        """Number of solution tokens before the answer or an alias first occurs, see :func:`first_occurrence`."""
        texts = (self.problem.answer, *self.problem.aliases)
        first = min(first_occurrence(text, self.problem.solution) for text in texts)
        return int(np.searchsorted(self.end_T, first, side="right"))

    @property
    def revealable(self) -> int:
        """Number of solution tokens that may be shown: all steps, never the final answer."""
        return self.step_ends[-1] if self.step_ends else 0


CAPS: dict[str, Callable[[EncodedProblem], int]] = {
    "final_answer": lambda encoded: encoded.revealable,
    "before_answer": lambda encoded: min(encoded.before_answer, encoded.revealable),
}
"""How far a reveal may reach: to the end of the steps, or only to where the final answer first occurs in them."""


_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d*))?")


def first_occurrence(answer: str, text: str) -> int:
    """Return where a final answer first stands in a text; the length of the text if it does not.

    A number is found in every way of writing it: with leading zeros, with separated thousands, with zeros behind the
    decimal point. Any other answer is found as it is, and not inside a word.

    >>> first_occurrence("1234", "12340 + 1,234.00"), first_occurrence("5", "1.5 + 05"), first_occurrence("B", "AB B")
    (8, 6, 3)
    """
    if not answer:
        return len(text)
    number = _NUMBER.fullmatch(answer)
    pattern = _number_pattern(*number.groups(default="")) if number else _text_pattern(answer)
    found = re.search(pattern, text)
    return found.start() if found else len(text)


def _number_pattern(sign: str, whole: str, decimals: str) -> str:
    thousands = ",?".join(f"{int(whole):,}".split(","))
    decimals = decimals.rstrip("0")
    # "1.5" and "12" hold no 5 and no 2, but "3,5" may be a list: rather stop too early than show the answer.
    return rf"(?<!\d)(?<!\d\.){sign}0*{thousands}" + (rf"\.{decimals}0*(?!\d)" if decimals else r"(?!\d)")


def _text_pattern(answer: str) -> str:
    left = r"(?<!\w)" if re.match(r"\w", answer) else ""
    right = r"(?!\w)" if re.search(r"\w$", answer) else ""
    return left + re.escape(answer) + right


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
    """Return how many solution tokens a reveal of ``amount`` shows, an int in [0, revealable].

    Args:
        encoded: The problem.
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


@dataclass
class RevealPlan:
    """What the environment reveals at its next resets; a guidance wrapper writes it.

    Attributes:
        length: Length for every guided episode, in ``unit``, a float that is rounded only where it is used.
        unit: A key of :data:`UNITS`.
        ratio: Share of the members of a group that are guided, in [0, 1]: ceil(ratio * G) of them. For groups of one
            each episode is guided with this probability, from a stream of its own.
        cap: A key of :data:`CAPS`.
        rule: Optional (problem_ids, members) -> lengths, asked at every reset instead of ``length``; this is how a
            controller with per-problem lengths is followed.
        who: Which members are guided, and with what share of the length: an object of :mod:`g2rpo_env.assignment` or
            one of its names.
        place: What is shown and where it stands: an object of :mod:`g2rpo_env.placement` or one of its names.
        counted: Whether guidance in the answer counts towards the budget of sampled tokens.
    """

    length: float = 0.0
    unit: str = "tokens"
    ratio: float = 1.0
    cap: str = "final_answer"
    rule: Callable[[Sequence[str], Sequence[int]], Any] | None = None
    who: Assignment | str = FirstMembers()
    place: Placement | str = InAnswer()
    counted: bool = False

    def __post_init__(self) -> None:
        self.who, self.place = chosen(self.who), placed(self.place)
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
        return chosen(self.who).share(root, group, member, group_size, self.ratio)

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
