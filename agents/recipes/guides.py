"""Recipes whose groups are guided."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.token_weights.means import SequenceMean
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.controllers.rules import AdaptiveGuidance, FixedGuidance


def guided_grpo() -> Recipe:
    """GRPO on guided groups with a reveal length that stays. Loss mode: sampled tokens only."""
    return Recipe(controller=FixedGuidance(length=45.0))


def g2rpo_a() -> Recipe:
    """G²RPO-A (arXiv 2508.13023). Loss mode: **revealed tokens included**, as in the official code.

    A share of each group starts from revealed tokens, one normalisation over the mixed group, adaptive reveal length.

    Deviations:

    1. The controller is the bounded rule; ``AdaptiveGuidance(max_factor=None)`` is the paper's.
    2. It sees the success of every update, the official code that of every third.
    3. No KL term (the official code inherits TRL 0.15.2's beta of 0.04).
    4. Positions are those the tokens were sampled at; the official code pads short traces in the middle.
    5. The reveal does not count towards the budget and never shows the final answer.
    """
    return Recipe(controller=AdaptiveGuidance(length=45.0, max_length=120.0), token_weight=SequenceMean(revealed=True))


def g2rpo_a_masked() -> Recipe:
    """G²RPO-A with the revealed tokens masked out of the loss: only sampled tokens are trained."""
    return Recipe(controller=AdaptiveGuidance(length=45.0, max_length=120.0))


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "guided-grpo": guided_grpo,
    "g2rpo-a": g2rpo_a,
    "g2rpo-a-masked": g2rpo_a_masked,
}
