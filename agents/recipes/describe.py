"""Descriptions: what a recipe is, read from its docstring and its parts. Pages and ``list recipes`` are made from them.

Agents of several recipes, one after the other, are described likewise, see :data:`STAGED`. The docstring has a first
line ``NAME: one sentence.``, paragraphs of explanation, and the sections of :data:`SECTIONS`, each a paragraph that
begins with its word and a colon.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.costs import COSTS
from g2rpo_env.agents.recipes.veripo import make_stages, veripo
from g2rpo_env.agents.staged import Stage, Staged
from g2rpo_env.errors import ConfigurationError

STAGED: Mapping[str, tuple[Callable[..., Staged], Callable[[], tuple[Stage, ...]]]] = {"veripo": (veripo, make_stages)}
"""Name of an agent of stages -> the function that makes it, whose docstring describes it, and one of its stages."""

ARGUMENTS = ("Args", "Returns", "Raises")
"""Sections that end the description: a function that makes an agent has them too."""

SECTIONS = ("Formula", "Source", "Confidence", "Needs", "Limits", "Deviations")
"""Sections of a recipe's docstring; only ``Limits`` may be missing."""

CONFIDENCE = ("official code", "paper", "third-party text", "memory", "derived here")
"""How well a source was read, the best first."""


@dataclass(frozen=True)
class Description:
    """A recipe for readers. Texts are one line each, with single backquotes around code.

    Attributes:
        name: Its name.
        title: What people call the method.
        sentence: One sentence about it, without a full stop at its end.
        text: Paragraphs of explanation.
        formula: What is computed.
        source: Papers and code.
        confidence: How well they were read; begins with one of :data:`CONFIDENCE`.
        needs: What it needs of the environment or the base.
        limits: What it cannot do; empty where nothing is known.
        deviations: Differences to the source.
        parts: Slot -> the part, for slots whose part is not that of ``grpo``, in any stage.
        cost: Time of an update over that of ``grpo``, sampling left out; None where it was not measured.
        stages: Its stages, if it has some: the recipe of each and its updates.
    """

    name: str
    title: str
    sentence: str
    text: tuple[str, ...]
    formula: str
    source: str
    confidence: str
    needs: str
    limits: str
    deviations: tuple[str, ...]
    parts: dict[str, str]
    cost: float | None
    stages: tuple[Stage, ...] = ()


def describe(name: str) -> Description:
    """Return the description of a recipe or of an agent of stages.

    Args:
        name: A key of :data:`~g2rpo_env.agents.recipes.RECIPES` or of :data:`STAGED`.

    Raises:
        ConfigurationError: there is no such recipe, or its docstring lacks a section.
    """
    if name not in RECIPES and name not in STAGED:
        raise ConfigurationError(f"recipe={name!r} must be one of {', '.join([*RECIPES, *STAGED])}")
    described: Callable[..., Any] = STAGED[name][0] if name in STAGED else RECIPES[name]
    stages = STAGED[name][1]() if name in STAGED else ()
    first, text, sections = read_docstring(inspect.getdoc(described) or "")
    title, colon, sentence = first.partition(": ")
    missing = [one for one in SECTIONS if one not in sections and one != "Limits"]
    if missing or not colon or not sentence.endswith("."):
        what = f"the section {missing[0]}" if missing else "a first line of the form `NAME: one sentence.`"
        raise ConfigurationError(f"the docstring of the recipe {name!r} must have {what}")
    listed = [part.strip() for part in re.split(r"(?:^|\s)\d+\. ", sections["Deviations"]) if part.strip()]
    return Description(
        name=name,
        title=title,
        sentence=sentence.rstrip("."),
        text=tuple(text),
        formula=sections["Formula"],
        source=sections["Source"],
        confidence=sections["Confidence"].rstrip("."),
        needs=sections["Needs"].rstrip("."),
        limits=sections.get("Limits", ""),
        deviations=() if sections["Deviations"].lower().rstrip(".") == "none" else tuple(listed),
        parts=list_stage_parts(stages) if stages else list_parts(RECIPES[name]()),
        cost=COSTS.get(name),
        stages=stages,
    )


def read_docstring(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Return the first line, the paragraphs of explanation and the sections of a docstring.

    >>> read_docstring('A: b.\\n\\nMore ``c``.\\n\\nNeeds: nothing.\\n\\nDeviations:\\n\\n1. One\\n   more.\\n2. Two.')
    ('A: b.', ['More `c`.'], {'Needs': 'nothing.', 'Deviations': '1. One more. 2. Two.'})
    """
    first, *rest = [" ".join(one.split()).replace("``", "`") for one in text.strip().split("\n\n")]
    paragraphs: list[str] = []
    sections: dict[str, str] = {}
    here = ""
    for paragraph in rest:
        word, colon, after = paragraph.partition(":")
        if colon and word in ARGUMENTS:
            break
        if colon and word in SECTIONS:
            here, sections[word] = word, after.strip()
        elif here == "Deviations":
            sections[here] = f"{sections[here]} {paragraph}".strip()
        else:
            paragraphs.append(paragraph)
    return first, paragraphs, sections


def list_parts(recipe: Recipe) -> dict[str, str]:
    """Return slot -> part as it is written, for slots whose part is not the usual one; the optimizer is left out.

    >>> list_parts(RECIPES["reinforce"]())
    {'advantage': 'GroupCentered()', 'token_weight': 'TokenMean()', 'loss': 'LogLikelihood()'}
    """
    usual, found = Recipe(), {}
    for field in dataclasses.fields(Recipe):
        part = getattr(recipe, field.name)
        if field.name != "optimizer" and part != getattr(usual, field.name):
            found[field.name] = write_part(part)
    return found


def list_stage_parts(stages: Sequence[Stage]) -> dict[str, str]:
    """Return slot -> the parts as they are written that some stages have there, where they are not the usual one."""
    found: dict[str, dict[str, None]] = {}
    for stage in stages:
        for slot, part in list_parts(stage.recipe).items():
            found.setdefault(slot, {})[part] = None
    return {slot: ", ".join(parts) for slot, parts in found.items()}


def write_part(part: Any) -> str:
    """Return a part as a call with the options that differ from their defaults.

    >>> from g2rpo_env.agents.parts import ClippedSurrogate, TokenMean
    >>> write_part(ClippedSurrogate(0.2, 0.28)), write_part(TokenMean())
    ('ClippedSurrogate(clip_high=0.28)', 'TokenMean()')
    """
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return repr(part)
    options = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.init and value != default:
            written = write_part(value) if dataclasses.is_dataclass(value) else repr(value)
            options.append(f"{field.name}={written}")
    return f"{type(part).__name__}({', '.join(options)})"


def list_options(part: Any) -> list[tuple[str, str]]:
    """Return the options of a part with their values, as they are written."""
    if not dataclasses.is_dataclass(part):
        return []
    return [(f.name, write_part(getattr(part, f.name))) for f in dataclasses.fields(part) if f.init]


def first_line(thing: Any) -> str:
    """Return the first paragraph of a docstring on one line, with single backquotes around code."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()).replace("``", "`")


def describe_all(names: Sequence[str] | None = None) -> list[Description]:
    """Return the descriptions of some recipes in their order; where None are named, of all and of agents of stages."""
    return [describe(name) for name in ([*RECIPES, *STAGED] if names is None else names)]
