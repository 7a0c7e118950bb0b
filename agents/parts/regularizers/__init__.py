"""Regularizers: terms of the loss that need more than log-probabilities."""

from g2rpo_env.agents.parts.regularizers.entropy import EntropyBonus

__all__ = ["EntropyBonus"]
