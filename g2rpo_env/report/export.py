"""Recorded episodes as one table: a row per episode, for the Hub's data viewer, Datasette, Polars and DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from g2rpo_env.errors import ConfigurationError, DataError, StorageError
from g2rpo_env.report.reader import RunFiles
from g2rpo_env.report.suspicions import BIT, find_suspicions

FORMATS = ("parquet", "jsonl")


def make_rows(run: RunFiles) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a run, those of one update at a time: the columns of a record, flat."""
    prompts = {problem["problem_id"]: problem for problem in run.problems}
    for update, path in run.rollouts:
        records = list(run.read(update, path))
        flags = find_suspicions(records)
        yield [make_row(run.label, record, prompts, bits) for record, bits in zip(records, flags, strict=True)]


def make_row(label: str, record: Mapping[str, Any], problems: Mapping[str, Any], flags: int) -> dict[str, Any]:
    """Return one episode as a row; lone halves of surrogate pairs, which tables cannot hold, become U+FFFD."""
    texts, roles = record["texts"], record["roles"]
    problem = problems.get(record["problem_id"], {})
    parts = {name: "".join(t for t, r in zip(texts, roles, strict=True) if r == role) for role, name in ENDS.items()}
    row = {
        "run": label,
        **{name: record[name] for name in PLAIN},
        "seed": json.dumps(record["seed"]),
        "guided": record["reveal"] > 0,
        "outcome": record["verdict"]["outcome"],
        "answer": record["verdict"]["answer"],
        "message": record["verdict"]["message"],
        "true_answer": problem.get("answer"),
        **parts,
        "suspicions": [name for name, bit in BIT.items() if flags & bit],
        **{name: record[name] for name in LISTS},
    }
    return {name: replace_halves(value) for name, value in row.items()}


ENDS = {0: "prompt", 1: "revealed", 2: "sampled", 3: "environment"}
PLAIN = (
    "update", "problem_id", "group", "member", "stage", "reveal", "reward", "shaped_reward", "advantage", "selected",
    "valid", "terminated", "truncated",
)  # fmt: skip
LISTS = (
    "tokens", "texts", "roles", "logprobs", "logprobs_before", "logprobs_after", "entropies_after", "credits",
    "weights", "loss_mask",
)  # fmt: skip


def replace_halves(value: Any) -> Any:
    """Return a text, or a list of texts, without lone halves of surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not value.isascii() else value
    return [replace_halves(one) for one in value] if isinstance(value, list) and value and value != [None] else value


def export(runs: Sequence[RunFiles], kind: str, out: Path) -> tuple[Path, int]:
    """Write ``episodes.parquet`` or ``episodes.jsonl`` into a folder.

    Args:
        runs: The runs.
        kind: One of :data:`FORMATS`.
        out: The folder.

    Returns:
        The file and its number of rows.

    Raises:
        ConfigurationError: there is no such format, or the file is there already.
        DataError: a record is damaged, or no run has recorded tokens.
        StorageError: the file cannot be written; no half one is left.
    """
    if kind not in FORMATS:
        raise ConfigurationError(f"format={kind!r} must be one of {', '.join(FORMATS)}")
    if not any(run.rollouts for run in runs):
        raise DataError(f"run={runs[0].label!r} must hold recorded tokens: train with --rollouts-every 50")
    path, half = out / f"episodes.{kind}", out / f"episodes.{kind}.part"
    if path.exists():
        raise ConfigurationError(f"out={str(out)!r} must not hold {path.name} yet; nothing is overwritten")
    try:
        out.mkdir(parents=True, exist_ok=True)
        batches = (batch for run in runs for batch in make_rows(run))
        count = _write_parquet(half, batches) if kind == "parquet" else _write_lines(half, batches)
        half.rename(path)
    except OSError as error:
        raise StorageError(f"out={str(out)!r} could not be written: {error.strerror or error}") from None
    finally:
        half.unlink(missing_ok=True)
    return path, count


def _write_lines(path: Path, batches: Iterator[list[dict[str, Any]]]) -> int:
    count = 0
    with path.open("w", encoding="ascii") as file:
        for batch in batches:
            file.writelines(json.dumps(row) + "\n" for row in batch)
            count += len(batch)
    return count


def _write_parquet(path: Path, batches: Iterator[list[dict[str, Any]]]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    numbers, texts = pa.list_(pa.float64()), pa.list_(pa.string())
    kinds = {name: pa.int64() for name in ("update", "group", "member", "stage", "reveal")}
    kinds |= {name: pa.float64() for name in ("reward", "shaped_reward", "advantage")}
    kinds |= {name: pa.bool_() for name in ("selected", "valid", "terminated", "truncated", "guided")}
    kinds |= {"suspicions": texts, "texts": texts, "tokens": pa.list_(pa.int64()), "roles": pa.list_(pa.int8())}
    kinds |= {name: numbers for name in LISTS if name not in kinds}
    writer, count = None, 0
    try:
        for batch in batches:
            if not batch:
                continue
            schema = pa.schema([(name, kinds.get(name, pa.string())) for name in batch[0]])
            writer = writer or parquet.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
        if writer is None:
            raise DataError("the files of rollouts must hold a record, and are empty")
    finally:
        if writer is not None:
            writer.close()
    return count
