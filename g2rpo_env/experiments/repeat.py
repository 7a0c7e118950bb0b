"""Options with which ``g2rpo-env train`` repeats the training of an arm, as far as its options can say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from g2rpo_env.agents import recipes
from g2rpo_env.agents.recipe import MODULES, Recipe
from g2rpo_env.experiments.arms import GUIDED, Arm, Setting, get_recipe, is_recipe, split_form
from g2rpo_env.guidance import find_guidance
from g2rpo_env.naming import public_name
from g2rpo_env.report.provenance import to_plain

REVEALED: Mapping[bool | str, str] = {True: "yes", False: "no", "positive": "positive"}
"""What a guided form makes of revealed tokens -> its word on the command line."""


@dataclasses.dataclass(frozen=True)
class Repeat:
    """Options of train for a run.

    Attributes:
        options: Name -> value, and name of a group -> its options.
        unsaid: What of the run they cannot say; empty where they repeat it.
    """

    options: Mapping[str, Any]
    unsaid: tuple[str, ...] = ()


def find_repeat(setting: Setting, base: Path, arm: Arm, agent: Any, threads: int) -> Repeat:
    """Return the options that train the base of an arm as the arm does.

    Args:
        setting: Environment, budget, seed.
        base: Folder of the base.
        arm: The arm.
        agent: Its agent, before its first update.
        threads: Torch threads.
    """
    unsaid = [text for text, holds in _list_unsaid(setting, arm).items() if holds]
    weight = next(iter(agent.policy.model.parameters()), None) if hasattr(agent, "policy") else None
    options: dict[str, Any] = {
        "env": setting.env,
        "recipe": split_form(arm.algorithm)[0],
        "updates": setting.updates,
        "seed": setting.seed,
        "policy": str(base),
        "problems": setting.problems,
        "group_size": setting.group_size,
        "warm_start": "never",
        "temperature": float(getattr(getattr(agent, "policy", None), "temperature", 1.0)),
        "device": "cpu" if weight is None else str(weight.device),
        "dtype": "float32" if weight is None else str(weight.dtype).removeprefix("torch."),
        "threads": threads,
        "evaluation_problems": setting.evaluation_problems,
        "task": _say(setting.task, "task", unsaid),
    }
    if arm.guided:
        options["guidance"] = _say(setting.guidance, "guidance", unsaid)
    if is_recipe(arm.algorithm):
        form = split_form(arm.algorithm)[1]
        if form in GUIDED:
            options |= {"guided": True, "revealed": REVEALED[GUIDED[form]]}
        options |= _say_parts(get_recipe(arm.algorithm), agent.recipe, unsaid)
        guidance, controller = find_guidance(agent.envs), agent.recipe.controller
        if controller is not None and guidance is not None:
            options.setdefault("guidance", {})["length"] = controller.length  # which the wrapper follows
            shortest = getattr(controller, "min_length", None)
            if recipes.fit_controller(controller, guidance, shortest) != controller:
                unsaid.append(f"controller={type(controller).__name__} has bounds that do not fit the guidance wrapper")
    return Repeat(options, tuple(unsaid))


def _list_unsaid(setting: Setting, arm: Arm) -> dict[str, bool]:
    """Return reasons against a repetition, and whether they hold."""
    return {
        f"{arm.algorithm} is an agent and no recipe": not is_recipe(arm.algorithm),
        "its problems come in an order of their own": setting.order is not None,
        "it is measured on another task than it trains on": setting.measured is not None,
    }


def _say_parts(expected: Recipe, recipe: Recipe, unsaid: list[str]) -> dict[str, Any]:
    """Return the options of the parts of a recipe, and the names of those that another one has."""
    options: dict[str, Any] = {}
    for field in dataclasses.fields(Recipe):
        slot, part, before = field.name, getattr(recipe, field.name), getattr(expected, field.name)
        if part is None:
            if before is not None:
                unsaid.append(f"it has no {slot}, and its recipe has {type(before).__name__}")
            continue
        is_other = type(part) is not type(before)
        if is_other:
            options[slot] = {}
            options.setdefault("parts", {})[slot] = public_name(type(part), MODULES)
        given = {
            one.name: getattr(part, one.name)
            for one in dataclasses.fields(part)
            if one.init and not (slot == "controller" and one.name == "length")
        }
        known = {} if is_other else {name: getattr(before, name) for name in given}
        table: dict[str, Any] = {}
        for name, value in given.items():
            if name in known and value == known[name] and not _is_sayable(value):
                continue  # the recipe has it already
            if value is not None or known.get(name, _default(part, name)) is not None:
                table |= _say({name: value}, slot, unsaid)
        if table:
            options[slot] = table
        elif is_other:
            del options[slot]
    return options


def _default(part: Any, name: str) -> Any:
    field = next(one for one in dataclasses.fields(part) if one.name == name)
    return None if field.default is dataclasses.MISSING else field.default


def _is_sayable(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(one, bool | int | float | str) for one in value)
    return value is None or isinstance(value, bool | int | float | str)


def _say(given: Mapping[str, Any], group: str, unsaid: list[str]) -> dict[str, Any]:
    """Return arguments as options; what no option can say is added to ``unsaid``."""
    said: dict[str, Any] = {}
    for name, value in given.items():
        plain = str(value) if isinstance(value, Path) else value
        if isinstance(plain, Mapping) or (group == "task" and dataclasses.is_dataclass(plain)):
            inner = to_plain(plain)
            said[name] = {key: one for key, one in inner.items() if one is not None}
        elif not _is_sayable(plain):
            unsaid.append(f"{group}.{name} is {type(value).__name__}")
        else:
            said[name] = "None" if plain is None else list(plain) if isinstance(plain, tuple) else plain
    return said
