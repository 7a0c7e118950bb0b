"""``g2rpo-env demo``: the main job. Five ways to go on from one weak base, one table.

base, grpo, sft, g2rpo-a and g2rpo-a-masked on column addition. sft is supervised training on exactly the tokens that
the g2rpo-a run revealed: it says how much of a gain is imitation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from g2rpo_env.agents import Evaluation, paired_difference
from g2rpo_env.cli.options import parse
from g2rpo_env.experiments.arms import Arm, Result, Setting, evaluate_base
from g2rpo_env.experiments.bases import make_base, new_folder
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.experiments.runner import run_chains
from g2rpo_env.report.plots import Curves, plot_curves
from g2rpo_env.report.tables import interval_text, standing

ENV = "g2rpo_env/Addition-v0"
FAMILY = FAMILIES[ENV]
RATES = FAMILY.rates
GRPO = Arm("grpo", "grpo", RATES["grpo@unguided"], guided=False)
GUIDED = Arm("g2rpo-a", "g2rpo-a", RATES["g2rpo-a"], controller=FAMILY.controller)
IMITATION = Arm("sft", "sft", RATES["sft"], replays="g2rpo-a")
MASKED = Arm("g2rpo-a-masked", "g2rpo-a-masked", RATES["g2rpo-a-masked"], controller=FAMILY.controller)
CHAINS = ((GUIDED, IMITATION), (MASKED,), (GRPO,))
ROWS = ("base", "grpo", "sft", "g2rpo-a", "g2rpo-a-masked")


@dataclass
class DemoOptions:
    """Train one weak base in four ways on column addition and show what each reached."""

    seed: int = 0
    """Root seed of the base, the problems and all sampling."""
    updates: int = FAMILY.updates
    """Updates of each run."""
    out: Path = Path("runs/demo")
    """Folder of summary.json, curves.png and the runs; that of an earlier demo is moved aside, nothing else is."""


@dataclass(frozen=True)
class Outcome:
    """What a demo of one seed found.

    Attributes:
        seed: Root seed.
        base: The base's accuracy.
        success: The base's sampled success on validation problems.
        results: Label -> result.
    """

    seed: int
    base: Evaluation
    success: float
    results: dict[str, Result]

    def evaluation(self, label: str) -> Evaluation:
        """Return the evaluation of a row."""
        return self.base if label == "base" else self.results[label].evaluation

    def summary(self) -> dict[str, Any]:
        """Return the rows of the table as plain data."""
        rows: dict[str, Any] = {}
        for label in ROWS:
            rows[label] = self.evaluation(label).to_config()
            if label != "base":
                difference, interval = paired_difference(self.evaluation(label), self.evaluation("grpo"))
                result = self.results[label]
                rows[label] |= {
                    "above_grpo": difference,
                    "above_grpo_interval": list(interval),
                    "learning_rate": result.arm.learning_rate,
                    "sampled_tokens": result.sampled_tokens,
                    "seconds": round(result.seconds, 1),
                }
        rows["base"]["sampled_success"] = self.success
        difference, interval = paired_difference(self.evaluation("g2rpo-a"), self.evaluation("sft"))
        rows["g2rpo-a"] |= {"above_sft": difference, "above_sft_interval": list(interval)}
        return rows


def main(argv: Sequence[str]) -> None:
    """Run the demo of one seed."""
    options = parse(DemoOptions, argv, "demo")
    started = time.perf_counter()
    set_aside(options.out)
    new_folder(options.out)
    prepare_torch(None)
    setting = make_setting(options.seed, options.updates)
    digits = FAMILY.task["digits"]
    print(f"Column addition, {digits} digits, seed {options.seed}. Warm start of a base on a few sums ...", flush=True)
    base = make_base(setting, None, FAMILY.warm, options.out / "base")
    print(f"Training in four ways, {options.updates} updates each, side by side ...", flush=True)
    results = run_chains([(setting, base, chain, options.out) for chain in CHAINS])
    found = outcome(setting, base, results)
    write(found, options.out)
    show(found)
    print(f"{options.out / 'curves.png'}, {options.out / 'summary.json'}; {time.perf_counter() - started:.0f} s in all")


def make_setting(seed: int, updates: int) -> Setting:
    """Return what all runs of a demo share."""
    task, guidance = dict(FAMILY.task), FAMILY.guidance
    return Setting(
        env=ENV,
        task=task,
        guidance=guidance,
        problems=FAMILY.problems,
        group_size=FAMILY.group_size,
        updates=updates,
        seed=seed,
        decay=True,
    )


def outcome(setting: Setting, base: Path, results: Sequence[Result]) -> Outcome:
    """Return what was found, the base evaluated on the same problems."""
    success = json.loads((base / "warm_start.json").read_text())["success"]
    return Outcome(setting.seed, evaluate_base(setting, base), success, {r.arm.label: r for r in results})


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
    (out / "summary.json").write_text(json.dumps(found.summary(), indent=2) + "\n", encoding="utf-8")
    curves: dict[str, Curves] = {label: found.results[label].curves for label in ROWS if label != "base"}
    plot_curves(curves, out / "curves.png", f"Addition, seed {found.seed}, one weak base")


def show(found: Outcome) -> None:
    """Print the table and what it says."""
    problems = len(found.base.problem_ids)
    table = Table(title=f"Greedy unguided accuracy on {problems} test problems nobody trained on, seed {found.seed}")
    for column in ("", "accuracy", "95 % interval", "above grpo", "95 % interval", "lr", "tokens"):
        table.add_column(column, no_wrap=True, justify="left" if not column else "right")
    rows = found.summary()
    for label in ROWS:
        row = rows[label]
        cells = [label, f"{row['accuracy']:.3f}", interval_text(*row["interval"])]
        if label != "base":
            above = [f"{row['above_grpo']:+.3f}", interval_text(*row["above_grpo_interval"])]
            cells += ["", ""] if label == "grpo" else above
            cells += [f"{row['learning_rate']:g}", f"{row['sampled_tokens']:,}"]
        table.add_row(*cells)
    Console(width=100).print(table)
    print("\n".join(reading(found, rows)))


def reading(found: Outcome, rows: dict[str, Any]) -> list[str]:
    """Return what the numbers say, in words that follow from them."""
    guided = rows["g2rpo-a"]
    low, high = guided["above_sft_interval"]
    return [
        f"The base answers {found.success:.2%} of sampled validation problems correctly.",
        f"g2rpo-a (revealed tokens in the loss) is {guided['above_grpo']:+.3f} against grpo, 95 % interval "
        f"{interval_text(*guided['above_grpo_interval'])}.",
        f"Against sft on the very tokens it revealed it is {guided['above_sft']:+.3f}, {interval_text(low, high)}: "
        f"{standing(low, high)}.",
        "g2rpo-a-masked trains on sampled tokens only; see docs/guidance.md for why that starves here.",
    ]
