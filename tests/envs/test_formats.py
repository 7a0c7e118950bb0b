"""Files in every format, packed in every way, and files that are no rows or not what their name says."""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from g2rpo_env.envs.formats import PACKINGS, SUFFIXES, read_file, split_name
from g2rpo_env.errors import DataError

ROWS = [{"question": f'Q{n}?\nIs it é, \u2028 or "x"?', "answer": str(n)} for n in range(3)]


def zst(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zst,
}  # fmt: skip


def arrow(rows: list[Any], stream: bool = False) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


def parquet(rows: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def separated(rows: list[Any], delimiter: str = ",") -> bytes:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(
        delimiter.join('"' + value.replace('"', '""') + '"' for value in line) + "\r\n" for line in lines
    ).encode()


def lines_of(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


WRITE: dict[str, Callable[[list[Any]], bytes]] = {
    ".jsonl": lines_of, ".ndjson": lines_of, ".json": lambda rows: json.dumps(rows, indent=1).encode(),
    ".csv": separated, ".tsv": lambda rows: separated(rows, "\t"), ".parquet": parquet,
    ".arrow": lambda rows: arrow(rows, stream=True), ".feather": arrow,
}  # fmt: skip


def rows_of(path: Path, limit: int | None = None) -> list[Any]:
    return [row for _, row in read_file(path, limit)]


def written(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("packing", ["", *PACKINGS])
def test_every_format_packed_or_not_gives_the_same_rows(tmp_path: Path, kind: str, packing: str) -> None:
    raw = WRITE[kind](ROWS)
    path = written(tmp_path, f"rows{kind}{packing}", PACK[packing](raw) if packing else raw)
    assert rows_of(path) == ROWS and rows_of(path, 2) == ROWS[:2]
    assert all(where.startswith(f"{path}, ") for where, _ in read_file(path))


def test_how_a_file_is_packed_says_its_content(tmp_path: Path) -> None:
    raw = lines_of(ROWS)
    assert rows_of(written(tmp_path, "a.jsonl", gzip.compress(raw[:60]) + gzip.compress(raw[60:]))) == ROWS
    assert rows_of(written(tmp_path, "a.jsonl.gz", raw)) == ROWS
    assert rows_of(written(tmp_path, "A.JSONL.XZ", lzma.compress(raw))) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv", ".tsv"])
def test_texts_of_every_unicode_encoding_are_read(tmp_path: Path, kind: str, encoding: str) -> None:
    raw = WRITE[kind](ROWS).decode().encode(encoding)
    assert rows_of(written(tmp_path, f"a{kind}", raw)) == ROWS


def test_json_may_lie_in_lines_in_an_array_in_an_object_or_one_behind_the_other(tmp_path: Path) -> None:
    pretty = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    pandas = {name: {str(n): value for n, value in enumerate(values)} for name, values in columns.items()}
    table = {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}
    for number, text in enumerate((lines_of(ROWS).decode(), json.dumps(ROWS), json.dumps(ROWS, indent=1), pretty)):
        for kind in (".json", ".jsonl", ".ndjson"):
            assert rows_of(written(tmp_path, f"{number}{kind}", text.encode())) == ROWS
    index = {str(n): row for n, row in enumerate(ROWS)}
    schema = {"schema": {"fields": []}, "data": ROWS}
    for number, whole in enumerate((columns, pandas, table, index, schema, {"data": ROWS})):
        for indent in (None, 1):
            path = written(tmp_path, f"object{number}.json", json.dumps(whole, indent=indent).encode())
            assert rows_of(path) == ROWS and read_file(path)[1][0] == f"{path}, row 2"
    assert rows_of(written(tmp_path, "one.json", json.dumps(ROWS[0], indent=1).encode())) == ROWS[:1]
    single = {"prompt": ["a"], "answer": ["b"]}
    assert rows_of(written(tmp_path, "one.jsonl", json.dumps(single).encode())) == [single]  # one row, with lists
    assert read_file(written(tmp_path, "p.jsonl", pretty.encode()))[1][0].endswith("p.jsonl, line 5")


def test_a_number_that_is_none_says_that_there_is_nothing(tmp_path: Path) -> None:
    raw = b'{"question": "Q", "answer": NaN, "inputs": [NaN], "most": Infinity}\n'
    (row,) = rows_of(written(tmp_path, "a.jsonl", raw))
    assert row["answer"] is None and row["inputs"][0] != row["inputs"][0] and row["most"] == float("inf")
    assert rows_of(written(tmp_path, "a.parquet", parquet([{"a": 1.5}, {"a": float("nan")}]))) == [
        {"a": 1.5},
        {"a": None},
    ]


def test_columns_inside_of_columns_come_as_they_are(tmp_path: Path) -> None:
    row = {"tests": {"inputs": ["1", "2"], "outputs": ["3"]}, "messages": [{"role": "user", "content": "Q"}]}
    for kind in (".jsonl", ".json", ".parquet", ".arrow"):
        assert rows_of(written(tmp_path, f"a{kind}", WRITE[kind]([row] * 2))) == [row] * 2


def test_fields_and_lines_may_be_long(tmp_path: Path) -> None:
    rows = [{"question": "x" * 3_000_000, "answer": "é" * 200_000}]
    most = csv.field_size_limit()
    for kind in (".jsonl", ".csv", ".tsv"):
        assert rows_of(written(tmp_path, f"a{kind}", WRITE[kind](rows))) == rows
    assert csv.field_size_limit() == most


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_is_cut_where_its_header_is(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path, "a.csv", separated([{"a": "1,5", "b": "2;3"}], delimiter))
    assert rows_of(path) == [{"a": "1,5", "b": "2;3"}]
    path = written(tmp_path, "b.csv", f"sep={delimiter}\r\na{delimiter}b\r\n1{delimiter}2\r\n".encode())
    assert read_file(path) == [(f"{path}, line 3", {"a": "1", "b": "2"})]


def test_a_quoted_field_of_csv_keeps_its_line_breaks(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.csv", '\ufeffquestion,answer\n"a,\n""b""",1\n\nc,2\n'.encode())
    assert read_file(path) == [
        (f"{path}, line 3", {"question": 'a,\n"b"', "answer": "1"}),
        (f"{path}, line 5", {"question": "c", "answer": "2"}),
    ]
    assert rows_of(written(tmp_path, "old.csv", b"a,b\r1,2\r")) == [{"a": "1", "b": "2"}]
    assert rows_of(written(tmp_path, "one.csv", b"a\n1\n")) == [{"a": "1"}]


@pytest.mark.parametrize(
    "name,content,words",
    [
        ("a.jsonl", b"", "a.jsonl holds no rows; a data file must hold at least one"),
        ("a.jsonl", b"\n  \n", "a.jsonl holds no rows"),
        ("a.json", b"[]", "a.json holds no rows"),
        ("a.csv", b"", "a.csv holds no rows"),
        ("a.csv", b"question,answer\n", "a.csv holds no rows"),
        ("a.jsonl", b'{"a": 1}\n{"a"', r"a.jsonl, line 2: not valid JSON \(.*column 5\)"),
        ("a.jsonl", b'{"a": 1}\n{"b": \n{"a": 2}\n', r"a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"b": \n{"a": 2}\n', r"a.jsonl, line 1: not valid JSON"),
        ("a.jsonl", b"question, answer\n", r"a.jsonl, line 1: not valid JSON \(Expecting value at column 1\)"),
        ("a.jsonl", b'{"a": 1}\n["a"]\n', "a.jsonl, line 2: a row must be a JSON object, got list"),
        ("a.jsonl", b'["a"]\n["b"]\n', "a.jsonl, line 1: a row must be a JSON object, got list"),
        ("a.json", b'[{"a": 1},\n{"a"', r"a.json, line 2: not valid JSON"),
        ("a.json", b'{\n"a": 1,\n}', r"a.json, line 3: not valid JSON"),
        ("a.json", b"3", "a.json, line 1: a row must be a JSON object, got int"),
        ("a.json", b'[{"a": 1}, "b"]', "a.json, row 2: a row must be a JSON object, got str"),
        ("a.json", b'{"a": [1, 2], "b": [1]}', "as many values in each, got 'a' 2, 'b' 1"),
        ("a.json", b'{"x/1": {"a": 1}, "x/2": {"a": 2}}', "an object of objects is no list of rows"),
        ("a.json", b'{"train": [{"a": 1}], "test": [{"a": 1}]}', "holds several splits: write a file for each"),
        ("a.csv", b"a,b\n1,2\n1\n", "a.csv, line 3: a row must have 2 fields like the header, got 1"),
        ("a.csv", b'a,b\n"1,2\n', "a.csv, line 2: not valid CSV"),
        ("a.csv", b"a,b,a\n1,2,3\n", r"a.csv, line 1: the header must name each field once, got \['a'\] twice"),
        ("a.csv", b"a,b\n1,caf\xe9\n", r"a.csv, line 2: not UTF-8 text \(byte 9 of the file\)"),
        ("a.parquet", b"PAR1 no", "a.parquet: not Parquet that can be read"),
        ("a.arrow", b"ARROW1 no", "a.arrow: not Arrow that can be read"),
        ("a.arrow", b"no", "a.arrow: not Arrow that can be read"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: not valid JSON"),
        ("a.json", b'{"a": ' + b"9" * 5000 + b"}", "a.json, line 1: not valid JSON"),
        ("a.jsonl", parquet(ROWS), "a.jsonl: holds Parquet, not text; its name must end so"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99)[:30], "a.jsonl.gz: cannot be unpacked as .gz: it is damaged"),
        ("a.jsonl.bz2", bz2.compress(b'{"a": 1}\n' * 99)[:30], "a.jsonl.bz2: cannot be unpacked as .bz2"),
        ("a.jsonl.xz", lzma.compress(b'{"a": 1}\n' * 99)[:-20], "a.jsonl.xz: cannot be unpacked as .xz"),
        ("a.jsonl.zst", zst(b'{"a": 1}\n' * 99)[:12], "a.jsonl.zst: cannot be unpacked as .zst"),
        ("a.csv", b"PK\x03\x04rest", "a.csv: holds a zip archive or an Excel sheet; a data file must be what ends in"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a.jsonl: holds a pointer of Git LFS"),
        ("a.xlsx", b"PK\x03\x04", "ends in '.xlsx', a format that is not read; it must end in .jsonl, .ndjson, .json"),
        ("a.jsonl.zip", b"PK\x03\x04", "ends in '.zip', .* alone or packed as .gz, .bz2, .xz, .zst"),
        ("a.pkl.gz", b"", "ends in '.pkl.gz', a format that is not read"),
        ("a", b"", "ends in '', a format that is not read"),
    ],
    # By their words: packed contents differ from one second to the next, and all processes must have the same names.
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_bad_files_are_named_with_their_place(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_file(written(tmp_path, name, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data='.*none.jsonl' is not a file"):
        read_file(tmp_path / "none.jsonl")


def test_names_are_cut_into_name_format_and_packing() -> None:
    names = ("train.jsonl", "a.b.CSV.GZ", "data/train-00000-of-00001.parquet", "a.gz", "gz.txt")
    assert [split_name(Path(name)) for name in names] == [
        ("train", ".jsonl", ""), ("a.b", ".csv", ".gz"), ("train-00000-of-00001", ".parquet", ""), ("a.gz", "", ""),
        ("gz.txt", "", ""),
    ]  # fmt: skip
