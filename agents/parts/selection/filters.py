"""Selection: which episodes an update learns from. Groups in, groups out; sizes may change, groups may vanish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2rpo_env.episode import Group, Groups


@dataclass(frozen=True)
class KeepAll:
    """Every valid episode."""

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return the groups and their rewards."""
        return groups, reward_PG


@dataclass(frozen=True)
class DropUniform:
    """Only groups whose rewards differ: the others have no group-relative signal (DAPO's dynamic filter)."""

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return the groups with signal and their rewards."""
        kept = [(g, r) for g, r in zip(groups, reward_PG, strict=True) if np.ptp(r) > 0]
        return Groups(g for g, _ in kept), [r for _, r in kept]


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
