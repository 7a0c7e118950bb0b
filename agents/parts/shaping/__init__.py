"""Shaping: groups to rewards."""

from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward, TruncationPenalty

__all__ = ["EnvironmentReward", "TruncationPenalty"]
