"""Strategies: how the groups of an update are collected."""

from g2rpo_env.agents.parts.strategies.generators import HuggingFace, VLLMServer
from g2rpo_env.agents.parts.strategies.guided import GuidedRollout
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.resampled import Resampled
from g2rpo_env.agents.parts.strategies.rollout import RevealOnly, Rollout
from g2rpo_env.agents.parts.strategies.stored import Stored

__all__ = ["GuidedRollout", "HuggingFace", "Reroll", "Resampled", "RevealOnly", "Rollout", "Stored", "VLLMServer"]
