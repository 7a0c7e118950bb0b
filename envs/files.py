"""Rows of a data set from local files or the Hub, by split, with checksums: the one reader of all data tasks.

Local data is one file of :mod:`g2rpo_env.envs.formats` or a folder of files. A folder may lie as it does on the Hub,
such as ``data/train-00000-of-00002.parquet``, or as the datasets library saves one to disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from g2rpo_env.envs.dataset import PlacedRow, read_hub
from g2rpo_env.envs.formats import ENDINGS, read_file, split_name
from g2rpo_env.envs.splits import SPLIT_WORDS
from g2rpo_env.errors import ConfigurationError, DataError

MIN_CHECKSUM = 8
_NOT_ROWS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"})
_WHOLE_NAME = re.compile(r"([a-z]+)(?:-\d+-of-\d+)?")
_PART = re.compile(r"(.*-)(\d+)-of-(\d+)")
_CACHE = re.compile(r"(?:cache|tmp).*\.arrow")


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

    def prefix(self, split: str) -> str:
        """Return the first part of the ids of problems: the name of the only file, else the split."""
        return split_name(Path(*self.sha256))[0] if len(self.sha256) == 1 else split


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
    path = local_path(data)
    if path.is_file():
        tables = _local(path.parent, {split_of(path, path.parent) or "train": [path]}, limit, str(path))
    elif path.is_dir():
        tables = _local(path, find_files(path, config), limit, str(path))
    elif not is_hub_name(data):
        raise DataError(f"data={str(data)!r} is no file and no folder; it must be one or the name of a Hub data set")
    else:
        tables = _hub(str(data), config, revision, streaming, limit)
    if checksum is not None:
        check_sums(tables, checksum)
    return tables


def local_path(data: str | Path) -> Path:
    """Return data as a path, ``~`` being the home of the user.

    Raises:
        ConfigurationError: it is neither a text nor a path.
    """
    if not isinstance(data, str | Path) or not str(data).strip():
        raise ConfigurationError(
            f"data={data!r:.80} must be one path or the name of a Hub data set; a folder holds several files"
        )
    try:
        return Path(data).expanduser()
    except RuntimeError:  # no home, or no such user
        return Path(data)


def is_hub_name(data: str | Path) -> bool:
    """Whether data that are no local file or folder may be the name of a data set on the Hub, and no missing path.

    >>> is_hub_name("openai/gsm8k"), is_hub_name("train.jsonl.gz"), is_hub_name("/data/gsm8k"), is_hub_name("./gsm8k")
    (True, False, False, False)
    """
    path = local_path(data)
    local = path.exists() or split_name(path)[1] or path.is_absolute() or len(path.parts) > 2
    return not local and not str(data).startswith(".")


# -- local files ----------------------------------------------------------------------------------------------------


def split_of(path: Path, root: Path) -> str | None:
    """Return the split that the name of a file, or of the folders above it up to ``root``, says; None if it says none.

    >>> [split_of(Path(name), Path()) for name in ("test/a.json", "data/dev-00000-of-00001.parquet", "SVAMP.json")]
    ['test', 'validation', None]
    """
    for name in (split_name(path)[0], *reversed(path.relative_to(root).parts[:-1])):
        words = [SPLIT_WORDS[word] for word in re.split(r"[-_.\s]+", name.lower()) if word in SPLIT_WORDS]
        if words:
            return words[0]
    return None


def list_files(folder: Path, config: str | None = None) -> list[Path]:
    """Return the data files in a folder and below, in the order of their names.

    Raises:
        DataError: there is none, the sub-folder ``config`` is missing, or one of several numbered parts.
    """
    root = folder if config is None else folder / config
    if not root.is_dir():
        below = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise DataError(f"config={config!r} must be a sub-folder of {folder}; there are {', '.join(below) or 'none'}")
    found, others = [], []
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith((".", "__")) for part in path.relative_to(root).parts)
        if path.name in _NOT_ROWS or hidden:
            continue
        if path.is_symlink() and not path.exists() and split_name(path)[1]:
            raise DataError(f"{path} is a link to {path.readlink()}, which does not exist")
        if not path.is_file():
            continue
        if not split_name(path)[1]:
            others.append(path.name)
        elif path.suffix != ".arrow" or _is_saved(path):
            found.append(path)
    if not found:
        there = f"; it holds {', '.join(others[:5])}" if others else "; there are none"
        raise DataError(f"data={str(folder)!r} must hold files that end in {ENDINGS}{there}")
    _check_parts(found)
    return found


def find_files(folder: Path, config: str | None = None) -> dict[str, list[Path]]:
    """Return split -> its files in a folder and below, in the order of their names.

    ``train.jsonl`` goes before ``train_extra.jsonl``: where a file is called exactly like a split, only such files are.

    Raises:
        DataError: see :func:`list_files`; or a split comes in two formats.
    """
    return group_files(list_files(folder, config), folder if config is None else folder / config)


def group_files(paths: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    """Return split -> its files, of files at least one below ``root``; see :func:`find_files`."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        split = split_of(path, root) or SPLIT_WORDS.get(str(_state(path.parent).get("_split")), "")
        found.setdefault(split, []).append(path)
    # Files without a split beside files with one are something else, such as a list of sources.
    chosen = {split: _exact(paths) for split, paths in found.items() if split} or {"train": found[""]}
    for split, paths in chosen.items():
        kinds = sorted({"".join(split_name(path)[1:]) for path in paths})
        if len(kinds) > 1:
            raise DataError(f"data={str(root)!r} holds {split} as {' and '.join(kinds)}: give the file itself")
        folders = sorted(
            {path.parent.relative_to(root).as_posix() for path in paths if split_of(Path(path.name), Path())}
        )
        if len(folders) > 1:
            warnings.warn(
                f"{split} of {root} comes from the folders {', '.join(folders)}, whose rows are read together; "
                f"config={folders[0]!r} reads one alone",
                stacklevel=2,
            )
    return chosen


def _exact(paths: list[Path]) -> list[Path]:
    names = [_WHOLE_NAME.fullmatch(split_name(path)[0].lower()) for path in paths]
    exact = [path for path, name in zip(paths, names, strict=True) if name and name[1] in SPLIT_WORDS]
    return exact or paths


def _check_parts(paths: Iterable[Path]) -> None:
    """Raise DataError if one of the parts ``train-00000-of-00002`` is missing."""
    parts: dict[tuple[Path, str, int], set[int]] = {}
    for path in paths:
        if found := _PART.fullmatch(split_name(path)[0]):
            parts.setdefault((path.parent, found[1], int(found[3])), set()).add(int(found[2]))
    for (folder, name, total), numbers in parts.items():
        if missing := sorted(set(range(total)) - numbers):
            raise DataError(f"{folder} lacks part {missing[0]} of {total} of {name.removesuffix('-')!r}")


def _state(folder: Path) -> dict[str, Any]:
    """Return what the datasets library notes beside the files that it saves, ``{}`` where there is no such note."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _is_saved(path: Path) -> bool:
    """Whether an Arrow file is one that the datasets library saved, and none of its caches beside it."""
    files = _state(path.parent).get("_data_files") or ()
    names = [file.get("filename") for file in files if isinstance(file, dict)]
    return path.name in names if names else not _CACHE.fullmatch(path.name)


def read_rows(data: str | Path, config: str | None = None) -> list[PlacedRow]:
    """Return the rows of a local file, or of all files of a local folder whatever splits their names say.

    It is for data sets whose own numbers or names say what belongs where.

    Raises:
        DataError: there is no such file or folder, or it cannot be read.
    """
    path = local_path(data)
    files = list_files(path, config) if path.is_dir() else [path]
    return [row for file in files for row in read_file(file)]


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


# -- the Hub --------------------------------------------------------------------------------------------------------


def _hub(name: str, config: str | None, revision: str | None, streaming: bool, limit: int | None) -> Tables:
    import datasets

    try:
        names = datasets.get_dataset_split_names(name, config, **({} if revision is None else {"revision": revision}))
    except (OSError, ValueError) as error:  # what the datasets library raises for what it cannot find or reach
        raise DataError(
            f"data={name!r} must be a Hub data set that can be loaded ({error}); without the Hub, download it and give "
            f"data the path of the folder or of a file that ends in {ENDINGS}"
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
