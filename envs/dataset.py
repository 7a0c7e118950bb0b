"""Rows from local files or the Hub, and an endless seeded order over them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from g2rpo_env.errors import ConfigurationError, DataError, UnknownProblemError
from g2rpo_env.problem import Problem
from g2rpo_env.streams import Seed, stream

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character of UTF-16: JSON can write one, but it is no text, and no tokenizer takes it."""

Row = dict[str, Any]
PlacedRow = tuple[str, Row]
"""Where a row stands, such as ``"train.jsonl, line 3"``, for messages; and the row."""


def check_row(row: Any, fields: Sequence[str], where: str) -> None:
    """Raise DataError unless a row is an object with these fields as texts."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row must be a JSON object, got {type(row).__name__}")
    for name in fields:
        if name not in row:
            raise DataError(
                f"{where}: field {name!r} must be a text that is not empty, got None: there is no such field, "
                f"the row has {', '.join(map(repr, row)) or 'none'}"
            )
        if not isinstance(row[name], str) or not row[name].strip():
            raise DataError(f"{where}: field {name!r} must be a text that is not empty, got {row.get(name)!r:.80}")
        surrogate = SURROGATE.search(row[name])
        if surrogate:
            raise DataError(
                f"{where}: field {name!r} must be text, but holds the lone surrogate {surrogate.group()!r} "
                f"at character {surrogate.start()}"
            )


def find_value(row: Mapping[str, Any], name: str, where: str, default: Any = None) -> Any:
    """Return a field, or with dots in its name a field inside a field, which may be JSON text; else the default.

    Raises:
        DataError: a field on the way begins like a JSON object and is none.

    >>> find_value({"a": '{"b": 1}', "c.d": 2}, "a.b", "here"), find_value({"c.d": 2}, "c.d", "here")
    (1, 2)
    """
    if name in row or "." not in name:
        return row.get(name, default)
    first, _, rest = name.partition(".")
    inner = row.get(first)
    if isinstance(inner, str) and inner.lstrip().startswith("{"):
        inner = parse_json(inner, f"{where}: field {first!r}")
    return find_value(inner, rest, where, default) if isinstance(inner, dict) else default


def parse_json(text: str, where: str) -> Any:
    """Return the value of a field that is JSON text.

    Raises:
        DataError: it is none.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is not valid JSON ({error.msg} at line {error.lineno} column {error.colno})"
        ) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where} is not valid JSON ({error})") from None


def join_messages(value: Any, where: str) -> Any:
    """Return a conversation, a list of chat messages, as the text that comes before its answer; anything else as it is.

    An answer of the assistant at the end is no part of a question.

    Raises:
        DataError: an answer stands before the last question, or a message holds something else than text.

    >>> join_messages([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add."}], "here")
    'Be brief.\\n\\nAdd.'
    """
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) and "role" in one for one in value):
        return value
    asked = value[:-1] if value[-1]["role"] == "assistant" else value
    if not asked or any(one["role"] not in ("system", "developer", "user") for one in asked):
        raise DataError(
            f"{where} holds a conversation of several turns; it must be one question, with its system message"
        )
    return "\n\n".join(_content(one.get("content"), where) for one in asked)


def _content(content: Any, where: str) -> str:
    """Return the text of a message, which may be cut into parts."""
    parts = content if isinstance(content, list) else [content]
    found = (part.get("text") if isinstance(part, dict) else part for part in parts)
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(parts):
        raise DataError(f"{where} holds a message whose content is no text: {content!r:.80}")
    return "".join(texts)


def read_hub(
    name: str,
    config: str | None,
    split: str,
    fields: Sequence[str] = (),
    *,
    revision: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> list[PlacedRow]:
    """Return the rows of one split of a Hub data set (or of a local folder in the Hub's layout), with their places.

    Args:
        name: Name on the Hub.
        config: Its configuration, or None for the default one.
        split: Split of the data set.
        fields: See :func:`check_row`.
        revision: Branch, tag or commit.
        streaming: Read rows as they arrive, without a copy on disk; together with ``limit`` only those are read.
        limit: Take so many rows from the start, None for all.

    Raises:
        DataError: there is no such data set, it cannot be reached, or a row is malformed.
    """
    import datasets

    options: dict[str, Any] = {} if revision is None else {"revision": revision}
    if streaming:
        options["streaming"] = True
    try:
        loaded = datasets.load_dataset(name, config, split=split, **options)
        found = [dict(row) for row in islice(loaded, limit)]
    except (OSError, ValueError) as error:  # what the datasets library raises for what it cannot find, reach or read
        raise DataError(
            f"data={name!r} must be a local folder with {split}.jsonl, a .jsonl file, or a Hub data set that can be "
            f"loaded: {error}"
        ) from None
    rows = [(f"{name} ({config or 'default'}, {split}), row {number}", row) for number, row in enumerate(found, 1)]
    for where, row in rows:
        check_row(row, fields, where)
    return rows


@lru_cache(maxsize=8)
def epoch_order(seed: int | tuple[int, ...], epoch: int, size: int) -> np.ndarray:
    """Return the seeded order of one epoch, a permutation of range(size)."""
    return stream(seed, "order", epoch).permutation(size)


class RowSource:
    """A finite list of problems in an endless seeded order: a new permutation every epoch.

    The order is a pure function of (seed, index), so that two integers resume it.

    Args:
        problems: The problems of the split.
        split: Its name.

    Raises:
        ConfigurationError: there is no problem, or two have the same id.
    """

    def __init__(self, problems: Sequence[Problem], split: str) -> None:
        if not problems:
            raise ConfigurationError(f"split={split!r} must hold at least one problem, got none")
        counts = Counter(problem.problem_id for problem in problems)
        if len(counts) < len(problems):
            problem_id, count = counts.most_common(1)[0]
            raise ConfigurationError(
                f"{len(problems)} problems must have ids of their own, but {problem_id!r} is that of {count} of them "
                f"(split={split!r}); number them, such as '{problem_id}/0'"
            )
        self.split = split
        self._problems = {problem.problem_id: problem for problem in problems}
        self._ids = list(self._problems)

    @property
    def num_problems(self) -> int:
        """Number of problems of this split."""
        return len(self._ids)

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id; raises UnknownProblemError."""
        try:
            return self._problems[problem_id]
        except KeyError:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be one of the {len(self._ids)} ids of split {self.split!r}, "
                f"{self._ids[0]!r} to {self._ids[-1]!r}"
            ) from None

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem, epoch after epoch."""
        key = seed if isinstance(seed, int) else tuple(seed)
        epoch, position = divmod(index, len(self._ids))
        return self._ids[epoch_order(key, epoch, len(self._ids))[position]]

    def longest(self) -> Iterable[Problem]:
        """Return all problems: which is longest depends on the tokenizer."""
        return self._problems.values()
