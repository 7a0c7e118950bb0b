"""Archive: the results of a study in one file, small enough to be committed beside the page that it feeds.

A line is a run, or the hashes of the code that made some of the runs, as in the folder of a study.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from g2rpo_env.errors import ResumeError
from g2rpo_env.study.runner import StudyFolder, write
from g2rpo_env.study.runs import Run

LEFT_OUT = ("config", "curve", "solved")
"""Fields of a result that a line has not: its key says what it was, and tables do not show the rest."""
CODE = "code "
"""Beginning of the key of a line of hashes."""


def pack(folder: StudyFolder, runs: Iterable[Run], path: Path) -> int:
    """Write the results of some runs into a file and return how many it has; lines that it has already are kept.

    Args:
        folder: Where the results are.
        runs: The runs; those that are not done are left out.
        path: The file, made or written anew.
    """
    lines = read_lines(path) if path.is_file() else {}
    for run in runs:
        file = folder.path / "results" / f"{run.key}.json"
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            curves = {name: mean_of(values) for name, values in found.get("curves", {}).items()}
            kept = {name: value for name, value in found.items() if name not in LEFT_OUT}
            lines[run.key] = {"key": run.key, **kept, "curves": curves}
    used = {line["code"] for key, line in lines.items() if not key.startswith(CODE)}
    for code in used - {key.removeprefix(CODE) for key in lines}:
        modules = json.loads((folder.path / "code" / f"{code}.json").read_text(encoding="utf-8"))
        lines[CODE + code] = {"key": CODE + code, "modules": modules}
    order = sorted(lines, key=lambda key: (not key.startswith(CODE), lines[key].get("label", ""), key))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(lines[key]) + "\n" for key in order), encoding="utf-8")
    return sum(not key.startswith(CODE) for key in lines)


def mean_of(values: Iterable[float | None]) -> list[float]:
    """Return the mean of a curve as a curve of one point; none where it has no value.

    >>> mean_of([0.5, None, 1.0]), mean_of([None])
    ([0.75], [])
    """
    known = [value for value in values if value is not None]
    return [round(sum(known) / len(known), 4)] if known else []


def unpack(path: Path, folder: StudyFolder) -> int:
    """Put the results of a file into a folder that does not have them, and return how many these are.

    Raises:
        ResumeError: the file is damaged.
    """
    new = 0
    for key, line in read_lines(path).items():
        if key.startswith(CODE):
            write(folder.path / "code" / f"{key.removeprefix(CODE)}.json", line["modules"])
            continue
        file = folder.path / "results" / f"{key}.json"
        if not file.is_file():
            write(file, {name: value for name, value in line.items() if name != "key"})
            new += 1
    return new


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return key -> line of a file.

    Raises:
        ResumeError: a line is no result.
    """
    lines: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            lines[line["key"]] = line
        except (ValueError, TypeError, KeyError) as error:
            raise ResumeError(f"data={str(path)!r}: line {number} is no result; {error!r}") from None
    return lines
