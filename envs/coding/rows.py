"""Fields of rows of code data sets: texts and lists of texts, also as JSON text."""

from __future__ import annotations

from typing import Any

from g2rpo_env.envs.dataset import SURROGATE, parse_json
from g2rpo_env.errors import DataError


def text_of(row: dict[str, Any], field: str, where: str, default: str | None = None) -> str:
    """Return a field that must be a text; empty or missing only where there is a default.

    Raises:
        DataError: it is none, or it holds half a character.
    """
    value = row.get(field)
    if default is not None and (value is None or value == ""):
        return default
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: field {field!r} must be a text that is not empty, got {value!r:.80}")
    if found := SURROGATE.search(value):
        raise DataError(f"{where}: field {field!r} holds the lone surrogate {found.group()!r}, which is no text")
    return value


def texts_of(row: dict[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Return a field that must be a list of texts, at least one; a text that is JSON of such a list is read.

    Raises:
        DataError: it is none.
    """
    value = row.get(field)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parse_json(value, f"{where}: field {field!r}")
    if not isinstance(value, list | tuple) or not value or not all(isinstance(text, str) for text in value):
        raise DataError(f"{where}: field {field!r} must be a list of texts that is not empty, got {value!r:.80}")
    return tuple(value)
