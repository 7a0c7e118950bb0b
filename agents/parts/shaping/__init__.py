"""Shaping: groups to rewards."""

from g2rpo_env.agents.parts.shaping.consistency import ConsistencyBonus
from g2rpo_env.agents.parts.shaping.progress import Progress
from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward, TruncationPenalty

__all__ = ["ConsistencyBonus", "EnvironmentReward", "Progress", "TruncationPenalty"]
