"""``g2rpo-env evaluate``: unguided accuracy, pass@k and the guidance-response curve of a run or a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from g2rpo_env.agents.evaluation import evaluate
from g2rpo_env.cli.checkpoints import add_task_options, load_policy, make_environment_of
from g2rpo_env.cli.options import early, parse
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.report.tables import show_accuracy, show_response


@dataclass
class EvaluateOptions:
    """Measure a run or a checkpoint on problems without guidance."""

    source: tyro.conf.Positional[Path]
    """Run folder, or Hugging Face folder."""
    env: str | None = None
    """Id of the environment; without it the one of the run. Give it before --help to see the options of its task."""
    split: str = "test"
    """train, validation, test or warmstart."""
    problems: int = 256
    """Number of distinct problems."""
    mode: str = "greedy"
    """greedy or sampled."""
    k: tuple[int, ...] = (1,)
    """Values of k for pass@k (sampled mode)."""
    samples: int | None = None
    """Samples per problem in sampled mode; without it the greatest k."""
    temperature: float | None = None
    """Sampling temperature; without it the one of the training."""
    seed: int = 0
    """Chooses the problems and the samples."""
    response_problems: int = 0
    """Problems per point of the guidance-response curve; 0 = no curve."""
    json: Path | None = None
    """File for the numbers; an existing one is replaced."""
    threads: int | None = None
    """Torch threads; without it all cores this process may use."""


def main(argv: Sequence[str]) -> None:
    """Evaluate and print."""
    options = parse(add_task_options(EvaluateOptions, early(argv, "env")["env"]), argv, "evaluate")
    prepare_torch(options.threads)
    policy = load_policy(options.source, options.temperature)
    envs = make_environment_of(options.source, options.env, getattr(options, "task", None))
    evaluation = evaluate(
        policy,
        envs,
        split=options.split,
        problems=options.problems,
        mode=options.mode,
        k=options.k,
        samples=options.samples,
        seed=options.seed,
    )
    show_accuracy(evaluation)
    if options.response_problems:
        show_response(policy, envs, options.response_problems, str(options.source))
    if options.json is not None:
        options.json.write_text(json.dumps(evaluation.to_config(), indent=2) + "\n", encoding="utf-8")
