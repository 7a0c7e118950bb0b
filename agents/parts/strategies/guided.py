"""Guided rollouts: a rollout that says which settings of the guidance wrapper its method is defined for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal.assignment import Levels, WholeGroups, count_guided
from g2rpo_env.reveal.placement import InAnswer, InPrompt, Placement
from g2rpo_env.reveal.plan import UNITS

PLACES = ("answer", "prompt", "hint")
"""Names of the places of guidance: the solution in the answer, the solution in the prompt, a hint in the prompt."""

WHO = ("any", "some", "all", "levels")
"""Names of who is guided, see :class:`GuidedRollout`."""


def check_names(argument: str, names: Sequence[str] | str, known: Collection[str]) -> tuple[str, ...]:
    """Return names as a tuple.

    Raises:
        ConfigurationError: they are one text, or one of them is not known.
    """
    wrong = [names] if isinstance(names, str) else [name for name in names if name not in known]
    if wrong:
        raise ConfigurationError(f"{argument}={names!r} must be a tuple of names out of {', '.join(known)}")
    return tuple(names)


def name_place(place: Placement) -> str | None:
    """Return the name of a place out of :data:`PLACES`; None for a placement that the library does not know.

    >>> name_place(InAnswer(opening="<think>")), name_place(InPrompt()), name_place(InPrompt("hint"))
    ('answer', 'prompt', 'hint')
    """
    if isinstance(place, InAnswer):
        return "answer"
    return ("hint" if place.what == "hint" else "prompt") if isinstance(place, InPrompt) else None


def check_place(place: Placement, places: Sequence[str]) -> None:
    """Raise ConfigurationError unless guidance stands in one of these places; none of them named: anywhere."""
    name = name_place(place)
    if places and name is not None and name not in places:
        raise ConfigurationError(
            f"place={name!r} of the guidance wrapper must be {_either(places)}: the recipe is defined for guidance "
            "there alone"
        )


def _either(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


@dataclass(frozen=True)
class GuidedRollout(Rollout):
    """A rollout in a guided environment, for methods that are defined for some settings of the guidance wrapper alone.

    It collects what :class:`Rollout` does. When an agent is made, a wrapper with other settings is refused, so that
    nothing is trained under the name of a method that it is not.

    Args:
        groups: See Rollout.
        refill: See Rollout.
        places: Where guidance may stand, of ``answer``, ``prompt`` and ``hint``; empty: anywhere.
        units: Units of its length, of ``tokens``, ``steps`` and ``fraction``; empty: any.
        who: Which members are guided: ``any`` (at least one), ``some`` (guided and plain members in every group, or
            guided and plain groups), ``all``, or ``levels`` (all members in turn, by
            :class:`~g2rpo_env.reveal.Levels`).
        scaled: Whether lengths are shares of the wrapper's ``length``, which must be above 0 then.

    Raises:
        ConfigurationError: an argument breaks its rule; when an agent is made, the wrapper does.
    """

    places: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    who: str = "any"
    scaled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "places", check_names("places", self.places, PLACES))
        object.__setattr__(self, "units", check_names("units", self.units, UNITS))
        if self.who not in WHO:
            raise ConfigurationError(f"who={self.who!r} must be one of {', '.join(WHO)}")

    requires = frozenset({"guidance"})

    @property
    def needs(self) -> frozenset[str]:
        """Groups of two or more where members are compared that see different reveals."""
        return frozenset({"members"} if self.who in ("some", "levels") else ())

    def check_guidance(self, guidance: Any) -> None:
        """Raise ConfigurationError where the guidance wrapper has a setting that the method is not defined for.

        Args:
            guidance: The VectorGuidanceWrapper.
        """
        check_place(guidance.place, self.places)
        if self.units and guidance.unit not in self.units:
            raise ConfigurationError(
                f"unit={guidance.unit!r} of the guidance wrapper must be {_either(self.units)}: the recipe counts "
                "shares of each solution"
            )
        if self.scaled and not guidance.length > 0:
            raise ConfigurationError(
                f"length={guidance.length} of the guidance wrapper must be above 0: the recipe shows shares of it, and "
                f"{guidance.longest:g} is the longest"
            )
        self._check_who(guidance)

    def _check_who(self, guidance: Any) -> None:
        ratio, size = guidance.ratio, guidance.unwrapped.group_size
        if self.who == "levels" and not isinstance(guidance.who, Levels):
            raise ConfigurationError(
                f"who={type(guidance.who).__name__} of the guidance wrapper must be Levels: the recipe compares "
                "reveals of several lengths"
            )
        if self.who in ("all", "levels") and ratio != 1:
            raise ConfigurationError(f"ratio={ratio} of the guidance wrapper must be 1: the recipe guides every member")
        guided = ratio * size if isinstance(guidance.who, WholeGroups) or size == 1 else count_guided(ratio, size)
        if self.who == "some" and not 0 < guided < size:
            raise ConfigurationError(
                f"ratio={ratio} of the guidance wrapper must lie in (0, 1) and leave members of groups of {size} "
                "without guidance: the recipe mixes guided and plain ones"
            )
        if not ratio > 0:
            raise ConfigurationError(
                f"ratio={ratio} of the guidance wrapper must be above 0: the recipe guides members"
            )
