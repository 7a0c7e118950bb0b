"""Recipes whose rollouts have several stages or another context than the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import Leaning
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.selection.reached import Reached
from g2rpo_env.agents.parts.strategies.conditioned import Conditioned
from g2rpo_env.agents.parts.strategies.refine import Refine
from g2rpo_env.agents.parts.token_weights.means import ByRole
from g2rpo_env.agents.recipe import Recipe


def igrpo() -> Recipe:
    return Recipe(strategy=Refine(drafts=4))


def gac() -> Recipe:
    return Recipe(
        strategy=Conditioned(),
        selection=Reached(),
        advantage=Leaning(0.1),
        token_weight=ByRole(answer=1.0, level=0.1),
        loss=LogLikelihood(),
    )


def gac_critic() -> Recipe:
    return Recipe(
        strategy=Conditioned(),
        selection=Reached(critic=True),
        advantage=Leaning(0.1),
        token_weight=ByRole(answer=1.0, level=0.1),
        loss=LogLikelihood(),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {"igrpo": igrpo, "gac": gac, "gac-critic": gac_critic}
