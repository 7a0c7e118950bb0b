"""``g2rpo-env demo-seeds``: the demo on several seeds, and the learning-rate grid behind GRPO's rate in the demo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from g2rpo_env.cli.demo import set_aside, show, write
from g2rpo_env.cli.options import ConfigOptions, RecordingOptions, get_recording, parse
from g2rpo_env.experiments.arms import Result
from g2rpo_env.experiments.bases import make_base, make_folder
from g2rpo_env.experiments.comparison import compare
from g2rpo_env.experiments.demo import DEMO_ARMS, ENV, FAMILY, GRPO, make_outcome
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.families import make_setting


@dataclass(kw_only=True)
class DemoSeedsOptions(ConfigOptions, RecordingOptions):
    """Repeat the demo on several seeds and show the grid of plain GRPO's learning rates."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Root seeds; each has a base of its own."""
    updates: int = FAMILY.updates
    """Updates of each run."""
    grid: tuple[float, ...] = (1e-5, 2e-5, 5e-5, 1e-4)
    """Learning rates for plain GRPO; that of the demo is always among them."""
    out: Path = Path("runs/demo-seeds")
    """Folder of the runs; that of an earlier call is moved aside."""


def main(argv: Sequence[str]) -> None:
    """Run everything and print one table per seed, then the grid and the summary."""
    options = parse(DemoSeedsOptions, argv, "demo-seeds")
    recording = get_recording(options, "demo", argv)
    set_aside(options.out)
    make_folder(options.out)
    (options.out / "base").mkdir()
    prepare_torch(1)  # as the workers: more threads of a tiny model would wait for each other
    rates = sorted({*options.grid, GRPO.learning_rate})
    others = [replace(GRPO, label=f"grpo-{rate:g}", learning_rate=rate) for rate in rates if rate != GRPO.learning_rate]
    settings = [make_setting(ENV, seed=seed, updates=options.updates) for seed in options.seeds]
    bases = {s.seed: make_base(s, None, FAMILY.warm, options.out / "base" / f"seed-{s.seed}") for s in settings}
    folders = {seed: options.out / f"seed-{seed}" for seed in options.seeds}
    setting = make_setting(ENV, updates=options.updates)
    results = compare([*DEMO_ARMS, *others], setting, folders, seeds=options.seeds, base=bases, recording=recording)
    found = [make_outcome(seed, bases[seed], results) for seed in options.seeds]
    for one in found:
        write(one, folders[one.seed])
        show(one)
    grid = {rate: [get_grpo_accuracy(results.results, rate, seed) for seed in options.seeds] for rate in rates}
    show_grid(grid, options.seeds)
    summary = {
        "seeds": {str(outcome.seed): outcome.summarise() for outcome in found},
        "grpo_grid": {f"{rate:g}": accuracies for rate, accuracies in grid.items()},
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(f"Everything is in {options.out}.")


def get_grpo_accuracy(results: Sequence[Result], rate: float, seed: int) -> float:
    """Return the accuracy of plain GRPO at one rate and seed."""
    return next(
        r.evaluation.accuracy
        for r in results
        if r.arm.algorithm == "grpo" and r.arm.learning_rate == rate and r.seed == seed
    )


def show_grid(grid: dict[float, list[float]], seeds: Sequence[int]) -> None:
    """Print the accuracy of plain GRPO by learning rate and seed, and the best rate of each."""
    table = Table(title="Plain GRPO by learning rate")
    for column in ("lr", *(f"seed {seed}" for seed in seeds), "mean"):
        table.add_column(column, justify="right", no_wrap=True)
    for rate, accuracies in grid.items():
        table.add_row(f"{rate:g}", *(f"{a:.3f}" for a in accuracies), f"{np.mean(accuracies):.3f}")
    Console(width=100).print(table)
    best = max(grid, key=lambda rate: np.mean(grid[rate]))
    print(f"Best on average: {best:g}; the demo uses {GRPO.learning_rate:g}.")
