"""Strategies: how the groups of an update are collected."""

from g2rpo_env.agents.parts.strategies.generators import HuggingFace, VLLMServer
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.resampled import Resampled
from g2rpo_env.agents.parts.strategies.rollout import RevealOnly, Rollout

__all__ = ["HuggingFace", "Reroll", "Resampled", "RevealOnly", "Rollout", "VLLMServer"]
