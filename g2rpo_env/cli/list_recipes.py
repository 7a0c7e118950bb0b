"""``g2rpo-env list recipes``: the algorithms by name, or one of them with its parts, its formula and its deviations.

Agents of several recipes, one after the other, are among them.
"""

from __future__ import annotations

import dataclasses

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from g2rpo_env.agents import recipes
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.recipes.describe import STAGED, Description, describe, describe_all, first_line, list_options


def show_recipes(console: Console) -> None:
    """Print by family what each recipe is, its parts beside those of ``grpo``, its source, how well that was read."""
    for module in recipes.FAMILIES.values():
        console.print(f"[bold underline]{escape(first_line(module))}[/bold underline]")
        for one in describe_all(list(module.RECIPES)):
            show_short(console, one)
    for one in describe_all(list(STAGED)):
        show_short(console, one)
    console.print(
        "Parts are those that differ from grpo's. Cost: time of an update over that of grpo on the same episodes. "
        "g2rpo-env list recipes NAME shows the parts of one with their options, its formula and its deviations. "
        f"{', '.join(STAGED)}: recipes one after the other, which compare trains and train does not."
    )


def show_short(console: Console, one: Description) -> None:
    """Print a recipe in a few lines."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True, min_width=20)
    table.add_column(overflow="fold")
    table.add_row(f"[bold]{escape(one.name)}[/bold]", escape(f"{one.sentence}."))
    table.add_row("", escape(f"parts: {', '.join(one.parts.values()) or 'those of grpo'}"))
    table.add_row("", escape(f"source: {one.source} Read in: {one.confidence}."))
    if one.cost is not None:
        table.add_row("", f"cost: {write_cost(one)}")
    console.print(table)


def show_recipe(console: Console, name: str) -> None:
    """Print all that is known of a recipe.

    Raises:
        ConfigurationError: no recipe has that name.
    """
    if ":" in name:
        return show_parts(console, recipes.get(name))
    if name not in STAGED:
        recipes.get(name)  # an unknown name is told the nearest ones
    one = describe(name)
    console.print(f"[bold]{escape(one.name)}[/bold]  {escape(one.title)}: {escape(one.sentence)}.")
    for paragraph in one.text:
        console.print(escape(paragraph))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts = {
        "formula": one.formula,
        "source": one.source,
        "confidence": one.confidence,
        "needs": one.needs,
        "limits": one.limits,
        "cost": write_cost(one),
    }
    for label, text in facts.items():
        if text:
            table.add_row(f"[bold]{label}[/bold]", escape(text))
    for number, text in enumerate(one.deviations, 1):
        table.add_row("[bold]deviations[/bold]" if number == 1 else "", escape(f"{number}. {text}"))
    console.print(table)
    if not one.stages:
        show_parts(console, recipes.get(name))
    shown: list[Recipe] = []
    for number, stage in enumerate(one.stages):
        same = shown.index(stage.recipe) if stage.recipe in shown else None
        shown.append(stage.recipe)
        parts = "" if same is None else f", the parts of stage {same}"
        last = " and on" if number + 1 == len(one.stages) else ""
        console.print(f"[bold]stage {number}[/bold]  {stage.updates} updates{last}{parts}")
        if same is None:
            show_parts(console, stage.recipe)


def show_parts(console: Console, recipe: Recipe) -> None:
    """Print the part in each slot of a recipe with its options."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("slot", "part", "options", "what it does"):
        table.add_column(name, overflow="fold")
    for field in dataclasses.fields(Recipe):
        part = getattr(recipe, field.name)
        if part is not None and field.name != "optimizer":
            options = ", ".join(f"{option}={value}" for option, value in list_options(part))
            table.add_row(field.name, *map(escape, (type(part).__name__, options, first_line(type(part)))))
    console.print(table)


def write_cost(one: Description) -> str:
    """Return the cost of a recipe, a dash where it was not measured."""
    return "-" if one.cost is None else f"{one.cost:.2f}"
