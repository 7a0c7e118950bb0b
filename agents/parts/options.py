"""Options of parts: values of another type than a field is annotated with, named before a comparison fails on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from g2rpo_env.errors import ConfigurationError

KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "int": ((Integral,), "whole number"),
    "float": ((Real,), "number"),
    "bool": ((bool, np.bool_), "bool"),
    "str": ((str,), "text"),
}
"""Annotation of a field -> the types that its value may have, and what one is called."""


def check_types(part: Any) -> None:
    """Raise ConfigurationError for the first option of a dataclass that is not of the type that its field names.

    Looked at are fields of the types of :data:`KINDS`, alone, with ``| None`` or as ``tuple[float, ...]``.

    Args:
        part: An object of a dataclass whose module postpones annotations.
    """
    for option in dataclasses.fields(part):
        kind, _, rest = str(option.type).partition(" | ")
        many = kind.startswith("tuple[") and kind.endswith(", ...]")
        kind = kind.removeprefix("tuple[").removesuffix(", ...]") if many else kind
        if not option.init or kind not in KINDS or rest not in ("", "None"):
            continue
        value, (types, name) = getattr(part, option.name), KINDS[kind]
        if rest and value is None:
            continue
        values = value if many else [value]
        if not isinstance(values, Collection) or not all(isinstance(one, types) for one in values):
            rule = f"a tuple of {name}s" if many else f"a {name}"
            raise ConfigurationError(f"{option.name}={value!r:.80} must be {'None or ' if rest else ''}{rule}")
