"""Advantages: the rewards of one group to one number per member. Pure functions of numpy arrays.

One that ``requires`` the groups sees all rewards of an update at once, and who was shown what.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def center(reward_G: np.ndarray) -> np.ndarray:
    """Return R - mean(R), exactly 0 where all rewards are equal: the mean of three times 0.1 is not 0.1."""
    relative_G = reward_G - reward_G[0]
    return relative_G - relative_G.mean()


@dataclass(frozen=True)
class GroupNormalized:
    """GRPO: A_i = (R_i - mean(R)) / (std(R) + eps), arXiv 2402.03300.

    The standard deviation is the unbiased one (divisor G - 1), as in TRL and in the official G²RPO-A code, which is
    built on it. A group of one has no baseline: its advantage is 0.

    Args:
        eps: Added to the standard deviation; 1e-4 in TRL and the official code, 1e-6 in verl.
    """

    eps: float = 1e-4

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        if len(reward_G) < 2:
            return np.zeros_like(reward_G)
        return center(reward_G) / (reward_G.std(ddof=1) + self.eps)


@dataclass(frozen=True)
class GroupCentered:
    """A_i = R_i - mean(R): GRPO without the standard deviation (Dr. GRPO, arXiv 2503.20783)."""

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        return center(reward_G)


@dataclass(frozen=True)
class Ones:
    """A_i = 1: maximum likelihood of what was selected (supervised training, RAFT)."""

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return ones, float64 (G,)."""
        return np.ones_like(reward_G)
