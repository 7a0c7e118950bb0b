"""Selection: which episodes an update learns from. Groups in, groups out; sizes may change, groups may vanish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class KeepAll:
    """Every valid episode."""

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return the groups and their rewards."""
        return groups, reward_PG


@dataclass(frozen=True)
class DropUniform:
    """Only groups whose members differ: the others have no group-relative signal (DAPO's dynamic filter).

    Args:
        by: In what they must differ: ``reward``, the shaped one, or ``correct``, whether the answer is right. DAPO
            (arXiv 2503.14476) filters by accuracy: a punishment of long answers makes groups differ that say nothing
            about the problem.

    Raises:
        ConfigurationError: ``by`` is neither.
    """

    by: str = "reward"

    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        if self.by not in ("reward", "correct"):
            raise ConfigurationError(f"by={self.by!r} must be 'reward' or 'correct'")

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return the groups with signal and their rewards."""
        kept = [(g, r) for g, r in zip(groups, reward_PG, strict=True) if self._differs(g, r)]
        return Groups(g for g, _ in kept), [r for _, r in kept]

    def _differs(self, group: Group, reward_G: np.ndarray) -> bool:
        if self.by == "correct":
            return len({e.correct for e in group.episodes}) > 1
        return bool(np.ptp(reward_G) > 0)


@dataclass(frozen=True)
class KeepCorrect:
    """Only correct answers (RAFT, arXiv 2504.11343). Wrong ones leave the batch, so they are in no denominator."""

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return groups of the correct episodes and their rewards."""
        kept, rewards = Groups(), []
        for group, reward_G in zip(groups, reward_PG, strict=True):
            chosen = [i for i, episode in enumerate(group.episodes) if episode.correct]
            if chosen:
                kept.append(Group(tuple(group.episodes[i] for i in chosen)))
                rewards.append(reward_G[chosen])
        return kept, rewards
