"""Options of a run as a file: config.toml, with which ``g2rpo-env train --config RUN/config.toml`` repeats it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

OPTIONS = "config.toml"
"""Name of the file in a run folder."""

HEAD = "Repeats the run: g2rpo-env train --config config.toml --out ANOTHER"
REFUSED = "This run cannot be repeated by g2rpo-env train: {reasons}."


def write_options(folder: Path, options: Mapping[str, Any], unsaid: Sequence[str] = ()) -> Path:
    """Write the options of a run and return the file.

    Args:
        folder: The run folder.
        options: Name -> value, and name of a group -> its options; texts, numbers, lists.
        unsaid: What of the run options of train cannot say; the file begins with it.
    """
    path = folder / OPTIONS
    said = REFUSED.format(reasons="; ".join(unsaid)) if unsaid else HEAD
    head = "".join(f"# {line}\n" for line in said.splitlines())
    path.write_text(head + tomli_w.dumps(sort_tables(options)), encoding="utf-8")
    return path


def sort_tables(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with groups last, as a file of TOML has them.

    >>> list(sort_tables({"task": {"digits": 1}, "seed": 0}))
    ['seed', 'task']
    """
    plain = {name: value for name, value in options.items() if not isinstance(value, Mapping)}
    groups = {name: sort_tables(value) for name, value in options.items() if isinstance(value, Mapping)}
    return {**plain, **groups}
