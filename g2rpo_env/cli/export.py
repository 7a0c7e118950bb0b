"""``g2rpo-env export``: recorded episodes as a table for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from g2rpo_env.cli.options import ReadingOptions, parse
from g2rpo_env.report.export import export
from g2rpo_env.report.reader import read_runs


@dataclass(kw_only=True)
class ExportOptions(ReadingOptions):
    """Write one row per recorded episode, for the Hub's data viewer, Datasette, Polars or DuckDB."""

    run: tyro.conf.Positional[Path]
    """Run folder, folder of runs, or rollouts file."""
    format: Literal["parquet", "jsonl"] = "parquet"
    """Format of the table."""
    out: Path = Path("export")
    """Folder that gets episodes.parquet or episodes.jsonl."""


def main(argv: Sequence[str]) -> None:
    """Write the table."""
    options = parse(ExportOptions, argv, "export")
    path, rows = export(read_runs(options.run, tokenizer=options.tokenizer), options.format, options.out)
    print(f"{path}: {rows:,} episodes")
