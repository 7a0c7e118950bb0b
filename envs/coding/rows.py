"""Rows of code data sets: JSON Lines, JSON, Parquet, packed with gzip or not, or the Hub."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from g2rpo_env.envs.dataset import SURROGATE, PlacedRow
from g2rpo_env.errors import DataError

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")


def read_file(path: Path) -> list[PlacedRow]:
    """Return the rows of a file, each with its place, such as ``"mbpp.jsonl, line 3"``.

    Raises:
        DataError: the file is missing, empty or of another kind, or a row is malformed; the message names the place.
    """
    if not path.is_file():
        raise DataError(f"data={str(path)!r} is not a file")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"data={str(path)!r} must end in one of {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        rows = _parquet(path)
    else:
        text = _text(path)
        rows = _lines(text, path) if ".jsonl" in path.suffixes else _array(text, path)
    if not rows:
        raise DataError(f"{path} holds no rows; a data file must hold at least one")
    for where, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{where}: a row must be a JSON object, got {type(row).__name__}")
    return rows


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text (byte {error.start})") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _lines(text: str, path: Path) -> list[PlacedRow]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            rows.append((where, _json(line, where)))
    return rows


def _array(text: str, path: Path) -> list[PlacedRow]:
    found = _json(text, str(path))
    if not isinstance(found, list):
        raise DataError(f"{path}: must hold a JSON array of rows, got {type(found).__name__}")
    return [(f"{path}, row {number}", row) for number, row in enumerate(found, 1)]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg} at line {error.lineno} column {error.colno})") from None


def _parquet(path: Path) -> list[PlacedRow]:
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        try:
            table = datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True).to_list()
        except Exception as error:  # of the datasets library or of pyarrow, which wrap each other differently
            raise DataError(f"{path}: cannot be read as Parquet: {error}") from None
    return [(f"{path}, row {number}", row) for number, row in enumerate(table, 1)]


def read_dataset(name: str, config: str | None, split: str) -> list[PlacedRow]:
    """Return the rows of one split of a Hub data set.

    Raises:
        DataError: there is no such data set, or it cannot be reached.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:  # what the datasets library raises for what it cannot find, reach or read
        raise DataError(f"data={name!r} must be a local file or a Hub data set that can be loaded: {error}") from None
    return [(f"{name} ({config}, {split}), row {number}", dict(row)) for number, row in enumerate(loaded, 1)]


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
        value = _json(value, f"{where}: field {field!r}")
    if not isinstance(value, list | tuple) or not value or not all(isinstance(text, str) for text in value):
        raise DataError(f"{where}: field {field!r} must be a list of texts that is not empty, got {value!r:.80}")
    return tuple(value)
