"""``g2rpo-env compare``: several algorithms from the same base, with the same budget of sampled tokens.

Every algorithm trains in the same guided environment, unless its name says ``@unguided``; all are measured without
guidance on the same test problems.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from g2rpo_env.agents import recipes
from g2rpo_env.agents.warm_start import WarmStart, find_context
from g2rpo_env.cli.checkpoints import add_task_options
from g2rpo_env.cli.config import expand_config
from g2rpo_env.cli.options import (
    DEFAULT_LENGTH,
    EnvOptions,
    RecordingOptions,
    TorchOptions,
    check_torch_options,
    early,
    get_recording,
    guidance_options,
    nested,
    parse,
    values,
)
from g2rpo_env.errors import ComparisonError, ConfigurationError
from g2rpo_env.experiments.algorithms import expand_names
from g2rpo_env.experiments.arms import Setting
from g2rpo_env.experiments.comparison import Comparison, compare, find_nothing_to_say
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.families import ARMS, Family, find_family
from g2rpo_env.experiments.runner import Place
from g2rpo_env.report.plots import plot_comparison
from g2rpo_env.report.tables import ONE_SEED, count, get_standing, interval_text, warn_unread


@dataclass(kw_only=True)
class CompareOptions(EnvOptions, TorchOptions, RecordingOptions):
    """Train the same base with several algorithms and compare them on the same unguided test problems.

    Give --env and --algorithms before --help: environments that grpo@unguided, sft, g2rpo-a and g2rpo-a-masked were
    tried on have defaults of their own.
    """

    algorithms: str = ",".join(ARMS)
    """Recipes, ppo, a2c, veripo, module:function of your own recipes, module:Class of your own agents, separated by
    commas; all stands for every recipe that the task and --guidance fit. They train in the guided environment; those
    whose names end in @unguided do not, and so those of all that need no guidance. NAME@guided, NAME@guided-masked and
    NAME@guided-positive are the guided form of a recipe: revealed tokens are trained, left out, or trained in the
    better episodes. sft replays the reveals of g2rpo-a if that is among them."""
    learning_rates: tuple[float, ...] = ()
    """One for all algorithms, or one for each; without it that of each recipe or agent."""
    minibatch: int | None = None
    """Episodes per gradient step; None as the recipe. Like --epochs for recipes only, not for ppo, a2c, veripo and
    your own."""
    epochs: int | None = None
    """Passes over the episodes of an update; None as the recipe."""
    sampled_tokens: int | None = None
    """Budget of each algorithm: it ends with the update that reaches it. Without it and --updates, 200,000, unless the
    environment has defaults for these algorithms."""
    updates: int | None = None
    """Updates of each algorithm; beside --sampled-tokens of those that sample nothing, such as sft (without it 100)."""
    decay: bool = False
    """Let learning rates fall linearly to the last update, where updates are counted."""
    seed: int = 0
    """First root seed."""
    seeds: int = 1
    """Number of root seeds, seed, seed + 1, ...; each has a base of its own."""
    policy: Annotated[str | None, tyro.conf.arg(aliases=["--model"])] = None
    """Folder or Hub name of the base, with a LoRA adapter if it has one; without it a warm-started tiny model per
    seed."""
    context: str | None = None
    """Recipe under whose context the tiny models are warm-started, such as igrpo or gac; None for the bare prompt."""
    dtype: str = "float32"
    """Torch dtype of the weights."""
    threads: int = 1
    """Torch threads of each of the processes that train side by side."""
    evaluation_problems: int = 512
    """Test problems."""
    out: Path = Path("runs/compare")
    """Folder for the runs, results.json and comparison.png; must be new or empty."""
    warm: WarmStart = field(default_factory=WarmStart)


def main(argv: Sequence[str]) -> None:
    """Train, evaluate and print the table."""
    argv = expand_config(argv, lambda words: make_options_type(words)[0], "compare")
    options, family = parse_options(argv)
    recording = get_recording(options, "compare", argv)
    for name in ("sampled_tokens", "updates", "seeds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigurationError(f"{name}={getattr(options, name)} must be at least 1")
    budget, is_given = find_budget(options, family)
    steps = {"minibatch": options.minibatch, "epochs": options.epochs}
    check_torch_options(options)
    prepare_torch(options.threads)
    setting = Setting(
        env=options.env,
        task=values(options.task),
        guidance=values(options.guidance),
        problems=options.problems,
        group_size=options.group_size,
        updates=budget.updates,
        sampled_tokens=budget.sampled_tokens,
        evaluation_problems=options.evaluation_problems,
        decay=options.decay and budget.sampled_tokens is None,
    )
    if not is_given:
        print(f"Budget of each algorithm: {budget} (a default; --updates or --sampled-tokens change it).", flush=True)
    strategy = find_strategy(options)
    try:
        found = compare(
            divide_names(options.algorithms),
            setting,
            options.out,
            seeds=range(options.seed, options.seed + options.seeds),
            learning_rates=options.learning_rates,
            optimizer={name: value for name, value in steps.items() if value is not None},
            base=options.policy,
            warm=options.warm,
            strategy=strategy,
            place=Place(options.device, options.dtype, options.threads),
            on_result=lambda found: write_results(found, options.out),
            recording=recording,
        )
    except KeyboardInterrupt:
        runs = f"{options.seeds * len(split_names(options.algorithms))} runs"
        print(f"Stopped. Of {runs} those that were done are kept: {options.out / RESULTS}.", file=sys.stderr)
        raise
    except ComparisonError as error:
        if error.found.results:
            report(error.found, options)
        raise
    report(found, options)


RESULTS = "results.json"


def write_results(found: Comparison, out: Path) -> None:
    """Write results.json, whole or not at all."""
    half = out / f"{RESULTS}.part"
    half.write_text(json.dumps(found.get_records(), indent=2) + "\n", encoding="utf-8")
    half.replace(out / RESULTS)


def report(found: Comparison, options: Any) -> None:
    """Print the table, write results.json and draw comparison.png."""
    show(found)
    write_results(found, options.out)
    curves = {label: found.get_curves(label) for label in found.labels}
    title = f"{options.env}, {count(len(found.bases), 'seed')}"
    print(plot_comparison(curves, options.out / "comparison.png", title))


@dataclass(frozen=True)
class Budget:
    """What each algorithm may use: sampled tokens, or updates where these are None."""

    updates: int
    sampled_tokens: int | None

    def __str__(self) -> str:
        return f"{self.updates} updates" if self.sampled_tokens is None else f"{self.sampled_tokens:,} sampled tokens"


TOKENS, UPDATES = 200_000, 100
"""Budget where neither the user nor a family states one, and updates of what samples nothing beside a token budget."""


def find_budget(options: Any, family: Family | None) -> tuple[Budget, bool]:
    """Return the budget, and whether it was asked for: what was asked for decides, then the family, then the default.

    Args:
        options: Options of the command.
        family: Family whose budget holds, None where it does not know all the algorithms.
    """
    if options.updates is None and options.sampled_tokens is None:
        if family is not None and family.has_rates(split_names(options.algorithms)):
            return Budget(family.updates, None), False
        return Budget(UPDATES, TOKENS), False
    return Budget(options.updates or UPDATES, options.sampled_tokens), True


def make_options_type(argv: Sequence[str]) -> tuple[Any, type]:
    """Return the options that fit the environment that ``argv`` names, and those of its guidance wrapper."""
    kind = add_task_options(CompareOptions, early(argv, "env")["env"] or CompareOptions.env)
    guidance = guidance_options(DEFAULT_LENGTH)
    fields = [("guidance", *nested(guidance))]
    return dataclasses.make_dataclass("Compare", fields, bases=(kind,), kw_only=True), guidance


def parse_options(argv: Sequence[str]) -> tuple[Any, Family | None]:
    """Return the options, and the family whose defaults they have, if the environment has one.

    Task, guidance, warm start and the size of an update are those of the family; rates, decay and budget are so too
    where it knows all the algorithms, since those that it does not know are compared by the same budget of sampled
    tokens.
    """
    named = early(argv, "env", "algorithms")
    env, algorithms = named["env"] or CompareOptions.env, named["algorithms"] or CompareOptions.algorithms
    family = find_family(env)
    kind, guidance = make_options_type(argv)
    if family is None:
        return parse(kind, argv, "compare"), None
    task: Any = next(f.default_factory for f in dataclasses.fields(kind) if f.name == "task")
    given: dict[str, Any] = {"env": env, "task": task(**family.task), "guidance": guidance(**family.guidance)}
    given |= {"warm": family.warm, "problems": family.problems, "group_size": family.group_size}
    if family.has_rates(split_names(algorithms)):
        given["learning_rates"] = tuple(family.rates[name] for name in split_names(algorithms))
        given["decay"] = True
    return parse(kind, argv, "compare", kind(**given)), family


def split_names(algorithms: str) -> list[str]:
    """Return the names in a list of algorithms, with every recipe in the place of ``all``."""
    return [str(one) for one in expand_names(divide_names(algorithms))]


def divide_names(algorithms: str) -> list[str]:
    """Return the names in a list of algorithms as they stand there."""
    return [name.strip() for name in algorithms.split(",") if name.strip()]


def find_strategy(options: Any) -> Any:
    """Return the strategy of the recipe that ``--context`` names, None where it names none.

    Raises:
        ConfigurationError: it begins answers from the prompt, or there is a policy, which is not warm-started.
    """
    if options.context is None:
        return None
    if options.policy is not None:
        raise ConfigurationError(
            f"context={options.context!r} must be left away with policy={options.policy!r}, which is taken as it is"
        )
    strategy = recipes.get(options.context).strategy
    if find_context(strategy) is None:
        raise ConfigurationError(
            f"context={options.context!r} must be a recipe such as igrpo or gac, which begin answers from something "
            "else than the prompt"
        )
    return strategy


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
    for seed, evaluation in found.bases.items():
        warn_unread(evaluation, f"base, seed {seed}: ")


def describe(found: Comparison) -> list[str]:
    """Return how g2rpo-a stands against the first algorithm and against sft on the tokens it revealed, per seed.

    Nothing is said of a seed with too few problems, or on which no algorithm learnt anything.
    """
    lines, first = [], found.labels[0]
    for seed in dict.fromkeys(result.seed for result in found.results):
        done = found.get_results(seed)
        nothing = find_nothing_to_say(found, seed)
        if nothing is not None:
            lines.append(f"Seed {seed}: {nothing}.")
            continue
        if "g2rpo-a" in done and first in done and first != "g2rpo-a":
            difference, interval = found.get_difference(seed, "g2rpo-a", first)
            lines.append(f"Seed {seed}: g2rpo-a is {difference:+.3f} against {first}, {interval_text(*interval)}.")
        if "g2rpo-a" in done and "sft" in done:
            difference, (low, high) = found.get_difference(seed, "g2rpo-a", "sft")
            words = f"{interval_text(low, high)}: {get_standing(low, high)}"
            lines.append(f"Seed {seed}: g2rpo-a is {difference:+.3f} against sft on the tokens it revealed, {words}.")
    return lines + ([ONE_SEED] if len(found.bases) == 1 else [])
