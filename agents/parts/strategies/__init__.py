"""Strategies: how the groups of an update are collected."""

from g2rpo_env.agents.parts.strategies.conditioned import Conditioned
from g2rpo_env.agents.parts.strategies.generators import HuggingFace, VLLMServer
from g2rpo_env.agents.parts.strategies.guided import GuidedRollout
from g2rpo_env.agents.parts.strategies.refine import Refine
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.resampled import Resampled
from g2rpo_env.agents.parts.strategies.rollout import RevealOnly, Rollout
from g2rpo_env.agents.parts.strategies.stored import Stored
from g2rpo_env.agents.parts.strategies.tree import Tree

__all__ = [
    "Conditioned",
    "GuidedRollout",
    "HuggingFace",
    "Refine",
    "Reroll",
    "Resampled",
    "RevealOnly",
    "Rollout",
    "Stored",
    "Tree",
    "VLLMServer",
]
