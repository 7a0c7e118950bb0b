"""Rows of every kind of file, and files that are none."""

import gzip
import json
from pathlib import Path

import pytest

from g2rpo_env.envs.coding.rows import read_dataset, read_file, text_of, texts_of
from g2rpo_env.errors import DataError

ROWS = [{"a": "é", "n": 1}, {"a": "b", "n": 2}]


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    import datasets

    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (tmp_path / "r.jsonl").write_bytes(b"\xef\xbb\xbf" + lines + b"\n")
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "r.json").write_text(json.dumps(ROWS))
    datasets.Dataset.from_list(ROWS).to_parquet(str(tmp_path / "r.parquet"))
    for name in ("r.jsonl", "r.jsonl.gz", "r.json", "r.parquet"):
        assert [row for _, row in read_file(tmp_path / name)] == ROWS, name
    assert read_file(tmp_path / "r.jsonl")[1][0].endswith("r.jsonl, line 2")


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("r.jsonl", b'{"a": 1}\n{"a": \xff}\n', r"r.jsonl, line 2: not UTF-8 text \(byte 15\)"),
        ("r.jsonl", b'{"a": 1}\n{"a"\n', "line 2: not valid JSON"),
        ("r.jsonl", b"[1]\n", "line 1: a row must be a JSON object, got list"),
        ("r.jsonl", b"\n", "holds no rows"),
        ("r.json", b'{"a": 1}', "must hold a JSON array of rows, got dict"),
        ("r.jsonl.gz", b"no gzip", "cannot be read"),
        ("r.parquet", b"no parquet", "cannot be read as Parquet"),
        ("r.csv", b"a,b", "must end in one of .jsonl"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / name)


def test_missing_files_and_hub_sets_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="none.jsonl' is not a file"):
        read_file(tmp_path / "none.jsonl")
    monkeypatch.setattr("datasets.load_dataset", lambda name, config, split: ROWS if config else None.x)
    assert read_dataset("a/b", "c", "test")[1] == ("a/b (c, test), row 2", ROWS[1])

    def fails(*_: object, **__: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr("datasets.load_dataset", fails)
    with pytest.raises(DataError, match="data='a/b' must be a local file or a Hub data set .* offline"):
        read_dataset("a/b", None, "test")


def test_fields_are_checked() -> None:
    assert text_of({}, "a", "here", default="") == ""
    assert texts_of({"a": '["x"]'}, "a", "here") == ("x",)
    for value in (None, 1, " ", "\ud800"):
        with pytest.raises(DataError, match="here: field 'a'"):
            text_of({"a": value}, "a", "here")
    for value in (None, [], [1], "x", "[1"):
        with pytest.raises(DataError, match="here: field 'a'"):
            texts_of({"a": value}, "a", "here")
