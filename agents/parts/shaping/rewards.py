"""Shaping: groups to rewards. The controller never sees shaped rewards, only ``correct``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class EnvironmentReward:
    """The reward the environment gave, unchanged."""

    def __call__(self, group: Group) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        return group.reward_G


@dataclass(frozen=True)
class TruncationPenalty:
    """Subtracts a constant from answers that ran out of budget.

    Args:
        penalty: What is subtracted, >= 0.
    """

    penalty: float = 0.1

    def __post_init__(self) -> None:
        if not self.penalty >= 0:
            raise ConfigurationError(f"penalty={self.penalty} must be at least 0")

    def __call__(self, group: Group) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        return group.reward_G - self.penalty * np.array([e.truncated for e in group.episodes], np.float64)
