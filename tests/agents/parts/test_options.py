"""Options: a value of a wrong type is named, and so is every bad option of the parts that the library offers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents import parts
from g2rpo_env.agents.parts.options import KINDS, check_types
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.errors import ConfigurationError

# A LossResult is what a loss returns.
NAMED = [getattr(parts, name) for name in parts.__all__ if name != "LossResult"]
OFFERED = [kind for kind in NAMED if isinstance(kind, type) and dataclasses.is_dataclass(kind)] + [Optimizer]


@dataclasses.dataclass(frozen=True)
class Options:
    """A field of each kind."""

    count: int = 1
    size: int | None = None
    rate: float = 0.5
    flag: bool = True
    name: str = "a"
    levels: tuple[float, ...] = (0.0, 1.0)
    other: Any = None

    def __post_init__(self) -> None:
        check_types(self)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": "x"}, "^count='x' must be a whole number$"),
        ({"count": 1.5}, "^count=1.5 must be a whole number$"),
        ({"count": float("nan")}, "^count=nan must be a whole number$"),
        ({"count": None}, "^count=None must be a whole number$"),
        ({"size": "x"}, "^size='x' must be None or a whole number$"),
        ({"rate": None}, "^rate=None must be a number$"),
        ({"flag": "no"}, "^flag='no' must be a bool$"),
        ({"name": 3}, "^name=3 must be a text$"),
        ({"levels": 3}, "^levels=3 must be a tuple of numbers$"),
        ({"levels": "ab"}, "^levels='ab' must be a tuple of numbers$"),
        ({"levels": (0, None)}, r"^levels=\(0, None\) must be a tuple of numbers$"),
    ],
)
def test_a_value_of_another_type_is_named(options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Options(**options)


def test_values_of_the_type_pass_and_fields_of_other_types_are_not_looked_at() -> None:
    Options()
    Options(*[np.int64(2), np.int64(3), np.float32(0.5), np.True_, "b", [1, 2.5], object()])
    Options(rate=1)


BAD = (-1, float("nan"), float("inf"), 1e9, "x", None, (), [None])


def needed_options(kind: Any) -> dict[str, Any]:
    """A value for each option without a default: names, so far."""
    missing = dataclasses.MISSING
    return {f.name: "x" for f in dataclasses.fields(kind) if f.init and f.default is f.default_factory is missing}


@pytest.mark.parametrize("kind", OFFERED, ids=lambda kind: kind.__name__)
def test_a_bad_option_of_a_part_is_taken_or_named(kind: Any) -> None:
    for option in [f for f in dataclasses.fields(kind) if f.init]:
        for value in BAD:
            try:
                kind(**{**needed_options(kind), option.name: value})
            except ConfigurationError as error:
                assert option.name in str(error)


@pytest.mark.parametrize("kind", OFFERED, ids=lambda kind: kind.__name__)
def test_a_part_looks_at_the_types_of_its_options(kind: Any) -> None:
    for option in [f for f in dataclasses.fields(kind) if f.init]:
        if str(option.type).partition(" | ")[0] in KINDS:
            with pytest.raises(ConfigurationError, match=rf"^{option.name}=\[None\] must be "):
                kind(**{**needed_options(kind), option.name: [None]})
