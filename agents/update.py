"""Update: the record of what one update saw and computed; files, viewers and tests read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.episode import Episode, Groups


@dataclass(frozen=True)
class Example:
    """One episode that an update learnt from, with its numbers.

    Attributes:
        episode: The episode, as it was selected.
        reward: Its shaped reward.
        advantage: Its advantage.
        credit_T: float (T,), the advantage of each token; equal everywhere where the recipe has no credit part.
        weight_T: float32 (T,), weight of each token in the loss, 0 for those outside it.
    """

    episode: Episode
    reward: float
    advantage: float
    credit_T: np.ndarray
    weight_T: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Update:
    """Record of one update: groups in, numbers out. P groups were selected, with N episodes in all.

    Attributes:
        number: Number of the update, counted from 1.
        groups: The groups as they were collected, episodes included that the verifier failed on.
        selected: The groups that were learnt from.
        rewards: Shaped rewards of the selected groups, P arrays float64 (G,).
        advantages: Advantages of the selected groups, P arrays float64 (G,).
        credits: Advantages of tokens, N arrays (T,), or None where the recipe has no credit part.
        weights: Loss weights of tokens, N arrays float32 (T,).
        metrics: Metrics of the update, as they are logged.
    """

    number: int
    groups: Groups
    selected: Groups
    rewards: tuple[np.ndarray, ...]
    advantages: tuple[np.ndarray, ...]
    credits: tuple[np.ndarray, ...] | None
    weights: tuple[np.ndarray, ...]
    metrics: dict[str, Any]

    def __repr__(self) -> str:
        episodes = len(self.selected.episodes)
        return f"Update(number={self.number}, groups={len(self.groups)}, selected={len(self.selected)}, {episodes=})"

    def examples(self) -> Iterator[Example]:
        """Yield each episode that was learnt from with its numbers, in the order of the batch."""
        row = 0
        for group, reward_G, advantage_G in zip(self.selected, self.rewards, self.advantages, strict=True):
            for episode, reward, advantage in zip(group.episodes, reward_G, advantage_G, strict=True):
                weight_T = self.weights[row]
                credit_T = np.full(len(weight_T), advantage) if self.credits is None else self.credits[row]
                yield Example(episode, float(reward), float(advantage), credit_T, weight_T)
                row += 1

    def find_examples(self, episode: Episode) -> list[Example]:
        """Return what was learnt from an episode: nothing, one example, or as many as a selection made of it.

        Args:
            episode: The object itself, one of :attr:`groups` or :attr:`selected`.
        """
        return [example for example in self.examples() if example.episode is episode]
