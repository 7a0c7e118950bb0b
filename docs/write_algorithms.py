"""Write docs/algorithms.md from the docstrings of the recipes: ``python docs/write_algorithms.py``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from g2rpo_env.agents import recipes
from g2rpo_env.agents.recipes import veripo
from g2rpo_env.agents.recipes.describe import CONFIDENCE, STAGED, Description, describe, first_line

PAGE = Path(__file__).with_name("algorithms.md")

FAMILIES = {**recipes.FAMILIES, "Several recipes": veripo}
"""Heading -> module of the recipes under it, in the order of the page."""

INTRODUCTION = """# Algorithms

An algorithm is a recipe: a dataclass of parts, see [agents.md](agents.md). `recipes.make("dapo", policy, envs)`
gives an agent of one, `g2rpo-env train --recipe dapo` trains it, `g2rpo-env list recipes` lists them, and `g2rpo-env
list recipes dapo` shows the parts of one with their options. `veripo` alone is several recipes one after the other, an
agent of its own: `g2rpo-env compare --algorithms veripo` trains it. This page is written by `python
docs/write_algorithms.py` from the docstrings of the recipes; a test keeps both equal.

**Any with any.** Parts of different recipes combine, `recipes.make("dapo", policy, envs, advantage=LeaveOneOut())`. The
guided form of a recipe starts groups from revealed tokens of the solution:

```python
>>> from g2rpo_env.agents import recipes
>>> recipe = recipes.guided("dapo", revealed="positive")
>>> type(recipe.controller).__name__, recipe.token_weight
('SelfTuning', TokenMean(sampled=True, revealed=True, which='positive', truncated=True))
```

`revealed=True` trains revealed tokens like sampled ones, `False` leaves them out of the loss, `"positive"` trains those
of episodes that did better than their group. On the command line: `g2rpo-env train --recipe dapo --guided --revealed
positive`, and `dapo@guided`, `dapo@guided-masked` and `dapo@guided-positive` among the names of `compare --algorithms`,
where `all` stands for every recipe.
A loss of whole groups takes `revealed=False` alone; a strategy that begins answers from what it chooses itself, such as
the drafts of `igrpo` and the level of reward of `gac`, cannot be guided.

**How a source was read** stands behind each recipe: *official code* is better than *paper*, then *third-party text*,
*memory*, and *derived here* for what no source says. Differences that are known are numbered.

**Cost** is the time of an update over that of `grpo` on the same episodes, sampling left out, from `g2rpo-env bench
recipes`. [Algorithms, measured](algorithms-measured.md) has what each recipe learns at a small scale.

"""


def write_page() -> str:
    """Return the page."""
    lines = [INTRODUCTION]
    for heading, module in FAMILIES.items():
        lines += write_table(heading, module)
    for module in FAMILIES.values():
        for name in list_names(module):
            lines += write_section(describe(name))
    return "\n".join(lines).rstrip() + "\n"


def list_names(module: object) -> list[str]:
    """Return the names of the recipes of a module, or of the agents of stages that it makes."""
    made = [name for name, (make, _) in STAGED.items() if make.__module__ == getattr(module, "__name__", "")]
    return [*getattr(module, "RECIPES", ()), *made]


def write_table(heading: str, module: object) -> Iterator[str]:
    """Yield the lines of the table of a family."""
    yield f"## {heading}\n"
    yield f"{first_line(module)}\n"
    yield "| recipe | what it is | source read in | cost |"
    yield "|---|---|---|---|"
    for name in list_names(module):
        one = describe(name)
        cost = "" if one.cost is None else f"{one.cost:.2f}"
        read = next(word for word in CONFIDENCE if one.confidence.startswith(word))
        yield f"| [`{name}`](#{find_anchors()[name]}) | {one.sentence} | {read} | {cost} |"
    yield ""


@cache
def find_anchors() -> dict[str, str]:
    """Return recipe -> anchor of its heading; a later heading of the same letters gets a number, as on GitHub."""
    anchors: dict[str, str] = {}
    for module in FAMILIES.values():
        for name in list_names(module):
            plain = name.replace("+", "")
            before = sum(other.replace("+", "") == plain for other in anchors)
            anchors[name] = f"{plain}-{before}" if before else plain
    return anchors


def write_section(one: Description) -> Iterator[str]:
    """Yield the lines about one recipe."""
    yield f"### {one.name}\n"
    yield f"**{one.title}**: {one.sentence}.\n"
    for paragraph in one.text:
        yield f"{paragraph}\n"
    parts = ", ".join(f"{slot} `{part}`" for slot, part in one.parts.items())
    yield f"- **Parts** beside those of `grpo`: {parts or 'none'}."
    if one.stages:
        losses = [f"{stage.updates} updates of `{type(stage.recipe.loss).__name__}`" for stage in one.stages]
        yield f"- **Stages**: {', '.join(losses)}."
    yield f"- **Formula**: {one.formula}"
    yield f"- **Source**: {one.source} Read in: {one.confidence}."
    yield f"- **Needs**: {one.needs}."
    if one.limits:
        yield f"- **Limits**: {one.limits}"
    if one.deviations:
        yield "- **Deviations**:"
        yield from (f"  {number}. {text}" for number, text in enumerate(one.deviations, 1))
    yield ""


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
