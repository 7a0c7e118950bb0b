"""Recipes and parts by name: ``--recipe my_module:my_recipe``, ``--controller SelfTuning``, ``--loss my:Loss``.

A name decides which options there are, so it is read before the options are: ``--controller SelfTuning`` gives
``--controller.gain`` and the others of that class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.token_weights import FILTERS
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.recipes import guides
from g2rpo_env.cli.options import early, nested, options_type, values
from g2rpo_env.controllers.base import Controller
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import CONTROLLERS, find_class, public_classes

SLOTS = tuple(f.name for f in dataclasses.fields(Recipe))

MODULES: dict[str, tuple[str, ...]] = {
    "strategy": ("g2rpo_env.agents.parts.strategies",),
    "shaping": ("g2rpo_env.agents.parts.shaping",),
    "selection": ("g2rpo_env.agents.parts.selection",),
    "advantage": ("g2rpo_env.agents.parts.advantages",),
    "credit": ("g2rpo_env.agents.parts.credits",),
    "token_weight": ("g2rpo_env.agents.parts.token_weights",),
    "loss": ("g2rpo_env.agents.parts.losses",),
    "reference": ("g2rpo_env.agents.parts.references",),
    "regularizer": ("g2rpo_env.agents.parts.regularizers",),
    "controller": (CONTROLLERS,),
}
"""Slot whose part can be named -> modules that offer parts for it; the optimizer is always the same class."""


REVEALED: Mapping[str, bool | str] = {"yes": True, "no": False, "positive": "positive"}
"""Words of ``--revealed`` -> what :func:`~g2rpo_env.agents.recipes.guided` is told."""


def offered_parts(slot: str) -> dict[str, type]:
    """Return the parts that the library offers for a slot, by name.

    >>> sorted(offered_parts("reference"))
    ['KLToAverage', 'KLToStart', 'MovingAverage', 'NoReference']
    """
    return {name: kind for name, kind in public_classes(MODULES[slot]).items() if _fits(slot, kind)}


def _fits(slot: str, kind: Any) -> bool:
    """Whether a class makes parts of a slot; the modules also offer records and protocols."""
    if slot == "controller":
        return isinstance(kind, type) and issubclass(kind, Controller) and kind._next is not Controller._next
    is_part = isinstance(kind, type) and "__call__" in dir(kind) and dataclasses.is_dataclass(kind)
    return is_part and not getattr(kind, "in_stages_only", False) and kind not in map(type, FILTERS.values())


def _help(slot: str) -> str:
    names = ", ".join(offered_parts(slot))
    return f"Part in the place of the recipe's: {names + '; or ' if names else ''}module:Name of a dataclass of yours."


def part_names_type() -> type:
    """Return a dataclass with an option for the name of the part in each slot."""
    fields: list[Any] = [
        (slot, Annotated[str | None, tyro.conf.arg(help=_help(slot))], dataclasses.field(default=None))
        for slot in MODULES
    ]
    return dataclasses.make_dataclass("Parts", fields)


@dataclasses.dataclass(frozen=True)
class Named:
    """The recipe and the parts that a command line names.

    Attributes:
        recipe: The recipe, with its own parts.
        parts: Slot -> class of the part that takes the place of the recipe's.
        length: Reveal length that the recipe states for its first update; None where it states none.
        wrapper: Arguments of the guidance wrapper that the recipe is made for.
    """

    recipe: Recipe
    parts: Mapping[str, type]
    length: float | None = None
    wrapper: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_argv(cls, argv: Sequence[str], recipe: str) -> Named:
        """Return what ``argv`` names.

        Args:
            argv: The arguments.
            recipe: Name of the recipe where ``argv`` names none.

        Raises:
            ConfigurationError: nothing has such a name, or what has it does not fit.
        """
        named = early(argv, "recipe", "revealed", *MODULES)
        found = {slot: find_part(slot, name) for slot in MODULES if (name := named[slot]) is not None}
        made, revealed = recipes.get(named["recipe"] or recipe), named["revealed"]
        is_guided = [word for word in argv if word in ("--guided", "--no-guided")][-1:] == ["--guided"]
        if revealed not in (None, *REVEALED):
            raise ConfigurationError(f"revealed={revealed!r} must be one of {', '.join(REVEALED)}")
        if is_guided:
            made = recipes.guided(made, REVEALED[revealed or "yes"])
        elif revealed is not None:
            raise ConfigurationError(f"revealed={revealed!r} says what --guided makes of a recipe: give --guided too")
        stated = None if is_guided or "controller" in found else made.controller
        length = None if stated is None else stated.length
        wrapper = guides.WRAPPERS.get(named["recipe"] or recipe, {}) if "strategy" not in found else {}
        return cls(made, found, length, wrapper)

    @property
    def needs_guidance(self) -> bool:
        """Whether the environment must be in a guidance wrapper."""
        without: dict[str, Any] = dict.fromkeys(self.parts)
        kept = dataclasses.replace(self.recipe, **without)
        named = [getattr(kind, "requires", ()) for kind in self.parts.values()]
        return kept.needs_guidance or "controller" in self.parts or any("guidance" in _names(one) for one in named)

    def option_groups(self) -> list[tuple[str, Any, Any]]:
        """Return a group of options for each part that has some, and one for the names of parts."""
        groups: list[tuple[str, Any, Any]] = [("parts", *nested(part_names_type(), prefix=""))]
        for slot in SLOTS:
            part = getattr(self.recipe, slot)
            kind = self.parts.get(slot, type(part))
            if part is None and slot not in self.parts:
                continue
            # A controller starts from the length of the guidance wrapper, which is an option of its own already.
            # Its bound is None here: the longest reveal in the unit of the wrapper, which is not known yet.
            own = {"max_length": None} if slot == "controller" else {}
            defaults = own if slot in self.parts else values(part)
            options = options_type(slot, kind, skip=("length",), defaults=defaults, required=True)
            if dataclasses.fields(options):
                groups.append((slot, *nested(options)))
        return groups

    def build(self, options: Any, guidance: Any) -> Recipe:
        """Return the recipe with its parts as the options say; its controller is fitted to the guidance wrapper.

        Args:
            options: What was parsed with :meth:`option_groups`.
            guidance: The guidance wrapper, or None.

        Raises:
            ConfigurationError: a part cannot be saved.
        """
        changed = {}
        for slot in SLOTS:
            given = values(getattr(options, slot)) if hasattr(options, slot) else {}
            if slot == "controller" and "max_length" in given:
                if slot in self.parts and given["max_length"] is None:
                    given["max_length"] = guidance.longest
                # Any length within the bounds will do until it is fitted to that of the wrapper.
                length = self.parts.get(slot, self.recipe.controller).length  # type: ignore[union-attr]
                given["length"] = min(max(length, given["min_length"]), given["max_length"] or math.inf)
            if slot in self.parts:
                changed[slot] = self.parts[slot](**given)
            elif given:
                changed[slot] = dataclasses.replace(getattr(self.recipe, slot), **given)
        recipe = dataclasses.replace(self.recipe, **changed)
        if recipe.controller is not None:
            shortest = self._find_shortest(recipe.controller)
            fitted = recipes.fit_controller(recipe.controller, guidance, shortest)
            recipe = dataclasses.replace(recipe, controller=fitted)
        recipe.to_config()  # raises here, and not at the first checkpoint
        return recipe

    def _find_shortest(self, controller: Any) -> float | None:
        """Return the shortest length of a controller where the options state one, None where it is the default."""
        before = self.parts.get("controller", self.recipe.controller)
        stated = getattr(controller, "min_length", None)
        return None if stated == getattr(before, "min_length", None) else stated


def _names(requires: Any) -> Any:
    return requires if isinstance(requires, frozenset | set | tuple | list) else ()


def find_part(slot: str, name: str) -> type:
    """Return the class of a part by its public name or ``"module:Name"``.

    Raises:
        ConfigurationError: nothing has that name, or it is no part of that slot.
    """
    argument = f"--{slot.replace('_', '-')}"
    if ":" not in name and not MODULES[slot]:
        raise ConfigurationError(f"{argument}={name!r} must be module:Name of a dataclass of yours")
    kind = find_class(name, MODULES[slot], argument)
    if not _fits(slot, kind):
        rule = "derived from Controller" if slot == "controller" else "that is a dataclass with __call__"
        raise ConfigurationError(f"{argument}={name!r} must name a class {rule}")
    return kind
