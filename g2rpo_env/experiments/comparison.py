"""Comparisons: several algorithms from the same bases, with one budget, measured on the same problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from g2rpo_env.agents.evaluation import Evaluation, mean_over_seeds, paired_difference
from g2rpo_env.agents.progress import Meter
from g2rpo_env.agents.warm_start import WarmStart, find_context
from g2rpo_env.errors import ComparisonError
from g2rpo_env.experiments.algorithms import find_misfits, make_arms, make_chains
from g2rpo_env.experiments.arms import Arm, Failure, Result, Setting, evaluate_base, get_recipe, is_recipe, split_form
from g2rpo_env.experiments.bases import make_base, make_folder
from g2rpo_env.experiments.families import find_controller
from g2rpo_env.experiments.runner import ON_PROCESSOR, RECORDING, Place, run_chains
from g2rpo_env.report.plots import Curves
from g2rpo_env.report.records import Recording

BASE = "base"
"""Label of the policy that all arms start from."""

Difference = tuple[float, tuple[float, float]]
"""A difference of two accuracies, and its 95 % interval."""


@dataclass(frozen=True)
class Entry:
    """A row of the table of a comparison.

    Attributes:
        seed: Root seed; None for the mean over all seeds.
        algorithm: Label of an arm, or ``base``.
        accuracy: Greedy unguided accuracy on the test problems.
        interval: Its 95 % interval.
        above_first: Accuracy minus that of the first arm on the same problems, with its interval; None for that arm
            itself, for the base and for means.
        sampled_tokens: Tokens sampled in training; None for means.
    """

    seed: int | None
    algorithm: str
    accuracy: float
    interval: tuple[float, float]
    above_first: Difference | None = None
    sampled_tokens: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The results of :func:`compare`.

    Attributes:
        bases: Root seed -> accuracy of its base.
        results: One per seed and arm that is done, seed by seed, the arms in the order in which they were given.
    """

    bases: Mapping[int, Evaluation]
    results: tuple[Result, ...]

    @property
    def labels(self) -> list[str]:
        """Labels of the arms, in order."""
        return list(dict.fromkeys(result.arm.label for result in self.results))

    def get_results(self, seed: int) -> dict[str, Result]:
        """Return label -> result of one seed."""
        return {result.arm.label: result for result in self.results if result.seed == seed}

    def get_curves(self, label: str) -> list[Curves]:
        """Return the metrics and evaluations of one arm, one per seed."""
        return [result.curves for result in self.results if result.arm.label == label]

    def get_evaluation(self, seed: int, label: str) -> Evaluation:
        """Return the final evaluation of one arm, or of the ``base``."""
        return self.bases[seed] if label == BASE else self.get_results(seed)[label].evaluation

    def get_difference(self, seed: int, label: str, other: str) -> Difference:
        """Return the accuracy of one arm minus that of another on the same problems, with its 95 % interval."""
        return paired_difference(self.get_evaluation(seed, label), self.get_evaluation(seed, other))

    def get_entries(self) -> list[Entry]:
        """Return the table: for each seed the base and the arms, then the means where there are several seeds.

        An arm that is not done on every seed has no mean.
        """
        first, entries = next(iter(self.labels), BASE), []
        for seed, base in self.bases.items():
            entries.append(Entry(seed, BASE, base.accuracy, base.interval, sampled_tokens=0))
            results = self.get_results(seed)
            for label, result in results.items():
                compared = label != first and first in results
                above = self.get_difference(seed, label, first) if compared else None
                one = result.evaluation
                entries.append(Entry(seed, label, one.accuracy, one.interval, above, result.sampled_tokens))
        if len(self.bases) > 1:
            done = [label for label in self.labels if all(label in self.get_results(seed) for seed in self.bases)]
            for label in (BASE, *done):
                mean, interval = mean_over_seeds([self.get_evaluation(seed, label) for seed in self.bases])
                entries.append(Entry(None, label, mean, interval))
        return entries

    def get_records(self) -> list[dict[str, Any]]:
        """Return plain data, one record per seed and arm and then one per base.

        ``correct`` has a 0 or 1 for each test problem, in the order that is the same for all records of a seed.
        """
        records = [
            {
                "algorithm": result.arm.label,
                "seed": result.seed,
                "sampled_tokens": result.sampled_tokens,
                "seconds": round(result.seconds, 1),
                **to_record(result.evaluation),
            }
            for result in self.results
        ]
        bases = self.bases.items()
        return records + [{"algorithm": BASE, "seed": seed, "sampled_tokens": 0, **to_record(e)} for seed, e in bases]


FEWEST_PROBLEMS = 30
"""Test problems below which no sentence is drawn from a difference: one problem is more than 3 %."""


def find_nothing_to_say(found: Comparison, seed: int) -> str | None:
    """Return why no conclusion follows from the results of a seed; None where one may.

    Either there are fewer than :data:`FEWEST_PROBLEMS` test problems, or no arm is better than its base: no paired
    interval lies above 0.
    """
    problems = len(found.bases[seed].problem_ids)
    if problems < FEWEST_PROBLEMS:
        return f"{problems} test problems are too few for a conclusion, which takes at least {FEWEST_PROBLEMS}"
    gains = [found.get_difference(seed, label, BASE)[1][0] for label in found.get_results(seed)]
    return None if any(low > 0 for low in gains) else "no algorithm is told apart from its base: nothing was learnt"


def to_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return the numbers of a greedy evaluation and whether each problem was answered correctly, as plain data."""
    return {**evaluation.to_config(), "correct": evaluation.correct_PS[:, 0].astype(int).tolist()}


def compare(
    algorithms: Sequence[str | Arm],
    setting: Setting,
    out: str | Path | Mapping[int, Path],
    *,
    seeds: Sequence[int] = (0,),
    learning_rates: Sequence[float] = (),
    optimizer: Mapping[str, Any] | None = None,
    base: str | Path | Mapping[int, Path] | None = None,
    warm: WarmStart | None = None,
    strategy: Any = None,
    workers: int | None = None,
    report: Callable[[str], Any] = print,
    place: Place = ON_PROCESSOR,
    on_result: Callable[[Comparison], Any] | None = None,
    recording: Recording = RECORDING,
) -> Comparison:
    """Train the same bases with several algorithms and measure all of them on the same unguided test problems.

    Arms train in worker processes, with one torch thread each unless ``place`` says otherwise, so that a script calls
    this below ``if __name__ == "__main__":``. Results do not depend on how many train side by side.

    Args:
        algorithms: Names, see :func:`~g2rpo_env.experiments.algorithms.make_arm`, or arms of your own. ``all`` stands
            for every recipe that the setting has all for; ``report`` is told which ones it has not.
        setting: Environment, guidance and budget; see :func:`~g2rpo_env.experiments.families.make_setting`. Its seed is
            replaced. Where its guidance is that of the environment's family, named algorithms get the family's
            controller.
        out: New or empty folder; the runs of a seed lie in ``seed-SEED`` below it. A mapping gives seed -> folder of
            its runs.
        seeds: Root seeds, each once; each has a base of its own unless ``base`` is one folder.
        learning_rates: One for all algorithms, or one for each; empty leaves those of the recipes and agents.
        optimizer: Fields of :class:`~g2rpo_env.agents.recipe.Optimizer` that all named recipes get in place of their
            own, such as ``{"minibatch": 16, "epochs": 2}``.
        base: Folder of the base of all seeds, or seed -> folder; None warm-starts a tiny model per seed.
        warm: How that is done; None takes the defaults of :class:`~g2rpo_env.agents.warm_start.WarmStart`.
        strategy: Part under whose context the bases are made and measured, such as ``Refine()``; None for the prompt.
            What begins answers from something new learns next to nothing from a base that never saw it.
        workers: Worker processes; None takes the cores.
        report: Called with a line about each base and each arm that is done.
        place: Device, dtype and torch threads of the models.
        on_result: Called with what is there each time an arm is done, to keep it: Ctrl-C and SIGTERM end a comparison.
        recording: What the folders of the runs keep of their groups and episodes.

    Returns:
        The accuracies, sampled tokens and curves per seed and algorithm.

    Raises:
        ConfigurationError: an algorithm is unknown, or the learning rates do not fit.
        RunExistsError: something lies in the folder.
        WarmStartError: no base could be made.
        ComparisonError: arms failed; all others were trained to their end and are in its ``found``.
    """
    controller = find_controller(setting.env, setting.guidance)
    arms = make_arms(algorithms, learning_rates, controller, optimizer)
    misfits = find_misfits(algorithms, arms, setting)
    arms = [arm for arm in arms if arm.label not in misfits]
    lines = [f"{label} is left out: {reason}" for label, reason in misfits.items()]
    for line in [*lines, *(describe_unprepared(arms, strategy) if base is None else ())]:
        report(line)
    chains = make_chains(arms)
    if not isinstance(out, Mapping):
        make_folder(Path(out))
        out = {seed: Path(out) / f"seed-{seed}" for seed in seeds}
    order = [arm.label for arm in arms]
    done: list[Result] = []

    def look(results: Sequence[Result]) -> Comparison:
        found = sorted(results, key=lambda result: (list(seeds).index(result.seed), order.index(result.arm.label)))
        return Comparison(bases, tuple(found))

    def keep(result: Result) -> None:
        done.append(result)
        if on_result is not None:
            on_result(look(done))

    bases: dict[int, Evaluation] = {}
    jobs = []
    for seed in seeds:
        one = replace(setting, seed=seed)
        given = base[seed] if isinstance(base, Mapping) else base
        if given is None:
            report(f"Warm start of a base, seed {seed} ...")
        start = make_base(one, given, warm or WarmStart(), out[seed] / BASE, report, find_context(strategy))
        with Meter(f"Accuracy of the base, seed {seed}") as meter:
            context = getattr(strategy, "context", None)
            bases[seed] = evaluate_base(one, start, place.device, place.dtype, meter, context)
        jobs += [(one, start, chain, out[seed]) for chain in chains]
    outcomes = run_chains(jobs, report, workers, keep, place, recording)
    found = look([one for one in outcomes if isinstance(one, Result)])
    failed = [one for one in outcomes if isinstance(one, Failure)]
    if failed:
        raise ComparisonError(f"{len(failed)} of {len(outcomes)} runs failed: " + "; ".join(map(str, failed)), found)
    return found


def describe_unprepared(arms: Sequence[Arm], strategy: Any = None) -> list[str]:
    """Return a line for each arm that begins answers from a context that its base has never seen.

    Args:
        arms: The arms.
        strategy: Part under whose context the bases are made; None for the prompt.
    """
    lines = []
    for arm in arms:
        own = arm.parts.get("strategy", get_recipe(arm.algorithm).strategy) if is_recipe(arm.algorithm) else None
        if find_context(own) is not None and own != strategy:
            lines.append(
                f"{arm.label}: its bases have not seen what {type(own).__name__} begins answers from, and it may learn "
                f"nothing; --context {split_form(arm.algorithm)[0]}, in Python strategy=..., makes bases that have."
            )
    return lines
