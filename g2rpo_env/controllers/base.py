"""Controllers: success in, next reveal length out. The training loop calls one once per update, never a loss.

A controller knows no environment and no agent. Its length is a float, rounded only where it is used. Every controller
has ``update``, ``plan``, ``length``, ``history``, ``state_dict`` and ``load_state_dict``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from g2rpo_env.episode import Episode, Groups
from g2rpo_env.errors import ConfigurationError

SOURCES = {
    "all": lambda feedback: feedback.valid,
    "guided": lambda feedback: feedback.valid & feedback.guided,
    "unguided": lambda feedback: feedback.valid & ~feedback.guided,
}
"""Name -> the episodes that the reward of an update is taken over, bool (N,); invalid ones never count."""


@dataclass(frozen=True)
class Feedback:
    """The episodes of one update as those see them who learn from success; arrays of one entry per episode (N,).

    Attributes:
        problem_id: str.
        member: int, position in the group.
        guided: bool, whether guidance was shown.
        reveal: int, number of tokens of guidance.
        correct: bool or float in [0, 1]; never the shaped total reward.
        valid: bool, False where the verifier failed, and where nothing was sampled that it could have judged.
    """

    problem_id: np.ndarray
    member: np.ndarray
    guided: np.ndarray
    reveal: np.ndarray
    correct: np.ndarray
    valid: np.ndarray

    @classmethod
    def from_groups(cls, groups: Groups) -> Feedback:
        """Return the feedback of collected groups, group by group, then that of the episodes that were left out.

        A controller that saw only what is learnt from would follow a success that a selection has made. Groups that
        are used again say nothing: whoever learns from feedback has seen them.
        """
        return cls.from_episodes([] if groups.reused else groups.sampled_episodes)

    @classmethod
    def from_episodes(cls, episodes: Sequence[Episode]) -> Feedback:
        """Return the feedback of episodes, in their order; one without a sampled token says nothing of success."""
        return cls(
            problem_id=np.array([e.problem_id for e in episodes], dtype=object),
            member=np.array([e.member for e in episodes], dtype=np.int64),
            guided=np.array([e.guided for e in episodes], dtype=bool),
            reveal=np.array([e.reveal for e in episodes], dtype=np.int64),
            correct=np.array([e.correct for e in episodes], dtype=bool),
            valid=np.array([e.valid and bool(e.sampled_T.any()) for e in episodes], dtype=bool),
        )

    @classmethod
    def from_infos(cls, infos: Sequence[Mapping[str, Any]]) -> Feedback:
        """Return the feedback of finished episodes, each given by its infos at reset and at its end in one dict."""
        reveal_N = np.array([info["reveal_length"] for info in infos], dtype=np.int64)
        return cls(
            problem_id=np.array([info["problem_id"] for info in infos], dtype=object),
            member=np.array([info["member"] for info in infos], dtype=np.int64),
            guided=reveal_N > 0,
            reveal=reveal_N,
            correct=np.array([info["correct"] for info in infos], dtype=bool),
            valid=np.array([info["valid"] for info in infos], dtype=bool),
        )

    def of_problem(self, problem_id: str) -> Feedback:
        """Return the episodes of one problem."""
        mine_N = self.problem_id == problem_id
        return Feedback(**{f.name: getattr(self, f.name)[mine_N] for f in fields(Feedback)})

    def reward(self, source: str = "all") -> float:
        """Return the mean of ``correct`` over the valid episodes of a source; NaN if there are none."""
        counted_N = SOURCES[source](self)
        return float(np.mean(self.correct[counted_N])) if counted_N.any() else math.nan


@dataclass
class Controller:
    """Base class: bookkeeping and checks; a rule overrides :meth:`_next`.

    Args:
        length: Starting length in the unit of the guidance wrapper.
        source: Whose success counts: ``all``, ``guided`` or ``unguided`` episodes.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    length: float = 1.0
    source: str = "all"
    follows_success: ClassVar[bool] = True
    """Whether the length hangs on success; False for rules that go on without any."""
    history: list[dict[str, float]] = field(default_factory=list, init=False, repr=False, compare=False)
    """One ``{"reward", "length"}`` per update: the reward that was seen and the length that follows from it."""

    def __post_init__(self) -> None:
        self.length = float(self.length)
        if not (self.length >= 0 and math.isfinite(self.length)):
            raise ConfigurationError(f"length={self.length} must be finite and at least 0")
        if self.source not in SOURCES:
            raise ConfigurationError(f"source={self.source!r} must be one of {', '.join(SOURCES)}")

    def update(self, feedback: Feedback | None = None, *, reward: float | None = None) -> float:
        """Take the success of one update and return the next length.

        Args:
            feedback: The episodes of the update.
            reward: Short form: their mean success in [0, 1]. NaN (no valid episode) changes nothing.

        Raises:
            ConfigurationError: both or neither argument is given, or the reward lies outside [0, 1].
        """
        if (feedback is None) == (reward is None):
            raise ConfigurationError("update() must be given feedback or reward=, one of the two")
        value = feedback.reward(self.source) if feedback is not None else float(reward)  # type: ignore[arg-type]
        if not (math.isnan(value) or 0 <= value <= 1):
            raise ConfigurationError(f"reward={value} must be a mean success in [0, 1]")
        if feedback is not None:
            self._learn(feedback)
        self.length = float(self._next_unseen(value) if math.isnan(value) else self._next(value))
        self.history.append({"reward": value, "length": self.length})
        return self.length

    def set_trains_revealed(self, trains_revealed: bool) -> None:
        """Take from an agent whether it trains revealed tokens too, before its first update; few rules care."""

    def _learn(self, feedback: Feedback) -> None:
        """Take the episodes themselves, before the mean; for rules that remember each problem."""

    def _next(self, reward: float) -> float:
        raise NotImplementedError

    def _next_unseen(self, reward: float) -> float:
        """Return the length after an update without a valid episode; open-loop rules go on all the same."""
        return self.length

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the reveal length of each episode, float (N,); constant for rules that are global."""
        return np.full(len(problem_ids), self.length)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next updates depend on, and the history."""
        return {"length": self.length, "history": [dict(entry) for entry in self.history]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.length = state["length"]
        self.history = [dict(entry) for entry in state["history"]]


@dataclass
class Bounded(Controller):
    """A controller whose length stays in [min_length, max_length]."""

    min_length: float = 1.0
    max_length: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.min_length, self._ceiling
        if not 0 <= low <= high:
            raise ConfigurationError(f"min_length={low} must lie in [0, max_length={self.max_length}]")
        if not low <= self.length <= high:
            raise ConfigurationError(
                f"length={self.length} must lie in [min_length={low}, max_length={self.max_length}]"
            )

    @property
    def _ceiling(self) -> float:
        return math.inf if self.max_length is None else float(self.max_length)

    def _clip(self, length: float) -> float:
        return min(max(length, self.min_length), self._ceiling)
