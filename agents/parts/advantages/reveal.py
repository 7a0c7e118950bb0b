"""Advantages with a baseline that knows the reveal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from g2rpo_env.agents.parts.advantages.groups import center, check_eps
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class RevealBaseline:
    """A baseline conditioned on the reveal: A_i = R_i - mean(R) - (f(h_i) - mean(f(h))), divided by its deviation.

    The reveal's own effect on success is taken off, so that a plain member is not blamed for not having been helped,
    nor a guided one praised for it. f(h) is the mean reward of all episodes of the update at reveal length h; lengths
    are put into at most ``bins`` bins of about equal numbers of episodes, plain ones in a bin of their own. Each group
    keeps its own mean, so its problem's difficulty is taken off too. Groups in which all got the same reveal have the
    advantages of ``GroupNormalized``.

    Source: our own; ADHint (arXiv 2512.13095, abstract only) estimates hinted and plain advantages separately, which is
    :class:`~g2rpo_env.agents.parts.selection.SplitGuided`. Unlike there, one guided member in a group is enough.

    Deviation from a baseline proper: an episode's own reward is in f and in the mean, as it is in GRPO's.

    Args:
        bins: Most bins of lengths above 0, >= 1.
        eps: Added to the standard deviation (divisor G - 1), >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    bins: int = 4
    eps: float = 1e-4

    requires = frozenset({"groups"})
    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        if self.bins < 1:
            raise ConfigurationError(f"bins={self.bins} must be at least 1")
        check_eps(self.eps)

    def __call__(self, reward_PG: Sequence[np.ndarray], groups: Sequence[Group]) -> list[np.ndarray]:
        """Return the advantages of all groups, a float64 (G,) each."""
        if not groups:
            return []
        reveal_PG = [np.array([e.reveal for e in group.episodes]) for group in groups]
        effect_N = mean_per_bin(np.concatenate(reveal_PG), np.concatenate(reward_PG), self.bins)
        effect_PG = np.split(effect_N, np.cumsum([len(reward_G) for reward_G in reward_PG])[:-1])
        return [self._of(reward_G, effect_G) for reward_G, effect_G in zip(reward_PG, effect_PG, strict=True)]

    def _of(self, reward_G: np.ndarray, effect_G: np.ndarray) -> np.ndarray:
        if len(reward_G) < 2 or np.ptp(reward_G) == 0:
            return np.zeros_like(reward_G)  # no difference to explain: f is known too roughly to make one
        left_G = center(reward_G) - center(effect_G)
        return left_G / (left_G.std(ddof=1) + self.eps)


def mean_per_bin(length_N: np.ndarray, value_N: np.ndarray, bins: int) -> np.ndarray:
    """Return for each entry the mean value of its bin of lengths, float (N,); see RevealBaseline.

    >>> mean_per_bin(np.array([0, 0, 5, 5, 9]), np.array([0.0, 1.0, 1.0, 1.0, 0.0]), 2).tolist()
    [0.5, 0.5, 1.0, 1.0, 0.0]
    >>> mean_per_bin(np.array([0, 5, 9]), np.array([0.0, 1.0, 0.0]), 1).tolist()
    [0.0, 0.5, 0.5]
    """
    guided_N = length_N > 0
    bin_N = np.zeros(len(length_N), np.int64)
    if guided_N.any():
        edges = np.quantile(length_N[guided_N], np.linspace(0, 1, bins + 1)[1:-1])
        bin_N[guided_N] = 1 + np.searchsorted(edges, length_N[guided_N], side="left")
    count = np.bincount(bin_N)
    return (np.bincount(bin_N, value_N) / np.maximum(count, 1))[bin_N]
