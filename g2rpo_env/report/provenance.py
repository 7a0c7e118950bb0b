"""Provenance: what a result depends on beside its options, as plain data for its folder."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from g2rpo_env._version import __version__
from g2rpo_env.envs.files import file_sha256
from g2rpo_env.envs.formats import SUFFIXES

PACKAGES = ("torch", "transformers", "tokenizers", "gymnasium", "numpy")
"""Packages whose versions are kept beside those of Python and of this library."""


def get_versions() -> dict[str, str]:
    """Return name -> version of Python, this library and :data:`PACKAGES`."""
    versions = {"python": platform.python_version(), "g2rpo_env": __version__}
    return versions | {name: metadata.version(name) for name in PACKAGES}


def get_checksums(task: Mapping[str, Any]) -> dict[str, str]:
    """Return file -> SHA-256 of the data of a task; empty where its argument ``data`` is no file and no folder.

    Args:
        task: Arguments of the task. Of a folder all files count that may hold rows, by their paths in it.
    """
    data = task.get("data")
    if not isinstance(data, str | Path) or not Path(data).exists():
        return {}
    path = Path(data)
    if path.is_file():
        return {path.name: file_sha256(path)}
    files = [one for one in path.rglob("*") if one.is_file() and {*one.suffixes} & {*SUFFIXES}]
    shown = [one for one in files if not any(part.startswith(".") for part in one.relative_to(path).parts)]
    return {one.relative_to(path).as_posix(): file_sha256(one) for one in sorted(shown)}


def to_plain(value: Any) -> Any:
    """Return plain data for JSON: dataclasses as dicts, what JSON does not know as its text."""
    return json.loads(json.dumps(value, default=_plain))


def _plain(value: Any) -> Any:
    is_object = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return dataclasses.asdict(value) if is_object else str(value)
