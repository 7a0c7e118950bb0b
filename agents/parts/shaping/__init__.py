"""Shaping: groups to rewards."""

from g2rpo_env.agents.parts.shaping.rewards import (
    EnvironmentReward,
    KLPenalty,
    Signed,
    SoftOverlong,
    TruncationPenalty,
)

__all__ = ["EnvironmentReward", "KLPenalty", "Signed", "SoftOverlong", "TruncationPenalty"]
