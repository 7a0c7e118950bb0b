"""``g2rpo-env demo``: one weak base trained in four ways on column addition, one table of five rows.

base, grpo, sft, g2rpo-a and g2rpo-a-masked. sft is supervised training on exactly the tokens that
the g2rpo-a run revealed: it says how much of a gain is imitation.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from g2rpo_env.cli.options import ConfigOptions, RecordingOptions, get_recording, parse
from g2rpo_env.experiments.bases import make_base, make_folder
from g2rpo_env.experiments.comparison import compare, find_nothing_to_say
from g2rpo_env.experiments.demo import DEMO_ARMS, ENV, FAMILY, ROWS, Outcome, make_outcome
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.families import make_setting
from g2rpo_env.report.plots import plot_curves
from g2rpo_env.report.tables import ONE_SEED, get_standing, interval_text


@dataclass(kw_only=True)
class DemoOptions(ConfigOptions, RecordingOptions):
    """Train one weak base in four ways on column addition; the table shows the base and the four."""

    seed: int = 0
    """Root seed of the base, the problems and all sampling."""
    updates: int = FAMILY.updates
    """Updates of each run."""
    out: Path = Path("runs/demo")
    """Folder of summary.json, curves.png and the runs; that of an earlier demo is moved aside, nothing else is."""


def main(argv: Sequence[str]) -> None:
    """Run the demo of one seed."""
    options = parse(DemoOptions, argv, "demo")
    recording = get_recording(options, "demo", argv)
    started = time.perf_counter()
    set_aside(options.out)
    make_folder(options.out)
    prepare_torch(1)  # as the workers: more threads of a tiny model would wait for each other
    setting = make_setting(ENV, seed=options.seed, updates=options.updates)
    digits = FAMILY.task["digits"]
    print(f"Column addition, {digits} digits, seed {options.seed}. Warm start of a base on a few sums ...", flush=True)
    base = make_base(setting, None, FAMILY.warm, options.out / "base")
    print(f"Training in four ways, {options.updates} updates each, side by side ...", flush=True)
    try:
        results = compare(
            DEMO_ARMS,
            setting,
            {options.seed: options.out},
            seeds=(options.seed,),
            base=base,
            recording=recording,
        )
    except KeyboardInterrupt:
        print(f"Stopped; runs that were done lie in {options.out}, each with its result.json.", file=sys.stderr)
        raise
    found = make_outcome(options.seed, base, results)
    write(found, options.out)
    show(found)
    print(f"{options.out / 'curves.png'}, {options.out / 'summary.json'}; {time.perf_counter() - started:.0f} s in all")
    print(f"g2rpo-env view {options.out} shows every group and every token of the runs in a browser.")


def set_aside(path: Path) -> None:
    """Move the folder of an earlier demo to the first free name ending in -1, -2, ..."""
    if (path / "base").is_dir():
        number = 1
        while path.with_name(f"{path.name}-{number}").exists():
            number += 1
        moved = path.rename(path.with_name(f"{path.name}-{number}"))
        print(f"The earlier {path} is now {moved}.")


def write(found: Outcome, out: Path) -> None:
    """Write summary.json and curves.png."""
    (out / "summary.json").write_text(json.dumps(found.summarise(), indent=2) + "\n", encoding="utf-8")
    results = found.comparison.get_results(found.seed)
    curves = {label: results[label].curves for label in ROWS if label != "base"}
    plot_curves(curves, out / "curves.png", f"Addition, seed {found.seed}, one weak base")


def show(found: Outcome) -> None:
    """Print the table and how g2rpo-a stands."""
    problems = len(found.comparison.get_evaluation(found.seed, "base").problem_ids)
    table = Table(title=f"Greedy unguided accuracy on {problems} test problems nobody trained on, seed {found.seed}")
    for column in ("", "accuracy", "95 % interval", "above grpo", "95 % interval", "lr", "tokens"):
        table.add_column(column, no_wrap=True, justify="left" if not column else "right")
    rows = found.summarise()
    for label in ROWS:
        row = rows[label]
        cells = [label, f"{row['accuracy']:.3f}", interval_text(*row["interval"])]
        if label != "base":
            above = [f"{row['above_grpo']:+.3f}", interval_text(*row["above_grpo_interval"])]
            cells += ["", ""] if label == "grpo" else above
            cells += [f"{row['learning_rate']:g}", f"{row['sampled_tokens']:,}"]
        table.add_row(*cells)
    Console(width=100).print(table)
    print("\n".join(describe(found, rows)))


def describe(found: Outcome, rows: dict[str, Any]) -> list[str]:
    """Return sentences that follow from the numbers of the table."""
    guided, base = rows["g2rpo-a"], f"The base answers {found.success:.2%} of sampled validation problems correctly."
    nothing = find_nothing_to_say(found.comparison, found.seed)
    if nothing is not None:
        return [base, f"{nothing[0].upper()}{nothing[1:]}."]
    low, high = guided["above_sft_interval"]
    return [
        base,
        f"g2rpo-a (revealed tokens in the loss) is {guided['above_grpo']:+.3f} against grpo, 95 % interval "
        f"{interval_text(*guided['above_grpo_interval'])}.",
        f"Against sft on the very tokens it revealed it is {guided['above_sft']:+.3f}, {interval_text(low, high)}: "
        f"{get_standing(low, high)}.",
        "g2rpo-a-masked trains on sampled tokens only; see docs/guidance.md for why that starves here.",
        ONE_SEED,
    ]
