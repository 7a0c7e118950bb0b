"""Advantages: rewards to one number per member."""

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, GroupNormalized, Ones
from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline

__all__ = ["GroupCentered", "GroupNormalized", "Ones", "RevealBaseline"]
