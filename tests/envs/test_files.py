"""Local files in four formats, folders by split, the Hub stood in for, checksums."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from g2rpo_env.envs.files import SUFFIXES, check_sums, find_files, load_tables, read_file, rows_sha256
from g2rpo_env.errors import ConfigurationError, DataError

ROWS = [{"question": f"Q{n}?", "answer": str(n)} for n in range(3)]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Write rows in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
        path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        import datasets

        datasets.Dataset.from_list(rows).to_parquet(str(path))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def plain(rows: list[Any]) -> list[Any]:
    return [row for _, row in rows]


# -- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"rows{suffix}")
    assert plain(read_file(path)) == ROWS and plain(read_file(path, 2)) == ROWS[:2]
    assert all(where.startswith(f"{path}, ") for where, _ in read_file(path))
    assert plain(load_tables(path).rows["train"]) == ROWS


def test_json_may_be_lines_or_one_object(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl").rename(tmp_path / "rows.json")
    assert plain(read_file(path)) == ROWS and read_file(path)[1][0] == f"{path}, line 2"
    path.write_text(json.dumps(ROWS[0], indent=2))
    assert read_file(path) == [(str(path), ROWS[0])]


def test_a_quoted_field_of_csv_keeps_its_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes('\ufeffquestion,answer\n"a,\n""b""",1\n\nc,2\n'.encode())
    assert read_file(path) == [
        (f"{path}, line 3", {"question": 'a,\n"b"', "answer": "1"}),
        (f"{path}, line 5", {"question": "c", "answer": "2"}),
    ]


@pytest.mark.parametrize(
    "name,content,words",
    [
        ("a.jsonl", b"", "a.jsonl holds no rows; a data file must hold at least one"),
        ("a.json", b"[]", "a.json holds no rows"),
        ("a.csv", b"", "a.csv holds no rows"),
        ("a.csv", b"question,answer\n", "a.csv holds no rows"),
        ("a.jsonl", b'{"a": 1}\n{"a"', r"a.jsonl, line 2: not valid JSON \(.*column 5\)"),
        ("a.json", b'[{"a": 1},\n{"a"', r"a.json, line 2: not valid JSON"),
        ("a.json", b"3", "a.json: a row must be a JSON object, got int"),
        ("a.json", b'[{"a": 1}, "b"]', "a.json, row 2: a row must be a JSON object, got str"),
        ("a.csv", b"a,b\n1,2\n1\n", "a.csv, line 3: a row must have 2 fields like the header, got 1"),
        ("a.csv", b'a,b\n"1,2\n', "a.csv, line 2: not valid CSV"),
        ("a.csv", b"a,b\n1,caf\xe9\n", r"a.csv, line 2: not UTF-8 text \(byte 9 of the file\)"),
        ("a.parquet", b"PAR1 no", "a.parquet: not a Parquet file that can be read"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: not valid JSON"),
        ("a.json", b'{"a": ' + b"9" * 5000 + b"}", "a.json: not valid JSON"),
    ],
)
def test_bad_files_are_named_with_their_place(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_tables(path)


# -- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names,expected",
    [
        (["train.jsonl", "test.jsonl"], {"train": 1, "test": 1}),
        (["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"], {"train": 2}),
        (["dev.json", "test.json"], {"validation": 1, "test": 1}),
        (["train/algebra/1.json", "train/algebra/2.json", "test/algebra/1.json"], {"train": 2, "test": 1}),
        (["algebra/train-00000-of-00001.csv", "geometry/train-00000-of-00001.csv"], {"train": 2}),
        (["a.jsonl", "b.jsonl"], {"train": 2}),
        (["test.jsonl", "test_socratic.jsonl", "sources.jsonl"], {"test": 1}),  # the exact name goes first
        (["train_a.jsonl", "train_b.jsonl"], {"train": 2}),
        (["train.jsonl", "dataset_info.json", ".cache/train.csv"], {"train": 1}),
    ],
)
def test_a_folder_has_its_files_by_split(tmp_path: Path, names: list[str], expected: dict[str, int]) -> None:
    for name in names:
        write(tmp_path / name)
    assert {split: len(files) for split, files in find_files(tmp_path).items()} == expected
    tables = load_tables(tmp_path)
    assert {split: len(rows) for split, rows in tables.rows.items()} == {s: 3 * n for s, n in expected.items()}
    assert len(load_tables(tmp_path, limit=2).rows[min(expected)]) == 2


def test_a_folder_in_the_layout_of_the_hub_with_parquet(tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / "main" / f"train-0000{part}-of-00002.parquet", ROWS[part : part + 1])
    write(tmp_path / "main/test-00000-of-00001.parquet", ROWS[2:])
    write(tmp_path / "other/train-00000-of-00001.parquet")
    rows = load_tables(tmp_path, config="main").rows
    assert plain(rows["train"]) == ROWS[:2] and plain(rows["test"]) == ROWS[2:]


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold files that end in \.jsonl, .*; there are none"):
        load_tables(tmp_path)
    write(tmp_path / "main/train.jsonl")
    with pytest.raises(DataError, match="config='socratic' must be a sub-folder of .*; there are main"):
        load_tables(tmp_path, config="socratic")
    write(tmp_path / "main/train.csv")
    with pytest.raises(DataError, match=r"holds train as \.csv and \.jsonl: give the file itself"):
        load_tables(tmp_path)
    with pytest.raises(DataError, match="none.csv' is no file and no folder"):
        load_tables(tmp_path / "none.csv")
    with pytest.raises(ConfigurationError, match="limit=0 must be at least 1"):
        load_tables(tmp_path, limit=0)


# -- the Hub --------------------------------------------------------------------------------------------------------


def test_the_splits_of_the_hub_come_with_revision_and_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answers(make: Any) -> Any:
        return lambda *names, **options: asked.append((*names, options)) or make()

    monkeypatch.setattr("datasets.get_dataset_split_names", answers(lambda: ["train", "val"]))
    monkeypatch.setattr("datasets.load_dataset", answers(lambda: iter(ROWS)))
    tables = load_tables("some/data", config="main", revision="v2", streaming=True, limit=2)
    assert {split: plain(rows) for split, rows in tables.rows.items()} == {"train": ROWS[:2], "validation": ROWS[:2]}
    assert tables.rows["train"][1][0] == "some/data (main, train), row 2"
    assert tables.sha256 == dict.fromkeys(("train", "val"), rows_sha256(ROWS[:2]))
    assert asked == [
        ("some/data", "main", {"revision": "v2"}),
        ("some/data", "main", {"split": "train", "revision": "v2", "streaming": True}),
        ("some/data", "main", {"split": "val", "revision": "v2", "streaming": True}),
    ]


def test_a_hub_that_cannot_be_reached_says_how_to_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*names: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr("datasets.get_dataset_split_names", unreachable)
    with pytest.raises(DataError, match=r"'some/data' .*reach the Hub.*give data the path of the folder or of a file"):
        load_tables("some/data")


# -- checksums ------------------------------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_tables(path, checksum=digest[:16].upper()).sha256 == {"rows.jsonl": digest}
    with pytest.raises(DataError, match=f"rows.jsonl of .* has the wrong checksum: expected 00000000, got {digest}"):
        load_tables(path, checksum="00000000")


def test_several_files_have_a_checksum_each(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl")
    write(tmp_path / "data/test.jsonl")
    tables = load_tables(tmp_path)
    assert set(tables.sha256) == {"train.jsonl", "data/test.jsonl"}
    check_sums(tables, {"data/test.jsonl": tables.sha256["data/test.jsonl"]})
    for expected, words in [
        ("0" * 64, "must name its file, .* has several: "),
        ({"none.jsonl": "0" * 64}, "checksum names 'none.jsonl'"),
        ({"train.jsonl": "12"}, "checksum='12' must be the first 8 to 64 digits"),
        ({"train.jsonl": "x" * 64}, "must be the first 8 to 64 digits"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            check_sums(tables, expected)


def test_the_checksum_of_rows_does_not_depend_on_the_order_of_fields() -> None:
    assert rows_sha256([{"a": 1, "b": "é"}]) == rows_sha256([{"b": "é", "a": 1}])
    assert rows_sha256(ROWS) != rows_sha256(ROWS[::-1])
