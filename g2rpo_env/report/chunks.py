"""Records as columns, and columns as text inside a page: JSON, gzip, base64.

A chunk holds the recorded episodes of one update. It is a fraction of the records in size, because a column repeats
itself where records differ: texts and ids are stored once, roles and weights as runs, numbers as whole thousandths.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

PLAIN = (
    "group", "member", "seed", "reveal", "reward", "valid", "terminated", "truncated", "stage", "advantage",
    "shaped_reward", "selected", "parent", "prompt_reveal", "train_prefix", "problem_id",
)  # fmt: skip
"""Fields of a record that a chunk keeps as they are, a list per field."""

VERDICT = ("outcome", "answer", "message", "score")

TOP_SCALE = 100
"""Log-probabilities of alternatives have two decimals."""

TOP_LEAST = -7.0
"""Alternatives that are less likely than exp(-7), one in a thousand, are left out: most are, and they say nothing."""

SCALES = {"logprobs": 1000, "logprobs_before": 1000, "logprobs_after": 1000, "entropies_after": 100, "credits": 10000}
"""Channel -> what its numbers are multiplied by before they are rounded."""


class ChunkBuilder:
    """Takes the records of one update, one after the other, and gives them as columns.

    Args:
        update: The update.
    """

    def __init__(self, update: int) -> None:
        self.update = update
        self.tokens = 0
        self.weight_sum = 0.0
        self._words: dict[tuple[int, str], int] = {}
        self._columns: dict[str, list[Any]] = {name: [] for name in (*PLAIN, *VERDICT, "length", "part", "top")}
        self._columns |= {name: [] for name in ("token", "role", "weight", *SCALES)}

    def __len__(self) -> int:
        return len(self._columns["length"])

    def _number_of(self, token: int, text: str) -> int:
        return self._words.setdefault((token, text), len(self._words))

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record in the form of :func:`g2rpo_env.report.reader.normalize_record`."""
        columns, words, length = self._columns, self._words, len(record["tokens"])
        for name in PLAIN:
            columns[name].append(record[name])
        for name in VERDICT:
            columns[name].append(record["verdict"][name])
        columns["length"].append(length)
        columns["part"].append(record["parts"])
        columns["token"] += [
            words.setdefault(word, len(words)) for word in zip(record["tokens"], record["texts"], strict=True)
        ]
        columns["role"].append(make_runs(record["roles"]))
        columns["weight"].append(make_runs(record["weights"]))
        for name, scale in SCALES.items():
            columns[name].append(scale_numbers(record[name], scale))
        columns["logprobs_after"][-1] = scale_change(record)
        columns["top"].append(self._pack_top(record["top"]))
        self.tokens += length

    def _pack_top(self, top: list[Any] | None) -> list[Any] | None:
        """Return counts, words and log-probabilities: a column each, because that is smaller than rows."""
        if top is None:
            return None
        top = [keep_likely(entry) for entry in top]
        flat = [one for entry in top for one in entry or ()]
        counts = make_runs(None if entry is None else len(entry) for entry in top)
        words = [self._number_of(token, text) for token, text, _ in flat]
        return [counts, words, [None if value is None else round(value * TOP_SCALE) for _, _, value in flat]]

    def build(self) -> dict[str, Any]:
        """Return the chunk; channels that no record has are left out."""
        may_lack = (*SCALES, "top")
        columns = {
            name: values
            for name, values in self._columns.items()
            if name not in may_lack or any(value is not None for value in values)
        }
        ids, texts = [word[0] for word in self._words], [word[1] for word in self._words]
        return {"update": self.update, "weight_sum": self.weight_sum, "ids": ids, "texts": texts, **columns}


def keep_likely(entry: list[Any] | None) -> list[Any] | None:
    """Return the alternatives of a token that say something, the first one in any case."""
    return entry and [one for place, one in enumerate(entry) if not place or one[2] is None or one[2] >= TOP_LEAST]


def get_before(record: Mapping[str, Any]) -> list[float | None]:
    """Return the log-probability of each token before the update: when it was sampled, or that of a revealed one."""
    nothing = [None] * len(record["tokens"])
    pairs = zip(record["logprobs"] or nothing, record["logprobs_before"] or nothing, strict=True)
    return [one if one is not None else other for one, other in pairs]


def scale_change(record: Mapping[str, Any]) -> list[Any] | None:
    """Return log-probabilities after the update as their distance from those before it, which are smaller numbers."""
    after, scale = record["logprobs_after"], SCALES["logprobs_after"]
    if after is None:
        return None
    pairs = zip(after, get_before(record), strict=True)
    return scale_numbers(
        [None if a is None else (round(a * scale) - round((b or 0) * scale)) / scale for a, b in pairs], scale
    )


def _add(packed: list[float | None] | None, before: list[float | None]) -> list[float | None] | None:
    scale = SCALES["logprobs_after"]
    if packed is None:
        return None
    pairs = zip(packed, before, strict=True)
    return [None if d is None else (round(d * scale) + round((b or 0) * scale)) / scale for d, b in pairs]


def scale_numbers(values: Sequence[float | None] | None, scale: int) -> list[Any] | None:
    """Return numbers as whole multiples of 1/scale, with runs of None as one text ``"n"`` and their length.

    >>> scale_numbers([None, None, -0.5, None], 1000)
    ['n2', -500, 'n1']
    """
    if values is None:
        return None
    packed: list[Any] = []
    for is_none, run in groupby(values, lambda value: value is None):
        if is_none:
            packed.append(f"n{sum(1 for _ in run)}")
        else:
            packed += [round(value * scale) for value in run if value is not None]
    return packed


def unscale_numbers(packed: Sequence[Any] | None, scale: int) -> list[float | None] | None:
    """Return the numbers of :func:`scale_numbers`, rounded as they were stored.

    >>> unscale_numbers(['n2', -500, 'n1'], 1000)
    [None, None, -0.5, None]
    """
    if packed is None:
        return None
    values: list[float | None] = []
    for entry in packed:
        values += [None] * int(entry[1:]) if isinstance(entry, str) else [entry / scale]
    return values


def make_runs(values: Iterable[Any]) -> list[Any]:
    """Return neighbours that are equal as value and number, flat.

    >>> make_runs([0, 0, 2])
    [0, 2, 2, 1]
    """
    return [x for value, run in groupby(values) for x in (value, sum(1 for _ in run))]


def read_runs(runs: Sequence[Any]) -> list[Any]:
    """Return the values of :func:`make_runs`.

    >>> read_runs([0, 2, 2, 1])
    [0, 0, 2]
    """
    return [value for value, count in zip(runs[::2], runs[1::2], strict=True) for _ in range(count)]


def read_chunk(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a chunk: equal to those that went in, up to the rounding of :data:`SCALES`."""
    ids, texts, start, records = chunk["ids"], chunk["texts"], 0, []
    for place, length in enumerate(chunk["length"]):
        words = chunk["token"][start : start + length]
        start += length
        weights = read_runs(chunk["weight"][place])
        record = {
            "update": chunk["update"],
            **{name: chunk[name][place] for name in PLAIN},
            "verdict": {name: chunk[name][place] for name in VERDICT},
            "tokens": [ids[word] for word in words],
            "texts": [texts[word] for word in words],
            "roles": read_runs(chunk["role"][place]),
            "weights": weights,
            "loss_mask": [int(weight > 0) for weight in weights],
            "parts": chunk["part"][place],
            "top": unpack_top(chunk["top"][place] if "top" in chunk else None, ids, texts),
            **{
                name: unscale_numbers(chunk[name][place], scale) if name in chunk else None
                for name, scale in SCALES.items()
            },
        }
        record["logprobs_after"] = _add(record["logprobs_after"], get_before(record))
        records.append(record)
    return records


def unpack_top(packed: list[Any] | None, ids: list[int], texts: list[str]) -> list[Any] | None:
    """Return the alternatives of each token as in a record."""
    if packed is None:
        return None
    counts, words, values = packed
    rows = iter(zip(words, values, strict=True))
    entries: list[Any] = []
    for count in read_runs(counts):
        some = [] if count is None else [next(rows) for _ in range(count)]
        entry = [[ids[word], texts[word], None if value is None else value / TOP_SCALE] for word, value in some]
        entries.append(None if count is None else entry)
    return entries


# -- text inside a page -----------------------------------------------------------------------------------------------


def encode(value: Any) -> str:
    """Return plain data as text without ``<``: JSON, gzip, base64. Equal data gives equal text."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("ascii"), mtime=0)).decode("ascii")


def decode(text: str) -> Any:
    """Return the data of :func:`encode`."""
    return json.loads(gzip.decompress(base64.b64decode(text)))
