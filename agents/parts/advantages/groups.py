"""Advantages: the rewards of one group to one number per member. Pure functions of numpy arrays.

One that ``requires`` the groups sees all rewards of an update at once, and who was shown what.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2rpo_env.errors import ConfigurationError


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


@dataclass(frozen=True)
class Leaning:
    """A_i = least + (1 - least) R_i for rewards in [0, 1]: likelihood weighted by reward, failures a little as well.

    For :class:`~g2rpo_env.agents.parts.selection.Reached`, whose rows all are examples of something.

    Args:
        least: Weight of a reward of 0, in [0, 1]; 1 is :class:`Ones`.

    Raises:
        ConfigurationError: ``least`` breaks its rule; at an update, a reward outside [0, 1].
    """

    least: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise ConfigurationError(f"least={self.least} must lie in [0, 1]")

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        wrong = reward_G[~((reward_G >= 0) & (reward_G <= 1))]
        if len(wrong):
            raise ConfigurationError(f"reward={float(wrong[0])} must lie in [0, 1] for advantage=Leaning")
        return self.least + (1 - self.least) * reward_G
