import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.report.chunks import (
    SCALES,
    TOP_SCALE,
    ChunkBuilder,
    decode,
    encode,
    keep_likely,
    make_runs,
    read_chunk,
    read_runs,
    scale_numbers,
    unscale_numbers,
)
from g2rpo_env.report.reader import normalize_record

# Every code point, lone halves of surrogate pairs included.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
NUMBERS = st.none() | st.floats(-1e6, 1e6)
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, lambda inner: st.lists(inner, max_size=2))


@st.composite
def make_records(draw: Any) -> dict[str, Any]:
    """Draw a record of version 1 or 2 with any texts."""
    size = draw(st.integers(0, 12))
    per_token = lambda values: st.lists(values, min_size=size, max_size=size)  # noqa: E731
    verdict = {
        "outcome": draw(st.sampled_from(["correct", "wrong", "no_answer", "error"])),
        "answer": draw(st.none() | TEXTS),
        "message": draw(TEXTS),
        "score": draw(NUMBERS),
    }
    record = {
        "version": draw(st.sampled_from([1, 2])),
        "tokens": draw(per_token(st.integers(0, 2**31 - 1))),
        "roles": draw(per_token(st.integers(0, 3))),
        "texts": draw(per_token(TEXTS)),
        "weights": draw(per_token(st.floats(0, 1))),
        "logprobs": draw(per_token(NUMBERS)),
        "problem_id": draw(TEXTS),
        "group": draw(st.integers(0, 3)),
        "member": draw(st.integers(0, 3)),
        "seed": draw(VALUES),
        "reveal": draw(st.integers(0, 9)),
        "reward": draw(st.floats(-9, 9)),
        "verdict": verdict,
        "advantage": draw(NUMBERS),
        "truncated": draw(st.booleans()),
        "parent": draw(st.none() | st.lists(st.integers(0, 9), min_size=3, max_size=3)),
    }
    if record["version"] == 2:
        for name in ("logprobs_before", "logprobs_after", "entropies_after", "credits"):
            record[name] = draw(st.none() | per_token(NUMBERS))
        entries = st.none() | st.lists(st.tuples(st.integers(0, 9), TEXTS, NUMBERS).map(list), max_size=3)
        record["top"] = draw(st.none() | per_token(entries))
        record["parts"] = draw(per_token(st.booleans()))
    return record


def round_channels(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its numbers as coarse as a chunk stores them."""

    def rounded(values: list[Any] | None, scale: int) -> list[Any] | None:
        return values and [None if v is None else round(v * scale) / scale for v in values]

    changed = {name: rounded(record[name], scale) for name, scale in SCALES.items()}
    if record["top"] is not None:
        changed["top"] = [
            e and [[i, t, rounded([x], TOP_SCALE)[0]] for i, t, x in keep_likely(e)] for e in record["top"]
        ]
    return {**record, **changed}


@given(st.lists(make_records(), max_size=5))
@settings(deadline=None, max_examples=60)
def test_records_come_out_of_a_page_as_they_went_in(rows: list[dict[str, Any]]) -> None:
    records = [normalize_record("here", json.loads(json.dumps(row)), 7) for row in rows]
    builder = ChunkBuilder(7)
    for record in records:
        builder.add(record)
    text = encode(builder.build())
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    found = read_chunk(decode(text))
    assert found == [round_channels(record) for record in records]
    assert len(builder) == len(records) and builder.tokens == sum(len(record["tokens"]) for record in records)


@given(st.lists(NUMBERS, max_size=30))
def test_scaled_numbers_come_back_rounded(values: list[float | None]) -> None:
    expected = [None if v is None else round(v * 100) / 100 for v in values]
    assert unscale_numbers(scale_numbers(values, 100), 100) == expected
    assert scale_numbers(None, 100) is None and unscale_numbers(None, 100) is None


@given(st.lists(st.integers(0, 2), max_size=30))
def test_runs_come_back(values: list[int]) -> None:
    assert read_runs(make_runs(values)) == values


def test_equal_data_gives_equal_text_and_none_that_json_lacks() -> None:
    assert encode({"a": "<\ud800"}) == encode({"a": "<\ud800"}) and decode(encode({"a": "<\ud800"})) == {"a": "<\ud800"}
    with pytest.raises(ValueError, match="JSON compliant"):
        encode({"a": float("nan")})
