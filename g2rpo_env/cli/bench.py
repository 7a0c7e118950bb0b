"""``g2rpo-env bench``: the measurements, their table and their file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from g2rpo_env.bench.benchmarks import BENCHMARKS, TABLES, TITLES, WITH_TORCH
from g2rpo_env.bench.sandbox import soak
from g2rpo_env.cli.options import ConfigOptions, parse
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.report.run_folder import check_file


@dataclass(kw_only=True)
class BenchOptions(ConfigOptions):
    """Measure one process. Close other programs first, and compare ratios rather than figures."""

    what: Positional[str] = "env"
    """Benchmark: env, sandbox, verify (pairs in the folder that G2RPO_DATA names), rollout, recipes, record, and step,
    update and memory (these three with the extra ``benchmark``); or families, a table of models."""
    json: Path | None = None
    """File for the measurements."""
    repeats: int = 5
    """Repeats of each measurement, of which the best counts."""
    soak: int | None = None
    """With sandbox: make so many mixed honest and hostile checks, and show what they leave behind, instead."""
    device: str = "cpu"
    """With rollout, step, update and memory: torch device."""
    dtype: str = "float32"
    """With those: torch dtype of the weights."""
    model: str | None = None
    """With those: 0.6b, the configuration of Qwen3-0.6B with random weights, and sizes for a GPU; without it a small
    model."""
    compiled: bool = True
    """With rollout and step: measure the compiled decode path, too."""


def main(argv: Sequence[str]) -> None:
    """Measure, print the table and write the file."""
    options = parse(BenchOptions, argv, "bench")
    if options.what in TABLES:
        if options.json is not None:
            raise ConfigurationError(f"json={str(options.json)!r} must be left out with {options.what}")
        print(TABLES[options.what]())
        return
    if options.what not in BENCHMARKS:
        raise ConfigurationError(f"what={options.what!r} must be one of {', '.join([*BENCHMARKS, *TABLES])}")
    if options.repeats < 1:
        raise ConfigurationError(f"repeats={options.repeats} must be at least 1")
    if options.soak is not None and (options.what != "sandbox" or options.soak < 1):
        raise ConfigurationError(f"soak={options.soak} must be at least 1, and belongs to sandbox, not {options.what}")
    check_file(options.json, "json")
    place = {name: getattr(options, name) for name in ("device", "dtype", "model", "compiled")}
    if options.what not in WITH_TORCH and place != {name: getattr(BenchOptions, name) for name in place}:
        raise ConfigurationError(f"device, dtype, model and compiled belong to {', '.join(WITH_TORCH)}")
    if options.soak is not None:
        rows = soak(options.soak)
    else:
        rows = BENCHMARKS[options.what](options.repeats, **(place if options.what in WITH_TORCH else {}))
    table = Table(title=TITLES[options.what])
    table.add_column("what", overflow="fold")
    table.add_column("figure", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for row in rows:
        table.add_row(row.name, f"{row.value:,.{2 if row.unit in ('ratio', 's', '%') else 0}f}", row.unit)
    Console().print(table)
    if options.json is not None:
        values = [{"name": row.name, "value": row.value, "unit": row.unit} for row in rows]
        options.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
