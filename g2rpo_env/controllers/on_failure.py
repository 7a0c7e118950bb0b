"""Rules that act on failure: a problem gets help only once its own attempts have failed.

All of them remember each problem and reveal nothing to a problem never seen. In the papers a group that fails is
sampled again with help at once; here the help comes at the next visit to the problem, because a controller acts between
updates. Lengths are shares of ``max_length``: with unit ``fraction`` and max_length 1, shares of each solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.controllers.base import Bounded, Feedback
from g2rpo_env.controllers.per_problem import remember
from g2rpo_env.errors import ConfigurationError

State = tuple[float, ...]
"""Memory of one problem: a few numbers."""


def check_rising_shares(name: str, shares: Sequence[float]) -> tuple[float, ...]:
    """Return shares as floats.

    Raises:
        ConfigurationError: there is none, or they do not rise within (0, 1].
    """
    shares = tuple(float(share) for share in shares)
    if not shares or not all(a < b for a, b in zip((0.0, *shares), shares, strict=False)) or shares[-1] > 1:
        raise ConfigurationError(f"{name}={shares} must be rising shares in (0, 1], at least one")
    return shares


@dataclass
class FailureTriggered(Bounded):
    """Base class: keeps a state per problem; a rule says how it begins, how it moves and what share it reveals.

    Args:
        length: Only shown, never used: the mean length planned for the problems of the last update.
        source: Whose success the history shows; what counts for a problem are all its valid episodes.
        min_length: Least length of a reveal; problems without help get 0 all the same.
        max_length: Length of a whole solution in the unit of the guidance wrapper, > 0 and not None; the default is
            that of the unit ``fraction``.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    length: float = 0.0
    min_length: float = 0.0
    max_length: float | None = 1.0
    _own: dict[str, State] = field(default_factory=dict, init=False, repr=False)
    _seen: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is None or not self.max_length > 0:
            raise ConfigurationError(f"max_length={self.max_length} must be above 0: the length of a whole solution")

    def _begin(self) -> State:
        """Return the state of a problem never seen."""
        raise NotImplementedError

    def _move(self, state: State, helped: bool, alone: bool) -> State:
        """Return the state after a visit: whether any episode was right, and whether one without a reveal was."""
        raise NotImplementedError

    def _share(self, state: State) -> float:
        """Return the share to reveal, in [0, 1]."""
        raise NotImplementedError

    def _learn(self, feedback: Feedback) -> None:
        self._seen = tuple(dict.fromkeys(feedback.problem_id.tolist()))
        for problem_id in self._seen:
            mine = feedback.of_problem(problem_id)
            if not mine.valid.any():
                continue
            right = mine.valid & (mine.correct > 0)
            before = self._own.get(problem_id, self._begin())
            after = self._move(before, bool(right.any()), bool((right & ~mine.guided).any()))
            remember(self._own, problem_id, after)

    def _next(self, reward: float) -> float:
        return float(np.mean(self.plan(self._seen, [0] * len(self._seen)))) if self._seen else self.length

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the length of each problem, float (N,); 0 for problems never seen."""
        shares = [self._share(self._own[p]) if p in self._own else 0.0 for p in problem_ids]
        return np.array([self._clip(share * self._ceiling) if share > 0 else 0.0 for share in shares])

    def state_dict(self) -> dict[str, Any]:
        """Return length, history and the state of every problem."""
        own = {problem_id: list(state) for problem_id, state in self._own.items()}
        return {**super().state_dict(), "_own": own, "_seen": list(self._seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._own = {problem_id: tuple(one) for problem_id, one in state["_own"].items()}
        self._seen = tuple(state["_seen"])


@dataclass
class Stages(FailureTriggered):
    """GHPO: a problem whose whole group fails gets 25 %, then 50 %, then 75 % of its solution; one success, none.

    Source: GHPO, read in hkgc-1/GHPO, ghpo_trainer.py lines 831-833 (its ``hint_ratio`` is never read there).

    Deviations: 1. The next stage comes at the next visit, see the module. 2. Shares are counted in tokens or steps, not
    in characters. 3. The hint is the beginning of the answer, not a part of the prompt.

    Args:
        stages: Rising shares in (0, 1].

    >>> rule, one = Stages(), np.ones(2, bool)
    >>> def visit(correct):
    ...     return Feedback(np.array(["a", "a"], object), np.arange(2), one, one * 1, one * correct, one)
    >>> [rule.update(visit(c)) for c in (False, False, False, False, True)]
    [0.25, 0.5, 0.75, 0.75, 0.0]
    """

    stages: tuple[float, ...] = (0.25, 0.5, 0.75)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stages = check_rising_shares("stages", self.stages)

    def _begin(self) -> State:
        return (0,)

    def _move(self, state: State, helped: bool, alone: bool) -> State:
        return (0,) if helped else (min(state[0] + 1, len(self.stages)),)

    def _share(self, state: State) -> float:
        return self.stages[int(state[0]) - 1] if state[0] else 0.0


@dataclass
class SmallestHint(FailureTriggered):
    """Scaf-GRPO: the smallest of ``parts`` cumulative parts of the solution that lets a failed problem succeed.

    The level k in 0..parts reveals k / parts. A group without success raises it by one; after ``patience`` successful
    visits the next smaller one is tried; a success without a reveal takes it to 0. No help in the first ``warmup``
    updates.

    Source: Scaf-GRPO, read in dvlab-research/Scaf-GRPO 1085db5, ray_trainer.py lines 1467-1642: tiers of 4 cumulative
    parts, only all-zero groups, after 50 steps (15 % of the training in the paper, a secondary note says).

    Deviations: 1. One level per visit, see the module. 2. Only the tier "solution": the tiers "knowledge" and
    "planning" are texts that most data sets do not have. 3. Scaf-GRPO swaps one failed episode for the hinted success;
    here the guidance wrapper says who is guided.

    Args:
        parts: Number of parts, >= 1.
        warmup: Updates before any help, >= 0.
        patience: Successful visits before less is tried, >= 1.

    >>> rule, one = SmallestHint(patience=1), np.ones(2, bool)
    >>> def visit(correct):
    ...     return Feedback(np.array(["a", "a"], object), np.arange(2), one, one * 1, one * correct, one)
    >>> [rule.update(visit(c)) for c in (False, False, True, False, True)]
    [0.25, 0.5, 0.25, 0.5, 0.25]
    """

    parts: int = 4
    warmup: int = 0
    patience: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("parts", 1), ("warmup", 0), ("patience", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least {least}")

    def _begin(self) -> State:
        return (0, 0)

    def _move(self, state: State, helped: bool, alone: bool) -> State:
        level, successes = state
        if len(self.history) < self.warmup or alone:
            return (0, 0)
        if not helped:
            return (min(level + 1, self.parts), 0)
        return (max(level - 1, 0), 0) if successes + 1 >= self.patience else (level, successes + 1)

    def _share(self, state: State) -> float:
        return state[0] / self.parts


@dataclass
class ShortestPrefix(FailureTriggered):
    """BREAD: the shortest prefix of the solution that leads to success, found by bisection.

    A problem that fails alone opens the bracket (0, 1); its middle is tried, a success lowers the upper end, a failure
    raises the lower one. Once the bracket is no wider than ``resolution`` its upper end is used. A success alone ends
    the help.

    Source: BREAD (abstract only, third-party: branch from the shortest expert prefix that yields success, only where
    own traces fail; that it is found by bisection is from memory, low confidence).

    Deviations: 1. One try per visit, see the module. 2. Because the policy changes, a success with a closed bracket
    opens it downwards by four times the resolution, a failure upwards by as much.

    Args:
        resolution: Width at which the search ends, in (0, 1/2].

    >>> rule, one = ShortestPrefix(resolution=0.125), np.ones(2, bool)
    >>> def visit(correct):
    ...     return Feedback(np.array(["a", "a"], object), np.arange(2), one, one * 1, one * correct, one)
    >>> [rule.update(visit(c)) for c in (False, True, False, True)]     # (0, 1), (0, 0.5), (0.25, 0.5), (0.25, 0.375)
    [0.5, 0.25, 0.375, 0.375]
    """

    resolution: float = 1 / 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.resolution <= 0.5:
            raise ConfigurationError(f"resolution={self.resolution} must lie in (0, 1/2]")

    def _begin(self) -> State:
        return (0.0, 0.0)

    def _is_closed(self, state: State) -> bool:
        return state[1] - state[0] <= self.resolution + 1e-9

    def _move(self, state: State, helped: bool, alone: bool) -> State:
        low, high = state
        if alone:
            return (0.0, 0.0)
        if self._is_closed(state):
            if helped:
                return (max(0.0, high - 4 * self.resolution), high)
            return (high, min(1.0, high + 4 * self.resolution)) if high else (0.0, 1.0)
        middle = (low + high) / 2
        return (low, middle) if helped else (middle, high)

    def _share(self, state: State) -> float:
        return state[1] if self._is_closed(state) else (state[0] + state[1]) / 2
