"""Rows of a data set from local files or the Hub, by split, with checksums.

Local data is one file or a folder of files: JSON (a list, a single object, or JSON Lines under that name), JSON Lines,
CSV with a header, or Parquet. A folder may lie as it does on the Hub, such as ``data/train-00000-of-00002.parquet``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from g2rpo_env.envs.dataset import PlacedRow, read_hub
from g2rpo_env.errors import ConfigurationError, DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""How files, folders and Hub splits are called, and the split that they are."""

MIN_CHECKSUM = 8
_NOT_ROWS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"})
_WHOLE_NAME = re.compile(r"([a-z]+)(?:-\d+-of-\d+)?")


@dataclass(frozen=True)
class Tables:
    """The rows of a data set.

    Attributes:
        name: Where they come from, for messages.
        rows: Split -> rows with their places. Rows that belong to no named split are ``train``.
        sha256: File (or split on the Hub) -> SHA-256 in hexadecimal, of the bytes of the file or of the rows as JSON.
    """

    name: str
    rows: Mapping[str, list[PlacedRow]]
    sha256: Mapping[str, str]


def load_tables(
    data: str | Path,
    *,
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    checksum: str | Mapping[str, str] | None = None,
) -> Tables:
    """Return the rows of a local file, a local folder or a Hub data set.

    Args:
        data: Path or Hub name; what exists as a path is one.
        config: Configuration on the Hub; a sub-folder of a local folder.
        revision: Branch, tag or commit on the Hub.
        streaming: Hub only: read rows as they arrive, without a copy on disk.
        limit: Take so many rows of each split, >= 1; None for all.
        checksum: SHA-256 that the data must have, its first 8 digits or more: a text where there is one file, else
            file (or split on the Hub) -> text. What is not named is not checked.

    Raises:
        ConfigurationError: ``limit`` or ``checksum`` breaks its rule.
        DataError: the data cannot be found, reached or read, or has another checksum.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit={limit} must be at least 1, or None for all rows")
    path = Path(data)
    if path.is_file():
        tables = _local(path.parent, {split_of(path, path.parent) or "train": [path]}, limit, str(path))
    elif path.is_dir():
        tables = _local(path, find_files(path, config), limit, str(path))
    elif path.suffix in SUFFIXES or path.is_absolute() or len(path.parts) > 2:
        raise DataError(f"data={str(data)!r} is no file and no folder; it must be one or the name of a Hub data set")
    else:
        tables = _hub(str(data), config, revision, streaming, limit)
    if checksum is not None:
        check_sums(tables, checksum)
    return tables


# -- local files ----------------------------------------------------------------------------------------------------


def split_of(path: Path, root: Path) -> str | None:
    """Return the split that the name of a file, or of the folders above it up to ``root``, says; None if it says none.

    >>> [split_of(Path(name), Path()) for name in ("test/a.json", "data/dev-00000-of-00001.parquet", "SVAMP.json")]
    ['test', 'validation', None]
    """
    for name in (path.stem, *reversed(path.relative_to(root).parts[:-1])):
        words = [SPLIT_WORDS[word] for word in re.split(r"[-_.\s]+", name.lower()) if word in SPLIT_WORDS]
        if words:
            return words[0]
    return None


def find_files(folder: Path, config: str | None = None) -> dict[str, list[Path]]:
    """Return split -> its files in a folder and below, in the order of their names.

    ``train.jsonl`` goes before ``train_extra.jsonl``: where a file is called exactly like a split, only such files are.

    Raises:
        DataError: there is none, or a split comes in two formats.
    """
    root = folder if config is None else folder / config
    if not root.is_dir():
        below = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise DataError(f"config={config!r} must be a sub-folder of {folder}; there are {', '.join(below) or 'none'}")
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and path.suffix in SUFFIXES and path.name not in _NOT_ROWS and not hidden:
            found.setdefault(split_of(path, root) or "", []).append(path)
    if not found:
        raise DataError(f"data={str(folder)!r} must hold files that end in {', '.join(SUFFIXES)}; there are none")
    # Files without a split beside files with one are something else, such as a list of sources.
    chosen = {split: _exact(paths) for split, paths in found.items() if split} or {"train": found[""]}
    for split, paths in chosen.items():
        kinds = sorted({path.suffix for path in paths})
        if len(kinds) > 1:
            raise DataError(f"data={str(folder)!r} holds {split} as {' and '.join(kinds)}: give the file itself")
    return chosen


def _exact(paths: list[Path]) -> list[Path]:
    names = [_WHOLE_NAME.fullmatch(path.stem.lower()) for path in paths]
    exact = [path for path, name in zip(paths, names, strict=True) if name and name[1] in SPLIT_WORDS]
    return exact or paths


def read_file(path: Path, limit: int | None = None) -> list[PlacedRow]:
    """Return the rows of one file with their places, such as ``"train.csv, line 3"``.

    Raises:
        DataError: the file is empty or malformed; the message names file and line.
    """
    readers = {".csv": _csv, ".json": _json, ".parquet": _parquet}
    rows = list(islice(readers.get(path.suffix, _json_lines)(path), limit))
    if not rows:
        raise DataError(f"{path} holds no rows; a data file must hold at least one")
    for where, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{where}: a row must be a JSON object, got {type(row).__name__}")
    return rows


def _local(root: Path, files: Mapping[str, list[Path]], limit: int | None, name: str) -> Tables:
    rows = {split: list(islice(_rows_of(paths, limit), limit)) for split, paths in files.items()}
    everything = (path for paths in files.values() for path in paths)
    return Tables(name, rows, {path.relative_to(root).as_posix(): file_sha256(path) for path in everything})


def _rows_of(paths: Iterable[Path], limit: int | None) -> Iterable[PlacedRow]:
    for path in paths:
        yield from read_file(path, limit)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text (byte {error.start} of the file)") from None


def _json_lines(path: Path) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", _parse(line, f"{path}, line {number}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
    except (RecursionError, ValueError) as error:  # brackets nested too deeply, an integer of too many digits
        raise DataError(f"{where}: not valid JSON ({error})") from None


def _json(path: Path) -> Iterable[tuple[str, Any]]:
    text = _text(path)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            where = f"{path}, line {error.lineno}"
            raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
        yield from _json_lines(path)  # JSON Lines under the name .json
        return
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if isinstance(whole, list):
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(whole, 1))
    else:
        yield str(path), whole


def _csv(path: Path) -> Iterable[PlacedRow]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        while True:
            # A quoted field may hold line breaks: the row is where its last line is.
            values = next(reader, None)
            if values is None:
                return
            where = f"{path}, line {reader.line_num}"
            if values and len(values) != len(header):
                raise DataError(f"{where}: a row must have {len(header)} fields like the header, got {len(values)}")
            if values:
                yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from None


def _parquet(path: Path) -> Iterable[PlacedRow]:
    import datasets

    try:
        # As a stream, because otherwise the library would write a copy of the file into its cache.
        loaded = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        for number, row in enumerate(loaded, 1):
            yield f"{path}, row {number}", dict(row)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error})") from None


# -- the Hub --------------------------------------------------------------------------------------------------------


def _hub(name: str, config: str | None, revision: str | None, streaming: bool, limit: int | None) -> Tables:
    import datasets

    try:
        names = datasets.get_dataset_split_names(name, config, **({} if revision is None else {"revision": revision}))
    except (OSError, ValueError) as error:  # what the datasets library raises for what it cannot find or reach
        raise DataError(
            f"data={name!r} must be a Hub data set that can be loaded ({error}); without the Hub, download it and give "
            f"data the path of the folder or of a file that ends in {', '.join(SUFFIXES)}"
        ) from None
    rows: dict[str, list[PlacedRow]] = {}
    sums = {}
    for hub_split in names:
        found = read_hub(name, config, hub_split, revision=revision, streaming=streaming, limit=limit)
        rows.setdefault(SPLIT_WORDS.get(hub_split.lower(), "train"), []).extend(found)
        sums[hub_split] = rows_sha256(row for _, row in found)
    return Tables(name, rows, sums)


def rows_sha256(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of rows: of each as JSON with sorted keys, one per line."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


# -- checksums ------------------------------------------------------------------------------------------------------


def check_sums(tables: Tables, expected: str | Mapping[str, str]) -> None:
    """Raise DataError unless the data has the expected checksums; see :func:`load_tables`."""
    if isinstance(expected, str):
        if len(tables.sha256) != 1:
            raise ConfigurationError(
                f"checksum={expected!r} must name its file, data={tables.name!r} has several: "
                + ", ".join(tables.sha256)
            )
        expected = dict.fromkeys(tables.sha256, expected)
    for file, digest in expected.items():
        if file not in tables.sha256:
            raise ConfigurationError(f"checksum names {file!r}; data={tables.name!r} has {', '.join(tables.sha256)}")
        if not re.fullmatch(rf"[0-9a-f]{{{MIN_CHECKSUM},64}}", digest.lower()):
            raise ConfigurationError(f"checksum={digest!r} must be the first {MIN_CHECKSUM} to 64 digits of a SHA-256")
        if not tables.sha256[file].startswith(digest.lower()):
            raise DataError(
                f"{file} of data={tables.name!r} has the wrong checksum: expected {digest}, got {tables.sha256[file]}; "
                "the data is another version or was damaged"
            )
