"""``g2rpo-env evaluate``: unguided accuracy, pass@k and the guidance-response curve of a run or a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from g2rpo_env.agents.evaluation import evaluate
from g2rpo_env.cli.checkpoints import add_task_options, find_model
from g2rpo_env.cli.config import expand_config
from g2rpo_env.cli.options import TorchOptions, early, move_model_first, parse
from g2rpo_env.report.run_folder import check_file
from g2rpo_env.report.tables import show_accuracy, show_answers, show_response


@dataclass(kw_only=True)
class EvaluateOptions(TorchOptions):
    """Measure a run or a checkpoint on problems without guidance."""

    model: tyro.conf.Positional[str]
    """Run folder, checkpoint, Hugging Face folder, LoRA folder or Hub name; --model NAME says the same."""
    env: str | None = None
    """Id of the environment; without it the one the model was trained on. Name it before --help to see the options of
    its task."""
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


def make_options_type(argv: Sequence[str]) -> type:
    """Return the options that fit the environment that ``argv`` names."""
    return add_task_options(EvaluateOptions, early(argv, "env")["env"])


def main(argv: Sequence[str]) -> None:
    """Evaluate and print."""
    argv = move_model_first(expand_config(argv, make_options_type, "evaluate"))
    options = parse(make_options_type(argv), argv, "evaluate")
    check_file(options.json, "json")
    model = find_model(options.model)
    envs = model.make_envs(options.env, getattr(options, "task", None))
    policy = model.load_policy(options, options.temperature)
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
    show_answers(evaluation)
    if options.response_problems:
        show_response(policy, envs, options.response_problems, options.model)
    if options.json is not None:
        options.json.write_text(json.dumps(evaluation.to_config(), indent=2) + "\n", encoding="utf-8")
