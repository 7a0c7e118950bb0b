"""Advantages: rewards to one number per member."""

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, GroupNormalized, Leaning, Ones
from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline

__all__ = ["GroupCentered", "GroupNormalized", "Leaning", "Ones", "RevealBaseline"]
