"""Recipes without guidance, and those that only use what was revealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, Ones
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.selection.filters import KeepCorrect
from g2rpo_env.agents.parts.strategies.rollout import RevealOnly
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipe import Recipe


def grpo() -> Recipe:
    """GRPO (arXiv 2402.03300): group-normalised rewards, clipped surrogate, mean over episodes; no KL term."""
    return Recipe()


def sft() -> Recipe:
    """Supervised training on the revealed tokens alone: the baseline that shows how much of a gain is imitation."""
    return Recipe(
        strategy=RevealOnly(),
        advantage=Ones(),
        token_weight=TokenMean(sampled=False, revealed=True),
        loss=LogLikelihood(),
    )


def raft() -> Recipe:
    """RAFT (arXiv 2504.11343): maximum likelihood of the correct samples; wrong ones are dropped."""
    return Recipe(selection=KeepCorrect(), advantage=Ones(), token_weight=TokenMean(), loss=LogLikelihood())


def reinforce() -> Recipe:
    """REINFORCE with the mean reward of the group as its baseline: A log pi, every token weighs the same.

    No clipping, no division by the standard deviation. Up to a factor G / (G - 1) on the advantage, which the learning
    rate takes up, this is the leave-one-out estimator RLOO (arXiv 2402.14740).
    """
    return Recipe(advantage=GroupCentered(), token_weight=TokenMean(), loss=LogLikelihood())


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "grpo": grpo,
    "sft": sft,
    "raft": raft,
    "reinforce": reinforce,
}
