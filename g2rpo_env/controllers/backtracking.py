"""AdaBack: a share of the solution for each problem, drawn from an interval that successes and failures move."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.controllers.base import Bounded, Feedback
from g2rpo_env.controllers.per_problem import remember
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import stream

Interval = tuple[float, float]
"""Lowest and highest share that a reveal is drawn from."""


def move_interval(interval: Interval, share: float, success: float, threshold: float) -> Interval:
    """Return the interval of a problem after a visit with a reveal of ``share``.

    A success (mean of at least ``threshold``) gives (0, share), a failure (share, upper end): a bisection whose middle
    is drawn. The upper end never rises.

    >>> move_interval((0.0, 0.9), 0.5, 1.0, 0.5), move_interval((0.0, 0.9), 0.5, 0.25, 0.5)
    ((0.0, 0.5), (0.5, 0.9))
    """
    return (0.0, share) if success >= threshold else (share, max(share, interval[1]))


@dataclass
class Backtracking(Bounded):
    """AdaBack: h ~ U(low, high) of the solution, per problem; a success makes it U(0, h), a failure U(h, high).

    All guided members of a group share one reveal. Problems never seen draw from the common interval, a running mean of
    what the intervals of the problems of each update became. The success of a visit is the mean over its guided
    episodes, over all where the share is too small to reveal a token.

    Source: AdaBack (arXiv 2506.18110), abstract and two notes, third-party: a stochastic bisection per sample that the
    reward of its past moves. Bounds, threshold, running mean, and that the upper end never rises, are those of a public
    code of the same algorithm that does not say whose it is.

    Deviations: 1. Shares are of tokens or steps, there of words. 2. A problem that fails alone at its upper end keeps
    that share, as there: nothing takes it up again.

    Args:
        length: Only shown, never used: the expected length of a problem never seen.
        source: Whose success the history shows; what counts for a problem are its guided episodes.
        min_length: Least length.
        max_length: Length of a whole solution in the unit of the guidance wrapper, > 0 and not None; the default is
            that of the unit ``fraction``.
        threshold: Mean success that is a success, in (0, 1].
        high: Highest share, in (0, 1].
        memory: Weight of the past in the common interval, in [0, 1].
        seed: Of the draws, >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.

    >>> rule, one = Backtracking(), np.ones(2, bool)
    >>> def visit(correct):
    ...     return Feedback(np.array(["a", "a"], object), np.arange(2), one, one * 1, one * correct, one)
    >>> shares = []
    >>> for correct in (True, False, True):
    ...     shares.append(float(rule.plan(["a"], [0])[0]))
    ...     _ = rule.update(visit(correct))
    >>> shares[1] < shares[0], shares[1] < shares[2] < shares[0]     # below the success, then between both
    (True, True)
    """

    length: float = 0.45
    min_length: float = 0.0
    max_length: float | None = 1.0
    threshold: float = 0.5
    high: float = 0.9
    memory: float = 0.8
    seed: int = 0
    _own: dict[str, Interval] = field(default_factory=dict, init=False, repr=False)
    _common: Interval = field(default=(0.0, 0.0), init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is None or not self.max_length > 0:
            raise ConfigurationError(f"max_length={self.max_length} must be above 0: the length of a whole solution")
        for name in ("threshold", "high"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must lie in (0, 1]")
        if not 0 <= self.memory <= 1:
            raise ConfigurationError(f"memory={self.memory} must lie in [0, 1]")
        if self.seed < 0:
            raise ConfigurationError(f"seed={self.seed} must be at least 0")
        self._common = (0.0, self.high)

    def interval(self, problem_id: str) -> Interval:
        """Return the interval that the reveals of a problem are drawn from, as shares."""
        return self._own.get(problem_id, self._common)

    def draw_share(self, problem_id: str) -> float:
        """Return the share of a problem until the next update: a draw of its own, keyed by seed, update and problem."""
        low, high = self.interval(problem_id)
        key = zlib.crc32(problem_id.encode())
        return float(stream(self.seed, "backtracking", self._done, key).uniform(low, high))

    def _learn(self, feedback: Feedback) -> None:
        moved = []
        for problem_id in dict.fromkeys(feedback.problem_id.tolist()):
            mine = feedback.of_problem(problem_id)
            counted = mine.valid & mine.guided if (mine.valid & mine.guided).any() else mine.valid
            if not counted.any():
                continue
            success, share = float(np.mean(mine.correct[counted])), self.draw_share(problem_id)
            after = move_interval(self.interval(problem_id), share, success, self.threshold)
            moved.append((problem_id, after))
        for problem_id, after in moved:  # behind all draws, which the common interval is a part of
            remember(self._own, problem_id, after)
        if moved:
            ends = np.mean([after for _, after in moved], axis=0)
            self._common = (
                float(self.memory * self._common[0] + (1 - self.memory) * ends[0]),
                float(self.memory * self._common[1] + (1 - self.memory) * ends[1]),
            )

    def _next(self, reward: float) -> float:
        return self._next_unseen(reward)

    def _next_unseen(self, reward: float) -> float:
        self._done += 1
        return self._clip(sum(self._common) / 2 * self._ceiling)

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the reveal length of each episode, float (N,); members of a problem share it."""
        drawn = {p: self._clip(self.draw_share(p) * self._ceiling) for p in dict.fromkeys(problem_ids)}
        return np.array([drawn[p] for p in problem_ids], dtype=float)

    def state_dict(self) -> dict[str, Any]:
        """Return length, history, all intervals and the number of updates done."""
        own = {problem_id: list(interval) for problem_id, interval in self._own.items()}
        return {**super().state_dict(), "_own": own, "_common": list(self._common), "_done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._own = {problem_id: (low, high) for problem_id, (low, high) in state["_own"].items()}
        low, high = state["_common"]
        self._common, self._done = (low, high), state["_done"]
