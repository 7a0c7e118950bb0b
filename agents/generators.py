"""Generators: strategies that let something else write the answers, under the name that scripts import them by."""

from g2rpo_env.agents.parts.strategies.generators import HuggingFace, VLLMServer

__all__ = ["HuggingFace", "VLLMServer"]
