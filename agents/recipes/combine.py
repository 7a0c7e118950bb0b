"""Combinations: the guided form of a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from g2rpo_env.agents.needs import check_controller
from g2rpo_env.agents.parts.protocols import get_requirements
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.controllers.base import Controller
from g2rpo_env.controllers.self_tuning import SelfTuning
from g2rpo_env.errors import ConfigurationError

REVEALED: Mapping[bool | str, Mapping[str, Any]] = {
    True: {"revealed": True, "which": "every"},
    False: {"revealed": False},
    "positive": {"revealed": True, "which": "positive"},
}
"""What becomes of revealed tokens -> options of the token weight."""


def guide(recipe: Recipe, revealed: bool | str = True, controller: Controller | None = None) -> Recipe:
    """Return the guided form of a recipe: the same algorithm on groups that start from revealed tokens.

    ``guide(recipes.get("grpo"))`` is ``g2rpo-a`` but for the controller, and ``revealed=False`` its masked form.

    Args:
        recipe: A recipe that is not guided.
        revealed: What becomes of the revealed tokens in the loss. True: they count like sampled ones, with the
            advantage of their episode. False: they are left out. ``"positive"``: those of episodes with an advantage
            above 0 count.
        controller: Sets the reveal length; None takes ``SelfTuning()``.

    Raises:
        ConfigurationError: the recipe is guided already, its strategy puts something else in the place of the prompt,
            its loss or its token weight has no place for revealed tokens, or the controller follows a success that the
            strategy does not sample.
    """
    controller = SelfTuning() if controller is None else controller
    if recipe.needs_guidance:  # before its controller is looked at: no other one would do either
        raise ConfigurationError(f"recipe={describe_guided(recipe)} is guided already: take it as it is")
    check_controller(dataclasses.replace(recipe, controller=controller))
    strategy = recipe.strategy
    if not getattr(strategy, "takes_guidance", True) or getattr(strategy, "context", None) is not None:
        raise ConfigurationError(
            f"strategy={type(strategy).__name__} begins answers from what it chooses itself: it cannot be guided"
        )
    return dataclasses.replace(recipe, controller=controller, token_weight=weigh_revealed(recipe, revealed))


def weigh_revealed(recipe: Recipe, revealed: bool | str) -> Any:
    """Return the token weight of a recipe with revealed tokens in the loss or out of it; raises as :func:`guide`."""
    if not isinstance(revealed, bool) and revealed not in REVEALED:
        raise ConfigurationError(f"revealed={revealed!r} must be True, False or 'positive'")
    weight: Any = recipe.token_weight
    options = REVEALED[revealed]
    if revealed is False and not getattr(weight, "revealed", False):
        return weight
    if revealed is not False and "sets" in get_requirements(recipe.loss):
        raise ConfigurationError(
            f"revealed={revealed!r} must be False with loss={type(recipe.loss).__name__}: a loss of whole groups "
            "compares what the policy wrote (train --guided --revealed no, compare NAME@guided-masked)"
        )
    known = {f.name for f in dataclasses.fields(weight)} if dataclasses.is_dataclass(weight) else set()
    if not set(options) <= known:
        raise ConfigurationError(
            f"revealed={revealed!r} must be False with token_weight={type(weight).__name__}, which has no option for "
            "revealed tokens"
        )
    return dataclasses.replace(weight, **options)


def describe_guided(recipe: Recipe) -> str:
    """Return what makes a recipe a guided one."""
    slots = ("controller", "strategy", "loss", "selection")
    parts = {slot: getattr(recipe, slot) for slot in slots if getattr(recipe, slot) is not None}
    slot = next((s for s, p in parts.items() if s == "controller" or "guidance" in get_requirements(p)), "controller")
    return f"Recipe({slot}={type(parts.get(slot)).__name__})"
