"""Run folders read without trust: JSON only, checked line by line; nothing of a folder is imported or unpickled.

Records of both versions come out in one form (:func:`normalize_record`), and so do rollouts that other libraries wrote
(:mod:`g2rpo_env.report.foreign`). A message names the file and the line.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g2rpo_env.episode import Role
from g2rpo_env.errors import DataError
from g2rpo_env.report.foreign import BIGGEST, LONGEST_LINE, MOST_LINES, Reader, find_reader
from g2rpo_env.verdict import Outcome

SCHEMA = "g2rpo-run/2"
VERSIONS = (1, 2)
"""Versions of rollout records that are read."""

MARKS = ("run.json", "metrics.jsonl", "groups.jsonl", "rollouts")
"""A folder with one of these is a run."""

DEPTH = 2
"""Levels of folders below the one that is named in which runs are looked for: ``FOLDER/SEED/LABEL``."""

CHANNELS = ("logprobs", "logprobs_before", "logprobs_after", "entropies_after", "credits", "top")
"""Fields of a record with an entry, or None, per token that may be missing as a whole."""


@dataclass(frozen=True)
class RunFiles:
    """What the small files of a run say; rollouts are read one after the other, by :meth:`read`.

    Attributes:
        label: Name of the run among those that are read together.
        root: The folder, or the file of a run that is rollouts alone.
        facts: run.json, or what config.json says of it.
        config: config.json.
        metrics: Rows of metrics.jsonl.
        evaluations: Rows of evaluations.jsonl.
        timings: Rows of timings.jsonl.
        groups: Rows of groups.jsonl, checked.
        problems: Rows of problems.jsonl, checked.
        result: result.json.
        rollouts: (update, file) of each update with recorded tokens; the update of a lone file is None.
        foreign: Reader of rollouts that another library wrote.
        tokenizer: Folder of a tokenizer for them, or None.
    """

    label: str
    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[dict[str, Any], ...] = ()
    evaluations: tuple[dict[str, Any], ...] = ()
    timings: tuple[dict[str, Any], ...] = ()
    groups: tuple[dict[str, Any], ...] = ()
    problems: tuple[dict[str, Any], ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    rollouts: tuple[tuple[int | None, Path], ...] = ()
    foreign: Reader | None = None
    tokenizer: Path | None = None

    def read(self, update: int | None, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the records of one of :attr:`rollouts`.

        Raises:
            DataError: a record is damaged.
        """
        if self.foreign is None:
            yield from read_rollouts(path, update, self.root)
            return
        for number, record in enumerate(self.foreign(path, self.tokenizer), 1):
            yield normalize_record(f"{path}, record {number}", record, update or 0)


def read_runs(path: Path, label: str | None = None, tokenizer: Path | None = None) -> list[RunFiles]:
    """Return the runs of a run folder, of a folder of runs, of a rollouts file, or of what another library wrote.

    Args:
        path: The folder or the file.
        label: Name of a run that has none of its own; None takes that of the folder.
        tokenizer: Folder of a tokenizer, for rollouts of other libraries that hold token ids alone.

    Raises:
        DataError: there is no run, or a file is damaged.
    """
    try:
        root = path.resolve()
        path.exists()
    except (OSError, RuntimeError) as error:
        raise DataError(f"run={str(path)[:200]!r} cannot be read: {error.args[-1] if error.args else error}") from None
    folders = list(find_run_folders(root)) if path.is_dir() else []
    foreign = None if folders else find_reader(path)
    if path.is_file() or foreign is not None:
        named = label or path.stem or root.name
        return [RunFiles(named, root, rollouts=((None, root),), foreign=foreign, tokenizer=tokenizer)]
    if not path.is_dir():
        raise DataError(f"run={str(path)!r} must be a run folder, a folder of runs, or a file of rollouts")
    if not folders:
        raise DataError(
            f"run={str(path)!r} must be a run folder, or hold run folders: one has {', '.join(MARKS[:-1])} or rollouts/"
        )
    if folders == [root]:
        return [read_run(root, label or path.name or root.name)]
    return [read_run(folder, folder.relative_to(root).as_posix()) for folder in folders]


def find_run_folders(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield ``root`` if it is a run, else the runs below it, by name; symbolic links are not followed."""
    if any((root / mark).exists() for mark in MARKS):
        yield root
    elif depth:
        for below in sorted(root.iterdir()):
            if below.is_dir() and not below.is_symlink():
                yield from find_run_folders(below, depth - 1)


def read_run(root: Path, label: str) -> RunFiles:
    """Return what the small files of one run folder say.

    Raises:
        DataError: a file is damaged.
    """
    facts, config = read_object(root, "run.json"), read_object(root, "config.json")
    if facts and facts.get("schema") != SCHEMA:
        raise DataError(f"{root / 'run.json'}: schema={repr(facts.get('schema'))[:60]} must be {SCHEMA!r}")
    named = facts.get("label")
    return RunFiles(
        label if not isinstance(named, str) or not named or "/" in label else named,
        root,
        facts or get_facts(config),
        config,
        evaluations=tuple(_check_rows(root, "evaluations.jsonl", check_evaluation)),
        groups=tuple(_check_rows(root, "groups.jsonl", check_group)),
        problems=tuple(_check_rows(root, "problems.jsonl", check_problem)),
        result=read_object(root, "result.json"),
        metrics=tuple(row for _, row in read_lines(root, "metrics.jsonl")),
        timings=tuple(row for _, row in read_lines(root, "timings.jsonl")),
        rollouts=tuple(find_rollouts(root)),
    )


def get_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.json would say, as far as the config.json of an earlier version says it."""
    options = config.get("options") if isinstance(config.get("options"), dict) else {}
    setting = config.get("setting") if isinstance(config.get("setting"), dict) else {}
    both = {**config, **(setting or {}), **(options or {})}
    agent = both.get("recipe") or both.get("algorithm")
    names = ("argv", "env", "task", "guidance", "seed", "updates", "group_size", "versions", "data", "threads")
    facts = {name: both[name] for name in names if both.get(name) is not None}
    facts |= {"agent": agent} if isinstance(agent, str) else {}
    return facts | ({"command": "train"} if "argv" in config else {})


def find_rollouts(root: Path) -> Iterator[tuple[int, Path]]:
    """Yield (update, file) of a run's rollouts, by update."""
    folder = root / "rollouts"
    if folder.is_dir() and is_inside(folder, root):
        for path in sorted(folder.iterdir()):
            if path.suffix == ".jsonl" and path.stem.isascii() and path.stem.isdigit() and len(path.stem) < 16:
                yield int(path.stem), path


# -- files ------------------------------------------------------------------------------------------------------------


def is_inside(path: Path, root: Path) -> bool:
    """Return whether a path leads to something inside a folder, symbolic links followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def is_there(root: Path, path: Path) -> bool:
    """Return whether there is a file of a run; raises DataError where it is none, or a link out of the folder."""
    if not path.is_symlink() and not path.exists():
        return False
    if not is_inside(path, root):
        raise DataError(f"{path} must not be a link that leads out of its folder")
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path} must be a file")
    return True


def _parse_float(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text} is no finite number")
    return number


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def parse_json(text: bytes) -> Any:
    """Return the value of a JSON text; numbers that are not finite are refused, and so is what nests too deep.

    Raises:
        ValueError: the text is no such JSON.
    """
    try:
        return json.loads(text, parse_float=_parse_float, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def read_object(root: Path, name: str) -> dict[str, Any]:
    """Return the object of a JSON file of a run; empty if there is no such file.

    Raises:
        DataError: the file is damaged.
    """
    path = root / name
    if not is_there(root, path):
        return {}
    try:
        if path.stat().st_size > LONGEST_LINE:
            raise ValueError(f"it has more than {LONGEST_LINE} bytes")
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} must hold an object, and holds {type(found).__name__}")
    return found


def read_lines(root: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, row) of a JSON Lines file of a run; none if there is no such file.

    A last line that an interruption cut short is left out.

    Raises:
        DataError: a line is no JSON object, or too long, or there are too many.
    """
    path = root / name if name else root
    if not is_there(path.parent if not name else root, path):
        return
    with path.open("rb") as file:
        for number in range(1, MOST_LINES + 2):
            line, where = file.readline(LONGEST_LINE + 1), f"{path}:{number}"
            if not line:
                return
            if number > MOST_LINES:
                raise DataError(f"{where}: a file must have at most {MOST_LINES} lines")
            if len(line) > LONGEST_LINE:
                raise DataError(f"{where}: a line must have at most {LONGEST_LINE} bytes")
            if line.isspace():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    return  # cut short
                raise DataError(f"{where} is damaged: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{where} must hold an object, and holds {type(row).__name__}")
            yield where, row


def _check_rows(
    root: Path, name: str, check: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for where, row in read_lines(root, name):
        yield check(where, row)


def read_rollouts(path: Path, update: int | None = None, root: Path | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of rollouts, one after the other.

    Args:
        path: The file.
        update: Update of records that do not say theirs, as version 1 does not; None reads it off the file's name.
        root: The run folder, which no link may lead out of; None: the file stands alone.

    Raises:
        DataError: a record is damaged.
    """
    if update is None and path.stem.isascii() and path.stem.isdigit() and len(path.stem) < 16:
        update = int(path.stem)
    name = "" if root in (None, path) else path.relative_to(root).as_posix()
    for where, row in read_lines(root or path, name):
        yield normalize_record(where, row, update or 0)


# -- rows -------------------------------------------------------------------------------------------------------------


def is_number(value: Any) -> bool:
    """Return whether a value is a number that the page can hold."""
    return type(value) in (int, float) and -BIGGEST <= value <= BIGGEST


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number from 0 on."""
    return type(value) is int and 0 <= value <= BIGGEST


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return type(value) is int and -BIGGEST <= value <= BIGGEST


def is_text(value: Any) -> bool:
    """Return whether a value is a text."""
    return isinstance(value, str)


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_truth(value: Any) -> bool:
    return type(value) is bool or value in (0, 1)


def take(where: str, row: Mapping[str, Any], name: str, check: Callable[[Any], bool], *default: Any) -> Any:
    """Return a field of a row, or its default where the row lacks it.

    Raises:
        DataError: the field breaks its rule, or is missing and has no default.
    """
    if name not in row:
        if default:
            return default[0]
        raise DataError(f"{where}: the field {name!r} is missing")
    value = row[name]
    if not check(value):
        raise DataError(f"{where}: {name}={repr(value)[:60]} is not what this field may hold")
    return value


def take_list(
    where: str,
    row: Mapping[str, Any],
    name: str,
    check: Callable[[Any], bool],
    length: int | None,
    default: list[Any] | None = None,
) -> list[Any]:
    """Return a list of a row, each entry checked, of the length that it must have.

    Raises:
        DataError: it is no list, an entry breaks its rule, or it has another length.
    """
    if name not in row and default is not None:
        return default
    values = take(where, row, name, lambda value: isinstance(value, list))
    if length is not None and len(values) != length:
        raise DataError(f"{where}: {name} has {len(values)} entries and must have {length}")
    wrong = next((value for value in values if not check(value)), None) if not all(map(check, values)) else None
    if wrong is not None or not all(map(check, values)):
        raise DataError(f"{where}: {name} holds {repr(wrong)[:60]}, which this field may not hold")
    return values


def check_evaluation(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of evaluations.jsonl with what the page shows of it."""
    interval = take(where, row, "interval", lambda value: isinstance(value, list), [])
    if not all(map(is_number, interval)) or len(interval) not in (0, 2):
        raise DataError(f"{where}: interval={repr(interval)[:60]} must be two numbers")
    return {
        "update": take(where, row, "update", is_count),
        "accuracy": take(where, row, "accuracy", is_number),
        "interval": interval,
        "problems": take(where, row, "problems", _or_none(is_count), None),
        "split": take(where, row, "split", is_text, ""),
    }


def check_group(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of groups.jsonl in its fixed form."""
    rewards = take_list(where, row, "reward", is_number, None)
    size = len(rewards)
    lists: dict[str, Callable[[Any], bool]] = {
        "correct": _is_truth,
        "guided": _is_truth,
        "reveal": is_number,
        "sampled": is_number,
        "truncated": _is_truth,
        "advantage": _or_none(is_number),
        "answer": _or_none(is_text),
    }
    none = [None] * size
    return {
        "update": take(where, row, "update", is_count),
        "group": take(where, row, "group", is_whole),
        "problem_id": take(where, row, "problem_id", is_text),
        "reward": rewards,
        **{
            name: take_list(where, row, name, check, size, none if name in ("advantage", "answer") else None)
            for name, check in lists.items()
        },
    }


def check_problem(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of problems.jsonl in its fixed form; levels and answers that are no text become one."""
    steps = take(where, row, "steps", lambda value: isinstance(value, list), [])
    return {
        "problem_id": take(where, row, "problem_id", is_text),
        "prompt": as_text(row.get("prompt")) or "",
        "steps": [as_text(step) or "" for step in steps],
        **{name: as_text(row.get(name)) for name in ("final", "answer", "level", "hint")},
    }


def as_text(value: Any) -> str | None:
    """Return a value as text: a text as it is, None as None, all else as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


# -- records ----------------------------------------------------------------------------------------------------------

_NUMBERS: frozenset[type] = frozenset({int, float, type(None)})


def _check_tokens(where: str, row: Mapping[str, Any], name: str, kinds: frozenset[type], length: int) -> list[Any]:
    """Return a list with an entry per token; types are compared as a set, because there are millions of entries."""
    values = take(where, row, name, lambda value: isinstance(value, list))
    if len(values) != length:
        raise DataError(f"{where}: {name} has {len(values)} entries, and the episode has {length} tokens")
    if not set(map(type, values)) <= kinds:
        raise DataError(f"{where}: {name} holds an entry that this field may not hold")
    if kinds is _NUMBERS or int in kinds:
        numbers = [value for value in values if value is not None]
        if numbers and not -BIGGEST <= min(numbers) <= max(numbers) <= BIGGEST:
            raise DataError(f"{where}: {name} holds a number beyond {BIGGEST:g}")
    return values


def check_top(where: str, entries: list[Any], length: int) -> list[Any]:
    """Return the alternatives of each token: None or a list of [id, text, log-probability].

    Raises:
        DataError: an entry has another form.
    """
    if len(entries) != length:
        raise DataError(f"{where}: top has {len(entries)} entries, and the episode has {length} tokens")
    for entry in entries:
        for one in () if entry is None else entry if isinstance(entry, list) else (None,):
            if not (isinstance(one, list) and len(one) == 3 and is_count(one[0]) and is_text(one[1])):
                raise DataError(f"{where}: top holds {repr(one)[:60]}, which is no [id, text, logprob]")
            if not (one[2] is None or is_number(one[2])):
                raise DataError(f"{where}: top holds {repr(one)[:60]}, which is no [id, text, logprob]")
    return entries


def check_verdict(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict of a record."""
    verdict = take(where, row, "verdict", lambda value: isinstance(value, dict))
    return {
        "outcome": take(where, verdict, "outcome", lambda value: value in tuple(Outcome)),
        "answer": take(where, verdict, "answer", _or_none(is_text), None),
        "message": take(where, verdict, "message", is_text, ""),
        "score": take(where, verdict, "score", _or_none(is_number), None),
    }


def normalize_record(where: str, row: dict[str, Any], update: int) -> dict[str, Any]:
    """Return a record of version 1 or 2 in one form, with every field of version 2; channels that lack are None.

    Args:
        where: File and line, for messages.
        row: The record.
        update: Its update, if it does not say.

    Raises:
        DataError: the record breaks a rule.
    """
    if row.get("version") not in VERSIONS or type(row["version"]) is not int:
        raise DataError(
            f"{where}: version={repr(row.get('version'))[:60]} must be one of {', '.join(map(str, VERSIONS))}"
        )
    tokens = take(where, row, "tokens", lambda value: isinstance(value, list))
    length = len(tokens)
    _check_tokens(where, row, "tokens", frozenset({int}), length)
    roles = _check_tokens(where, row, "roles", frozenset({int}), length)
    if tokens and min(tokens) < 0:
        raise DataError(f"{where}: tokens holds {min(tokens)}, and ids begin with 0")
    if not set(roles) <= set(map(int, Role)):
        raise DataError(f"{where}: roles must be of 0 to {len(Role) - 1}")
    weights = _check_tokens(where, row, "weights", frozenset({int, float}), length)
    record = {
        "update": take(where, row, "update", is_count, update),
        **_take_plain(where, row),
        "verdict": check_verdict(where, row),
        "tokens": tokens,
        "roles": roles,
        "texts": _check_tokens(where, row, "texts", frozenset({str}), length),
        "weights": weights,
        "loss_mask": [int(w > 0) for w in weights],
        "parts": [],
    }
    if row.get("parts") is not None:
        parts = _check_tokens(where, row, "parts", frozenset({bool, int}), length)
        record["parts"] = [place for place, part in enumerate(parts) if part]
    for name in CHANNELS[:-1]:
        record[name] = None if row.get(name) is None else _check_tokens(where, row, name, _NUMBERS, length)
    if record["logprobs"] is not None:  # version 1 once held 0 where nobody sampled
        record["logprobs"] = [x if r == 2 else None for x, r in zip(record["logprobs"], roles, strict=True)]
    top = take(where, row, "top", lambda value: value is None or isinstance(value, list), None)
    record["top"] = None if top is None else check_top(where, top, length)
    return record


PLAIN: dict[str, tuple[Callable[[Any], bool], tuple[Any, ...]]] = {
    "problem_id": (is_text, ()),
    "group": (is_whole, ()),
    "member": (is_whole, ()),
    "seed": (lambda value: True, (None,)),
    "reveal": (is_count, ()),
    "reward": (is_number, ()),
    "valid": (_is_truth, (True,)),
    "terminated": (_is_truth, (True,)),
    "truncated": (_is_truth, (False,)),
    "stage": (is_whole, (0,)),
    "advantage": (_or_none(is_number), (None,)),
    "shaped_reward": (_or_none(is_number), (None,)),
}
"""Fields of a record with one value: the rule and, where the field may be missing, the default."""


def _take_plain(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: take(where, row, name, check, *default) for name, (check, default) in PLAIN.items()}
    for name in ("valid", "terminated", "truncated"):
        plain[name] = bool(plain[name])
    plain["selected"] = bool(take(where, row, "selected", _is_truth, plain["advantage"] is not None))
    for name, length in (("parent", 3), ("prompt_reveal", 2)):
        value = take(where, row, name, lambda value: value is None or isinstance(value, list), None)
        if value is not None and (len(value) != length or not all(map(is_whole, value))):
            raise DataError(f"{where}: {name}={repr(value)[:60]} must be {length} whole numbers")
        plain[name] = value
    prefix = take(where, row, "train_prefix", lambda value: value is None or isinstance(value, list), None)
    if prefix is not None and not all(map(is_count, prefix)):
        raise DataError(f"{where}: train_prefix must hold token ids")
    return {**plain, "train_prefix": prefix}
