"""Selections that split groups, so that only comparable episodes are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2rpo_env.episode import Group, Groups


@dataclass(frozen=True)
class SplitGuided:
    """Guided and plain members of a group as two groups, so that each kind has an advantage of its own.

    Normalised together, a plain member that fails is blamed for not having been guided; normalised apart, it is
    compared with other plain ones. Source of the idea: ADHint (arXiv 2512.13095, abstract only): advantages with and
    without hint are estimated separately.

    A selection and not an advantage, because an advantage sees the rewards of one group and not who was guided. A kind
    that has one member in a group gets no advantage (nothing to compare it with).
    """

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return the groups of guided members and of plain ones, and their rewards."""
        split, rewards = Groups(), []
        for group, reward_G in zip(groups, reward_PG, strict=True):
            for kind in (True, False):
                chosen = [i for i, episode in enumerate(group.episodes) if episode.guided is kind]
                if chosen:
                    split.append(Group(tuple(group.episodes[i] for i in chosen)))
                    rewards.append(reward_G[chosen])
        return split, rewards


@dataclass(frozen=True)
class SplitReveals:
    """Members of a group that were shown equally much as a group of their own: comparable in every way.

    For lengths that vary inside a group (:class:`~g2rpo_env.reveal.Levels`); with one length for all guided members it
    is ``SplitGuided``. Source: our own; Hint-GRPO's three sub-groups (read in its code) are like that.
    """

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return a group per group and reveal length, the longest first, and their rewards."""
        split, rewards = Groups(), []
        for group, reward_G in zip(groups, reward_PG, strict=True):
            reveal_G = np.array([episode.reveal for episode in group.episodes])
            for length in np.unique(reveal_G)[::-1]:
                chosen = np.flatnonzero(reveal_G == length)
                split.append(Group(tuple(group.episodes[i] for i in chosen)))
                rewards.append(reward_G[chosen])
        return split, rewards


@dataclass(frozen=True)
class LeastReveal:
    """Of the members of a group those of one reveal length: the shortest one at which any reward is above 0.

    Where none is, those of the shortest reveal, which is none at all with a level of 0. Source: Hint-GRPO, read in
    hqhQAQ/Hint-GRPO, vllm_grpo_trainer.py lines 760-769: three groups with 0, 1/3 and 2/3 of the steps are sampled, and
    the first with a sum of rewards above 0 is trained, the first of all where there is none.

    The members that are left out were sampled and count as such.
    """

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return one group per group and its rewards."""
        kept, rewards = Groups(), []
        for group, reward_G in zip(groups, reward_PG, strict=True):
            reveal_G = np.array([episode.reveal for episode in group.episodes])
            lengths = np.unique(reveal_G)
            scored = [length for length in lengths if reward_G[reveal_G == length].sum() > 0]
            chosen = np.flatnonzero(reveal_G == (scored[0] if scored else lengths[0]))
            kept.append(Group(tuple(group.episodes[i] for i in chosen)))
            rewards.append(reward_G[chosen])
        return kept, rewards
