"""``g2rpo-env compare``: several algorithms from the same base, with the same budget of sampled tokens.

Every algorithm trains in the same guided environment, unless its name says ``@unguided``; all are measured without
guidance on the same test problems.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.cli.checkpoints import add_task_options
from g2rpo_env.cli.options import DEFAULT_LENGTH, EnvOptions, early, guidance_options, nested, parse, values
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Setting
from g2rpo_env.experiments.comparison import Comparison, compare
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.families import ARMS, Family, find_family
from g2rpo_env.report.plots import plot_comparison
from g2rpo_env.report.tables import get_standing, interval_text


@dataclass
class CompareOptions(EnvOptions):
    """Train the same base with several algorithms and compare them on the same unguided test problems.

    Give --env and --algorithms before --help: environments that grpo@unguided, sft, g2rpo-a and g2rpo-a-masked were
    tried on have defaults of their own.
    """

    algorithms: str = ",".join(ARMS)
    """Recipes, ppo, a2c, module:function of your own recipes, module:Class of your own agents, separated by commas. All
    train in the guided environment; one whose name ends in @unguided does not. sft replays the reveals of g2rpo-a if
    that is among them."""
    learning_rates: tuple[float, ...] = ()
    """One for all algorithms, or one for each; without it that of each recipe or agent."""
    minibatch: int | None = None
    """Episodes per gradient step; None as the recipe. Like --epochs for recipes only, not for ppo, a2c and your own."""
    epochs: int | None = None
    """Passes over the episodes of an update; None as the recipe."""
    sampled_tokens: int | None = 200_000
    """Budget of each algorithm: it ends with the update that reaches it; None counts updates."""
    updates: int = 100
    """Updates of each algorithm where no tokens are counted, else of those that sample nothing, such as sft."""
    decay: bool = False
    """Let learning rates fall linearly to the last update, where updates are counted."""
    seed: int = 0
    """First root seed."""
    seeds: int = 1
    """Number of root seeds, seed, seed + 1, ...; each has a base of its own."""
    policy: str | None = None
    """Folder of the base; without it a warm-started tiny model per seed."""
    evaluation_problems: int = 512
    """Test problems."""
    out: Path = Path("runs/compare")
    """Folder for the runs, results.json and comparison.png; must be new or empty."""
    warm: WarmStart = field(default_factory=WarmStart)


def main(argv: Sequence[str]) -> None:
    """Train, evaluate and print the table."""
    options, _ = parse_options(argv)
    for name in ("sampled_tokens", "updates", "seeds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigurationError(f"{name}={getattr(options, name)} must be at least 1")
    steps = {"minibatch": options.minibatch, "epochs": options.epochs}
    prepare_torch(None)
    setting = Setting(
        env=options.env,
        task=values(options.task),
        guidance=values(options.guidance),
        problems=options.problems,
        group_size=options.group_size,
        updates=options.updates,
        sampled_tokens=options.sampled_tokens,
        evaluation_problems=options.evaluation_problems,
        decay=options.decay and options.sampled_tokens is None,
    )
    found = compare(
        split_names(options.algorithms),
        setting,
        options.out,
        seeds=range(options.seed, options.seed + options.seeds),
        learning_rates=options.learning_rates,
        optimizer={name: value for name, value in steps.items() if value is not None},
        base=options.policy,
        warm=options.warm,
    )
    show(found)
    (options.out / "results.json").write_text(json.dumps(found.get_records(), indent=2) + "\n", encoding="utf-8")
    curves = {label: found.get_curves(label) for label in found.labels}
    print(plot_comparison(curves, options.out / "comparison.png", f"{options.env}, {len(found.bases)} seeds"))


def parse_options(argv: Sequence[str]) -> tuple[Any, Family | None]:
    """Return the options, and the family whose defaults they have, if the environment has one.

    Task, guidance, warm start and the size of an update are those of the family; rates, updates and decay are so too
    where it knows all the algorithms, since those that it does not know are compared by the same budget of sampled
    tokens.
    """
    named = early(argv, "env", "algorithms")
    env, algorithms = named["env"] or CompareOptions.env, named["algorithms"] or CompareOptions.algorithms
    family = find_family(env)
    kind = add_task_options(CompareOptions, env)
    guidance = guidance_options(DEFAULT_LENGTH)
    kind = dataclasses.make_dataclass("Compare", [("guidance", *nested(guidance))], bases=(kind,))
    if family is None:
        return parse(kind, argv, "compare"), None
    task: Any = next(f.default_factory for f in dataclasses.fields(kind) if f.name == "task")
    given: dict[str, Any] = {"env": env, "task": task(**family.task), "guidance": guidance(**family.guidance)}
    given |= {"warm": family.warm, "problems": family.problems, "group_size": family.group_size}
    if family.has_rates(split_names(algorithms)):
        given["learning_rates"] = tuple(family.rates[name] for name in split_names(algorithms))
        given |= {"sampled_tokens": None, "updates": family.updates, "decay": True}
    return parse(kind, argv, "compare", kind(**given)), family


def split_names(algorithms: str) -> list[str]:
    """Return the names in a list of algorithms."""
    return [name.strip() for name in algorithms.split(",") if name.strip()]


def show(found: Comparison) -> None:
    """Print the accuracy of each arm, its difference to the first one, and how g2rpo-a stands."""
    problems = len(found.results[0].evaluation.problem_ids)
    table = Table(title=f"Greedy unguided accuracy on the same {problems} test problems")
    columns = ("seed", "algorithm", "accuracy", "95 % interval", f"above {found.labels[0]}", "95 % interval", "tokens")
    for column in columns:
        table.add_column(column, no_wrap=True, justify="left" if column == "algorithm" else "right")
    for entry in found.get_entries():
        if entry.seed is None and entry.algorithm == "base":
            table.add_section()
        above = "", ""
        if entry.above_first is not None:
            difference, interval = entry.above_first
            above = f"{difference:+.3f}", interval_text(*interval)
        table.add_row(
            "all" if entry.seed is None else str(entry.seed),
            entry.algorithm,
            f"{entry.accuracy:.3f}",
            interval_text(*entry.interval),
            *above,
            "" if entry.sampled_tokens is None else f"{entry.sampled_tokens:,}",
        )
    Console(width=110).print(table)
    print("\n".join(describe(found)))


def describe(found: Comparison) -> list[str]:
    """Return how g2rpo-a stands against the first algorithm and against sft on the tokens it revealed, per seed."""
    lines, first = [], found.labels[0]
    for seed in dict.fromkeys(result.seed for result in found.results):
        if "g2rpo-a" in found.labels and first != "g2rpo-a":
            difference, interval = found.get_difference(seed, "g2rpo-a", first)
            lines.append(f"Seed {seed}: g2rpo-a is {difference:+.3f} against {first}, {interval_text(*interval)}.")
        if "g2rpo-a" in found.labels and "sft" in found.labels:
            difference, (low, high) = found.get_difference(seed, "g2rpo-a", "sft")
            words = f"{interval_text(low, high)}: {get_standing(low, high)}"
            lines.append(f"Seed {seed}: g2rpo-a is {difference:+.3f} against sft on the tokens it revealed, {words}.")
    return lines
