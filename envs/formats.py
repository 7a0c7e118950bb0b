"""One data file as rows: JSON Lines, JSON, CSV, TSV, Parquet or Arrow, packed or not.

What a file is decides its name, how it is packed its first bytes: a download may have been unpacked on the way.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g2rpo_env.envs.dataset import PlacedRow, Row
from g2rpo_env.envs.splits import SPLIT_WORDS
from g2rpo_env.errors import DataError

if TYPE_CHECKING:
    import pyarrow

PACKINGS = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0", ".zst": b"\x28\xb5\x2f\xfd"}
"""Endings of packed files and how such files begin."""

_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel sheet",
    b"version https://git-lfs": "a pointer of Git LFS, and not the data: git lfs pull gets them",
    b"\x89HDF": "HDF5",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"\x93NUMPY": "a numpy array",
    b"SQLite format 3": "an SQLite database",
}
_MOST = 2**31 - 1
"""Characters of a field of CSV; the reader's own bound is 131,072, and a test case or a trace is longer."""
_DELIMITERS = ",;\t|"
_BLANK = re.compile(r"[ \t\r\n]*")


def split_name(path: Path) -> tuple[str, str, str]:
    """Return the name of a file without its endings, the ending of its format and that of its packing, or ``""``.

    >>> split_name(Path("data/train-00000-of-00001.JSONL.gz")), split_name(Path("a.txt"))
    (('train-00000-of-00001', '.jsonl', '.gz'), ('a.txt', '', ''))
    """
    name, packing, kind = path.name, "", ""
    for ending in PACKINGS:
        if name.lower().endswith(ending):
            name, packing = name[: -len(ending)], ending
    for ending in SUFFIXES:
        if name.lower().endswith(ending):
            name, kind = name[: -len(ending)], ending
    return (name, kind, packing) if kind else (path.name, "", "")


def read_file(path: Path, limit: int | None = None) -> list[PlacedRow]:
    """Return the rows of one file with their places, such as ``"train.csv, line 3"``.

    A number that is not one (NaN) is how tables write that there is nothing: such a field is None.

    Args:
        path: The file; its name ends in one of :data:`SUFFIXES`, perhaps followed by one of :data:`PACKINGS`.
        limit: Take so many rows from the start, None for all.

    Raises:
        DataError: the file is missing, empty, malformed or of another format; the message names file and line.
    """
    kind = split_name(path)[1]
    if not path.is_file():
        raise DataError(f"data={str(path)!r} is not a file")
    if not kind:
        ending = "".join(path.suffixes[-2:] if path.suffix in PACKINGS else path.suffixes[-1:])
        raise DataError(f"data={str(path)!r} ends in {ending!r}, a format that is not read; it must end in {ENDINGS}")
    rows = []
    for where, row in islice(_READERS[kind](unpack(path), path), limit):
        if not isinstance(row, dict):
            raise DataError(f"{where}: a row must be a JSON object, got {type(row).__name__}")
        rows.append((where, {name: None if value != value else value for name, value in row.items()}))
    if not rows:
        raise DataError(f"{path} holds no rows; a data file must hold at least one")
    return rows


def unpack(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is packed.

    Raises:
        DataError: it cannot be read, it is damaged, or of a format that is none of rows.
    """
    try:
        raw = path.read_bytes()
        packing = next((ending for ending, magic in PACKINGS.items() if raw.startswith(magic)), "")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        raw = _UNPACK[packing](raw) if packing else raw
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked as {packing}: it is damaged or not complete ({error})") from None
    for magic, what in _FOREIGN.items():
        if raw.startswith(magic):
            raise DataError(f"{path}: holds {what}; a data file must be what ends in {ENDINGS}")
    return raw


def _unpack_zst(raw: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read())


_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, ".zst": _unpack_zst,
}  # fmt: skip


def _text(raw: bytes, path: Path) -> str:
    """Return a text in UTF-8, UTF-16 or UTF-32, told apart by a byte order mark or by where zeros are."""
    for magic, what in ((b"PAR1", "Parquet"), (b"ARROW1", "Arrow")):
        if raw.startswith(magic):
            raise DataError(f"{path}: holds {what}, not text; its name must end so")
    encoding = json.detect_encoding(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        name = encoding.upper().removesuffix("-SIG")
        raise DataError(f"{path}, line {line}: not {name} text (byte {error.start} of the file)") from None


# -- JSON -----------------------------------------------------------------------------------------------------------


def _json(raw: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of JSON Lines, of one array, of one object, or of objects one behind the other."""
    text = _text(raw, path)
    start = _BLANK.match(text).end()  # type: ignore[union-attr]
    line = text[start : end if (end := text.find("\n", start)) >= 0 else len(text)]
    first: Any = None
    fault = None
    try:
        first = _loads(line, f"{path}, line {text.count(chr(10), 0, start) + 1}")
    except DataError as error:
        fault = error
    if isinstance(first, dict):
        only = split_name(path)[1] == ".json" and not text[start + len(line) :].strip()
        yield from _json_object(first, path) if only else _json_lines(text, path)
        return
    try:
        values = list(_json_values(text, path))
    except DataError as error:
        raise fault if fault and split_name(path)[1] != ".json" else error from None
    if len(values) == 1 and isinstance(values[0][1], list):
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(values[0][1], 1))
    elif len(values) == 1 and isinstance(values[0][1], dict):
        yield from _json_object(values[0][1], path)
    else:
        yield from values


def _json_lines(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", _loads(line, f"{path}, line {number}")


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
    except (RecursionError, ValueError) as error:  # brackets nested too deeply, an integer of too many digits
        raise DataError(f"{where}: not valid JSON ({error})") from None


def _json_values(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the values of a text that holds one behind the other, whatever lines they are on."""
    decode = json.JSONDecoder().raw_decode
    position, number = 0, 1
    while (start := _BLANK.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        number += text.count("\n", position, start)
        try:
            value, position = decode(text, start)
        except json.JSONDecodeError as error:
            where = f"{path}, line {error.lineno}"
            raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
        except (RecursionError, ValueError) as error:
            raise DataError(f"{path}, line {number}: not valid JSON ({error})") from None
        yield f"{path}, line {number}", value
        number += text.count("\n", start, position)


def _json_object(whole: dict[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of one object: one row, a list of rows under one name, columns, or what pandas writes."""
    parts = list(whole.values())
    rows: Iterable[Any]
    if set(whole) in ({"columns", "data"}, {"columns", "index", "data"}) and isinstance(whole["data"], list):
        rows = [dict(zip(whole["columns"], values, strict=True)) for values in whole["data"]]
    elif set(whole) == {"schema", "data"} and isinstance(whole["data"], list):
        rows = whole["data"]
    elif parts and all(isinstance(part, list) for part in parts):
        if all(name.lower() in SPLIT_WORDS for name in whole):
            raise DataError(f"{path}: holds several splits: write a file for each, such as train.jsonl and test.jsonl")
        if len(parts) == 1 and all(isinstance(row, dict) for row in parts[0]):
            rows = parts[0]
        else:
            rows = _columns(whole, path)
    elif parts and all(isinstance(part, dict) for part in parts):
        if all(key.isdigit() for key in whole):
            rows = parts
        elif all(key.isdigit() for part in parts for key in part) and len({tuple(part) for part in parts}) == 1:
            rows = _columns({name: list(part.values()) for name, part in whole.items()}, path)
        else:
            raise DataError(f"{path}: an object of objects is no list of rows; write a list, or one object a line")
    else:
        yield str(path), whole
        return
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))


def _columns(columns: dict[str, list[Any]], path: Path) -> Iterator[Row]:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise DataError(f"{path}: an object of columns must have as many values in each, got {shown}")
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


# -- CSV ------------------------------------------------------------------------------------------------------------


def _csv(raw: bytes, path: Path) -> Iterator[PlacedRow]:
    """Yield the rows of CSV with a header; the delimiter is the comma, or else what the header is cut by."""
    return _separated(raw, path, _DELIMITERS)


def _tsv(raw: bytes, path: Path) -> Iterator[PlacedRow]:
    return _separated(raw, path, "\t")


def _separated(raw: bytes, path: Path, delimiters: str) -> Iterator[PlacedRow]:
    text = _text(raw, path)
    if found := re.match(r"sep=(.)\r?\n", text):  # how spreadsheets write their delimiter
        delimiters, text = found[1], text[found.end() :]
    skipped = 1 if found else 0
    most = csv.field_size_limit(_MOST)
    try:
        delimiter = _delimiter(text, delimiters)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = next(reader, None)
        if header is None:
            return
        if twice := {name for name in header if header.count(name) > 1}:
            raise DataError(f"{path}, line 1: the header must name each field once, got {sorted(twice)} twice")
        for values in reader:
            # A quoted field may hold line breaks: the row is where its last line is.
            where = f"{path}, line {reader.line_num + skipped}"
            if values and len(values) != len(header):
                raise DataError(f"{where}: a row must have {len(header)} fields like the header, got {len(values)}")
            if values:
                yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + skipped}: not valid CSV ({error})") from None
    finally:
        csv.field_size_limit(most)


def _delimiter(text: str, delimiters: str) -> str:
    """Return the first delimiter that cuts the header into several fields, or the first one."""
    for delimiter in delimiters:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        if len(header) > 1:
            return delimiter
    return delimiters[0]


# -- Parquet and Arrow ----------------------------------------------------------------------------------------------


def _parquet(raw: bytes, path: Path) -> Iterator[PlacedRow]:
    import pyarrow as pa
    import pyarrow.parquet

    return _batches(path, "Parquet", lambda: pyarrow.parquet.ParquetFile(pa.BufferReader(raw)).iter_batches(1000))


def _arrow(raw: bytes, path: Path) -> Iterator[PlacedRow]:
    """Yield the rows of an Arrow file or stream; the datasets library saves streams, Feather is a file."""
    import pyarrow as pa
    import pyarrow.ipc

    def batches() -> Iterable[pyarrow.RecordBatch]:
        buffer = pa.BufferReader(raw)
        if not raw.startswith(b"ARROW1"):
            return pyarrow.ipc.open_stream(buffer)
        file = pyarrow.ipc.open_file(buffer)
        return (file.get_batch(number) for number in range(file.num_record_batches))

    return _batches(path, "Arrow", batches)


def _batches(path: Path, what: str, read: Callable[[], Iterable[pyarrow.RecordBatch]]) -> Iterator[PlacedRow]:
    import pyarrow as pa

    number = 0
    try:
        for batch in read():
            names = batch.schema.names
            if len(set(names)) < len(names):
                raise DataError(f"{path}: columns must have different names, got {names}")
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not {what} that can be read ({error})") from None


_READERS: dict[str, Callable[[bytes, Path], Iterator[tuple[str, Any]]]] = {
    ".jsonl": _json, ".ndjson": _json, ".json": _json, ".csv": _csv, ".tsv": _tsv, ".parquet": _parquet,
    ".arrow": _arrow, ".feather": _arrow,
}  # fmt: skip
SUFFIXES = tuple(_READERS)
"""Endings of the formats that are read."""
ENDINGS = f"{', '.join(SUFFIXES)}, alone or packed as {', '.join(PACKINGS)}"
"""The same for messages."""
