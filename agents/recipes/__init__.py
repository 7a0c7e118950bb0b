"""Recipes: algorithms by name, each a dataclass of its parts."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, cast

from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.grpo import GRPO
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.agents.recipes import estimators, guides, plain, ratios, sets, stages, tokens
from g2rpo_env.agents.recipes.combine import guide
from g2rpo_env.agents.recipes.guides import g2rpo_a, g2rpo_a_masked, guided_grpo
from g2rpo_env.agents.recipes.plain import grpo, raft, reinforce, sft
from g2rpo_env.controllers.base import Controller
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.guidance import find_guidance
from g2rpo_env.naming import load_object, suggest

__all__ = [
    "FAMILIES",
    "RECIPES",
    "Optimizer",
    "Recipe",
    "fit_controller",
    "g2rpo_a",
    "g2rpo_a_masked",
    "get",
    "grpo",
    "guided",
    "guided_grpo",
    "make",
    "raft",
    "reinforce",
    "sft",
]

FAMILIES: Mapping[str, ModuleType] = {
    "Plain": plain,
    "Estimators": estimators,
    "Ratios": ratios,
    "Whole groups": sets,
    "Tokens": tokens,
    "Stages and contexts": stages,
    "Guided": guides,
}
"""Heading -> module of the recipes under it, in the order in which they are listed."""

RECIPES: dict[str, Callable[[], Recipe]] = {
    name: make_recipe for family in FAMILIES.values() for name, make_recipe in family.RECIPES.items()
}
"""Recipes by name: name -> a function without arguments. The docstring of the function describes the algorithm."""


def get(name: str) -> Recipe:
    """Return a recipe by name.

    Args:
        name: A key of :data:`RECIPES`, or ``"module:function"`` of a function without arguments that returns a Recipe;
            its module is imported.

    Raises:
        ConfigurationError: no recipe has that name, as with the agents that are none, or the function returns something
            else.
    """
    if ":" in name:
        made = load_object(name, "recipe")
        recipe = made() if callable(made) else made
        if not isinstance(recipe, Recipe):
            raise ConfigurationError(f"recipe={name!r} must be a Recipe or return one, got {type(recipe).__name__}")
        return recipe
    if name in AGENTS:
        raise ConfigurationError(
            f"recipe={name!r} must be a recipe, and is an agent of its own: train it with g2rpo-env compare "
            f"--algorithms {name}, or in Python with {AGENTS[name].replace(':', '.')}(policy, envs).learn(updates)"
        )
    if name not in RECIPES:
        plain = name.lower().partition("@")[0]
        begun = [known for known in RECIPES if plain and known.startswith(plain)]
        close = list(dict.fromkeys([*begun, *difflib.get_close_matches(plain, RECIPES)]))[:3]
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        if "@" in name and plain in RECIPES:
            hint = f"; its guided form is recipes.guided({plain!r}), and --recipe {plain} --guided for train"
        raise ConfigurationError(f"recipe={name!r} must be one that `g2rpo-env list recipes` names{hint}")
    return RECIPES[name]()


def guided(recipe: Recipe | str, revealed: bool | str = True, controller: Controller | None = None) -> Recipe:
    """Return the guided form of a recipe, see :func:`~g2rpo_env.agents.recipes.combine.guide`.

    Args:
        recipe: A recipe that is not guided, or the name of one, see :func:`get`.
        revealed: What becomes of the revealed tokens in the loss: True, False or ``"positive"``.
        controller: Sets the reveal length; None takes ``SelfTuning()``.

    >>> guided("grpo", revealed="positive").needs_guidance
    True
    """
    return guide(get(recipe) if isinstance(recipe, str) else recipe, revealed, controller)


def make(
    name: str | Recipe | Callable[[], Recipe],
    policy: Any,
    envs: Any,
    *,
    seed: int = 0,
    device: Any = None,
    dtype: str | None = None,
    **parts: Any,
) -> GRPO:
    """Return the agent of a recipe.

    A recipe's controller starts from the length of the guidance wrapper and is bounded by the longest reveal there is.

    Args:
        name: A recipe, a function that returns one, or the name of one, see :func:`get`.
        policy: The policy to train, in place.
        envs: Training environment.
        seed: Root seed of the environment and of all sampling.
        device: See :class:`~g2rpo_env.agents.grpo.GRPO`, and so ``dtype``.
        dtype: See there.
        **parts: Parts that replace those of the recipe, as the arguments of Recipe.

    Raises:
        ConfigurationError: unknown recipe or part.
        MissingGuidanceError: the recipe needs guidance and ``envs`` has no guidance wrapper.
    """
    recipe: Any = get(name) if isinstance(name, str) else name
    guidance = find_guidance(envs)
    recipe = recipe() if callable(recipe) else recipe
    if not isinstance(recipe, Recipe):
        raise ConfigurationError(f"name={name!r:.80} must be a Recipe, a function that returns one, or a name")
    if recipe.controller is not None and guidance is not None and "controller" not in parts:
        parts = {**parts, "controller": fit_controller(recipe.controller, guidance)}
    known = {f.name for f in dataclasses.fields(Recipe)}
    unknown = sorted(set(parts) - known)
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]!r} must be a part of a recipe, one of {', '.join(sorted(known))}{suggest(unknown[0], known)}"
        )
    return GRPO(policy, envs, seed=seed, device=device, dtype=dtype, recipe=dataclasses.replace(recipe, **parts))


def fit_controller(controller: Controller, guidance: Any, shortest: float | None = None) -> Controller:
    """Return the controller, starting at the wrapper's length; no length exceeds the longest reveal in its unit.

    Args:
        controller: The controller.
        guidance: The guidance wrapper.
        shortest: Shortest length that was asked for; None lets it go down to a twentieth of the longest, or to what
            the controller says if that is less.
    """
    longest = guidance.longest
    length = min(guidance.length, longest)
    changes: dict[str, Any] = {"length": length}
    if hasattr(controller, "max_length"):
        limits = cast(Any, controller)
        is_open = limits.max_length in (None, type(limits).max_length)  # the default knows no unit
        bound = longest if is_open else min(limits.max_length, longest)
        changes["max_length"] = max(bound, length)
        least = min(limits.min_length, bound / 20) if shortest is None else shortest
        changes["min_length"] = min(least, length)
    return dataclasses.replace(controller, **changes)
