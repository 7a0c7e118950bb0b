"""``g2rpo-env compare``: several algorithms from the same base, with the same budget of sampled tokens.

Every algorithm trains in the same guided environment, unless its name says ``@unguided``; all are measured without
guidance on the same test problems.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from g2rpo_env.agents import Evaluation, paired_difference, recipes
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.evaluation import mean_over_seeds
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.cli.checkpoints import with_task_options
from g2rpo_env.cli.options import EnvOptions, early, guidance_options, nested, parse, values
from g2rpo_env.controllers.base import Controller
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Arm, Result, Setting, evaluate_base, load_agent
from g2rpo_env.experiments.bases import make_base, new_folder
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.families import ARMS, UNGUIDED, Family, family_of
from g2rpo_env.experiments.runner import run_chains
from g2rpo_env.report.plots import plot_comparison
from g2rpo_env.report.tables import interval_text, standing


@dataclass
class CompareOptions(EnvOptions):
    """Train the same base with several algorithms and compare them on the same unguided test problems.

    Give --env and --algorithms before --help: the families that the main job was tried on have defaults of their own.
    """

    algorithms: str = ",".join(ARMS)
    """Recipes, ppo, a2c, or module:Class of your own agents, separated by commas. All train in the guided environment;
    one whose name ends in @unguided does not. sft replays the reveals of g2rpo-a if that is among them."""
    learning_rates: tuple[float, ...] = ()
    """One for all algorithms, or one for each; without it that of each recipe or agent."""
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
    options, family = parse_options(argv)
    for name in ("sampled_tokens", "updates", "seeds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigurationError(f"{name}={getattr(options, name)} must be at least 1")
    guidance = values(options.guidance)
    fits = family is not None and family.guidance.items() <= guidance.items()
    controller = family.controller if family is not None and fits else None
    chains = make_chains(options.algorithms, options.learning_rates, controller)
    new_folder(options.out)
    prepare_torch(None)
    setting = Setting(
        env=options.env,
        task=values(options.task),
        guidance=guidance,
        problems=options.problems,
        group_size=options.group_size,
        updates=options.updates,
        sampled_tokens=options.sampled_tokens,
        evaluation_problems=options.evaluation_problems,
        decay=options.decay and options.sampled_tokens is None,
    )
    jobs, bases = [], {}
    for seed in range(options.seed, options.seed + options.seeds):
        one = replace(setting, seed=seed)
        folder = options.out / f"seed-{seed}"
        base = make_base(one, options.policy, options.warm, folder / "base")
        bases[seed] = evaluate_base(one, base)
        jobs += [(one, base, chain, folder) for chain in chains]
    results = run_chains(jobs)
    order = [arm.label for arm in make_arms(options.algorithms, options.learning_rates)]
    results.sort(key=lambda result: (result.seed, order.index(result.arm.label)))
    show_results(bases, results)
    rows = [
        {
            "algorithm": r.arm.label,
            "seed": r.seed,
            "sampled_tokens": r.sampled_tokens,
            "seconds": round(r.seconds, 1),
            **r.evaluation.to_config(),
        }
        for r in results
    ]
    rows += [{"algorithm": "base", "seed": seed, "sampled_tokens": 0, **e.to_config()} for seed, e in bases.items()]
    (options.out / "results.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    curves = {label: [r.curves for r in results if r.arm.label == label] for label in order}
    print(plot_comparison(curves, options.out / "comparison.png", f"{options.env}, {len(bases)} seeds"))


def parse_options(argv: Sequence[str]) -> tuple[Any, Family | None]:
    """Return the options, and the family whose defaults they have, if the environment has one.

    Task, guidance, warm start and the size of an update are those of the family; rates, updates and decay are so too
    where it knows all the algorithms, since those that it does not know are compared by the same budget of sampled
    tokens.
    """
    named = early(argv, "env", "algorithms")
    env, algorithms = named["env"] or CompareOptions.env, named["algorithms"] or CompareOptions.algorithms
    family = family_of(env)
    kind = with_task_options(CompareOptions, env)
    guidance = guidance_options(45.0)
    kind = dataclasses.make_dataclass("Compare", [("guidance", *nested(guidance))], bases=(kind,))
    if family is None:
        return parse(kind, argv, "compare"), None
    task: Any = next(f.default_factory for f in dataclasses.fields(kind) if f.name == "task")
    given: dict[str, Any] = {"env": env, "task": task(**family.task), "guidance": guidance(**family.guidance)}
    given |= {"warm": family.warm, "problems": family.problems, "group_size": family.group_size}
    if family.knows(names_of(algorithms)):
        given["learning_rates"] = tuple(family.rates[name] for name in names_of(algorithms))
        given |= {"sampled_tokens": None, "updates": family.updates, "decay": True}
    return parse(kind, argv, "compare", kind(**given)), family


def names_of(algorithms: str) -> list[str]:
    """Return the names in a list of algorithms."""
    return [name.strip() for name in algorithms.split(",") if name.strip()]


def make_chains(
    algorithms: str, learning_rates: Sequence[float], controller: Controller | None = None
) -> list[list[Arm]]:
    """Return what can train side by side: each algorithm alone, but ``sft`` after the ``g2rpo-a`` that it replays.

    Args:
        algorithms: See :class:`CompareOptions`.
        learning_rates: See :class:`CompareOptions`.
        controller: Replaces that of recipes that need guidance; None leaves it.
    """
    arms = {arm.label: with_controller(arm, controller) for arm in make_arms(algorithms, learning_rates)}
    chains = {label: [arm] for label, arm in arms.items()}
    if "sft" in chains and "g2rpo-a" in chains:
        (imitation,) = chains.pop("sft")
        chains["g2rpo-a"].append(replace(imitation, replays="g2rpo-a"))
    return list(chains.values())


def with_controller(arm: Arm, controller: Controller | None) -> Arm:
    """Return an arm with another controller, if its recipe needs guidance and so has one."""
    known = arm.algorithm in recipes.RECIPES and recipes.get(arm.algorithm).needs_guidance
    return replace(arm, controller=controller) if known and arm.algorithm != "sft" else arm


def make_arms(algorithms: str, learning_rates: Sequence[float]) -> list[Arm]:
    """Return the arms of a list of algorithms; raises ConfigurationError for unknown names and uneven lists."""
    names = names_of(algorithms)
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"algorithms={algorithms!r} must name at least one algorithm, each once")
    rates: Sequence[float | None] = learning_rates or (None,)
    if len(rates) not in (1, len(names)):
        raise ConfigurationError(f"learning_rates={tuple(rates)} must hold one number, or one per algorithm")
    rates = rates if len(rates) == len(names) else list(rates) * len(names)
    return [make_arm(name, rate) for name, rate in zip(names, rates, strict=True)]


def make_arm(name: str, learning_rate: float | None) -> Arm:
    """Return the arm of one algorithm.

    Raises:
        ConfigurationError: no recipe or agent has that name, or it needs the guidance that ``@unguided`` takes away.
    """
    plain = name.removesuffix(UNGUIDED)
    algorithm, guided = AGENTS.get(plain, plain), plain == name
    if ":" in algorithm:
        load_agent(algorithm)
    elif algorithm not in recipes.RECIPES:
        known = ", ".join([*recipes.RECIPES, *AGENTS])
        raise ConfigurationError(f"algorithm={name!r} must be one of {known}, or module:Class of an agent of yours")
    elif recipes.get(algorithm).needs_guidance and not guided:
        raise ConfigurationError(f"algorithm={name!r} needs guidance: leave {UNGUIDED} away")
    return Arm(name.replace(":", "."), algorithm, learning_rate, guided)


def show_results(bases: dict[int, Evaluation], results: Sequence[Result]) -> None:
    """Print accuracies, and what each arm is above the first one on the same problems."""
    first = results[0].arm.label
    table = Table(title=f"Greedy unguided accuracy on the same {len(results[0].evaluation.problem_ids)} test problems")
    for column in ("seed", "algorithm", "accuracy", "95 % interval", f"above {first}", "95 % interval", "tokens"):
        table.add_column(column, no_wrap=True, justify="left" if column == "algorithm" else "right")
    for seed, base in bases.items():
        table.add_row(str(seed), "base", f"{base.accuracy:.3f}", interval_text(*base.interval), "", "", "0")
        rows = [result for result in results if result.seed == seed]
        for result in rows:
            shown = result.evaluation
            difference, interval = paired_difference(shown, rows[0].evaluation)
            extra = ("", "") if result is rows[0] else (f"{difference:+.3f}", interval_text(*interval))
            accuracy, own_interval = f"{shown.accuracy:.3f}", interval_text(*shown.interval)
            table.add_row(str(seed), result.arm.label, accuracy, own_interval, *extra, f"{result.sampled_tokens:,}")
    if len(bases) > 1:
        table.add_section()
        labels = dict.fromkeys(result.arm.label for result in results)
        means = {"base": list(bases.values())}
        means |= {label: [r.evaluation for r in results if r.arm.label == label] for label in labels}
        for label, evaluations in means.items():
            mean, interval = mean_over_seeds(evaluations)
            table.add_row("all", label, f"{mean:.3f}", interval_text(*interval), "", "", "")
    Console(width=110).print(table)
    print("\n".join(reading(results)))


def reading(results: Sequence[Result]) -> list[str]:
    """Return where g2rpo-a stands against the first algorithm and against sft on the tokens it revealed, per seed."""
    lines = []
    for seed in dict.fromkeys(result.seed for result in results):
        rows = {result.arm.label: result.evaluation for result in results if result.seed == seed}
        first = next(iter(rows))
        if "g2rpo-a" in rows and first != "g2rpo-a":
            difference, interval = paired_difference(rows["g2rpo-a"], rows[first])
            lines.append(f"Seed {seed}: g2rpo-a is {difference:+.3f} against {first}, {interval_text(*interval)}.")
        if "g2rpo-a" in rows and "sft" in rows:
            difference, (low, high) = paired_difference(rows["g2rpo-a"], rows["sft"])
            words = f"{interval_text(low, high)}: {standing(low, high)}"
            lines.append(f"Seed {seed}: g2rpo-a is {difference:+.3f} against sft on the tokens it revealed, {words}.")
    return lines
