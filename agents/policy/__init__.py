"""The policy: a causal language model that samples tokens and scores given ones."""

from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy

__all__ = ["CausalLMPolicy"]
