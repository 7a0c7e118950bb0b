"""Policies, rollouts and the GRPO agent: the only part of the library that needs torch."""

if __name__ != "g2rpo_env.agents":  # a second copy under the name "agents" would have its own classes
    raise ImportError(f"import g2rpo_env.agents, not {__name__}")

from g2rpo_env.agents import recipes
from g2rpo_env.agents.evaluation import Evaluation, evaluate, paired_difference
from g2rpo_env.agents.grpo import GRPO
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.response import guidance_response
from g2rpo_env.agents.rollout import collect

__all__ = [
    "GRPO",
    "CausalLMPolicy",
    "Evaluation",
    "Recipe",
    "collect",
    "evaluate",
    "guidance_response",
    "paired_difference",
    "recipes",
]
