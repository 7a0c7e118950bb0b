"""Algorithms by name: the arms that train them, and the chains in which arms train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from g2rpo_env.agents import recipes
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.controllers.base import Controller
from g2rpo_env.controllers.rules import AdaptiveGuidance
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import (
    GUIDED,
    UNGUIDED,
    Arm,
    Setting,
    check_fits,
    get_recipe,
    is_recipe,
    load_agent,
    split_form,
)

ALL = "all"
"""Word that stands for every recipe of the library."""

IMITATION, IMITATED = "sft", "g2rpo-a"
"""The algorithm that replays the reveals of another one if both are compared, and that other one."""


def make_arm(
    name: str,
    learning_rate: float | None = None,
    controller: Controller | None = None,
    optimizer: Mapping[str, Any] | None = None,
) -> Arm:
    """Return the arm of one algorithm.

    Args:
        name: Name of a recipe, ``ppo``, ``a2c``, ``veripo``, ``"module:function"`` of a function of yours that returns
            a Recipe, or ``"module:Class"`` of an :class:`~g2rpo_env.agents.agent.Agent`. It trains in the guided
            environment unless its name ends in ``@unguided``. ``@guided``, ``@guided-masked`` and ``@guided-positive``
            at the end of the name of a recipe ask for its guided form, see :func:`~g2rpo_env.agents.recipes.guided`.
        learning_rate: None leaves that of the recipe or the agent.
        controller: Replaces that of a guided form, and the rule of G2RPO-A in recipes of the library; None leaves it.
        optimizer: Fields of :class:`~g2rpo_env.agents.recipe.Optimizer` that differ from the recipe's, such as
            ``{"minibatch": 16}``; an agent that is no recipe has none.

    Raises:
        ConfigurationError: no recipe or agent has that name, it needs the guidance that ``@unguided`` takes away, or it
            has no guided form.
    """
    plain, form = split_form(name)
    algorithm, guided = AGENTS.get(plain, plain), form != UNGUIDED
    label = name.replace(":", ".")
    if not is_recipe(algorithm):
        if form in GUIDED:
            raise ConfigurationError(f"algorithm={name!r} must be a recipe: an agent has no guided form")
        load_agent(algorithm)
        return Arm(label, algorithm, learning_rate, guided)
    if ":" not in algorithm and algorithm not in recipes.RECIPES:
        known = ", ".join([*recipes.RECIPES, *AGENTS])
        raise ConfigurationError(
            f"algorithm={name!r} must be one of {known}, or module:function of a recipe, or "
            "module:Class of an agent, of yours"
        )
    algorithm += form if form in GUIDED else ""
    recipe = get_recipe(algorithm)
    if recipe.needs_guidance and not guided:
        raise ConfigurationError(f"algorithm={name!r} needs guidance: leave {UNGUIDED} away")
    # Other recipes have a controller that is a part of their method.
    has_rule = plain in recipes.RECIPES and isinstance(recipe.controller, AdaptiveGuidance)
    takes_controller = form in GUIDED or has_rule
    parts = {"optimizer": replace(recipe.optimizer, **optimizer)} if optimizer else {}
    return Arm(label, algorithm, learning_rate, guided, controller if takes_controller else None, parts=parts)


def expand_names(algorithms: Sequence[str | Arm]) -> list[str | Arm]:
    """Return algorithms with every recipe in the place of the word ``all``, without those that are named beside it.

    Recipes that need no guidance are there with ``@unguided``.

    >>> expand_names(["all", "g2rpo-a"])[:2], expand_names(["all", "sft"])[-2:]
    (['grpo@unguided', 'sft'], ['hint-grpo', 'sft'])
    """
    beside = [one if isinstance(one, str) else one.label for one in algorithms]
    names = [name if recipes.get(name).needs_guidance else name + UNGUIDED for name in recipes.RECIPES]
    every: list[str | Arm] = [name for name in names if name not in beside]
    return [found for one in algorithms for found in (every if one == ALL else [one])]


def find_misfits(algorithms: Sequence[str | Arm], arms: Sequence[Arm], setting: Setting) -> dict[str, str]:
    """Return label -> why, for arms that are there because of ``all`` and that a setting has not what they need.

    No setting has what every recipe needs: some show their guidance in the prompt, others in the answer.

    Args:
        algorithms: Names and arms as they were given.
        arms: What :func:`make_arms` made of them.
        setting: The setting.
    """
    if ALL not in algorithms:
        return {}
    named = {one.replace(":", ".") if isinstance(one, str) else one.label for one in algorithms}
    found = {}
    for arm in arms:
        try:
            if arm.label not in named:
                check_fits(setting, arm)
        except ConfigurationError as error:
            found[arm.label] = str(error)
    return found


def make_arms(
    algorithms: Sequence[str | Arm],
    learning_rates: Sequence[float] = (),
    controller: Controller | None = None,
    optimizer: Mapping[str, Any] | None = None,
) -> list[Arm]:
    """Return the arms of some algorithms, in their order; ``sft`` replays the reveals of ``g2rpo-a`` if both are named.

    Args:
        algorithms: Names, see :func:`make_arm` and :func:`expand_names`, and arms, which stay as they are.
        learning_rates: One for all names, or one for each algorithm; empty leaves those of the recipes and agents.
        controller: See :func:`make_arm`.
        optimizer: See there.

    Raises:
        ConfigurationError: there is no algorithm, one stands there twice, a name is unknown, or the learning rates are
            neither one nor as many as the algorithms.
    """
    algorithms = expand_names(algorithms)
    labels = [one if isinstance(one, str) else one.label for one in algorithms]
    if not labels or len(set(labels)) < len(labels):
        raise ConfigurationError(f"algorithms={','.join(labels)!r} must name at least one algorithm, each once")
    rates: Sequence[float | None] = tuple(learning_rates) or (None,)
    if len(rates) not in (1, len(labels)):
        raise ConfigurationError(f"learning_rates={tuple(rates)} must hold one number, or one per algorithm")
    rates = rates if len(rates) == len(labels) else list(rates) * len(labels)
    arms = []
    for one, rate in zip(algorithms, rates, strict=True):
        arm = make_arm(one, rate, controller, optimizer) if isinstance(one, str) else one
        replays = one == IMITATION and IMITATED in labels
        arms.append(replace(arm, replays=IMITATED) if replays else arm)
    return arms


def make_chains(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Return the arms that can train side by side: each alone, but one that replays another after that one.

    Raises:
        ConfigurationError: an arm replays one that is not among them, or that replays another itself.
    """
    chains = {arm.label: [arm] for arm in arms if arm.replays is None}
    for arm in arms:
        if arm.replays is not None:
            if arm.replays not in chains:
                raise ConfigurationError(f"replays={arm.replays!r} of {arm.label} must be one of {', '.join(chains)}")
            chains[arm.replays].append(arm)
    return list(chains.values())
