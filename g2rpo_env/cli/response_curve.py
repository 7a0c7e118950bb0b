"""``g2rpo-env response``: how often a model succeeds when a given share of the solution is revealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.response import FRACTIONS, guidance_response
from g2rpo_env.agents.warm_start import WarmStart, check_base, load_or_warm_start
from g2rpo_env.cli.checkpoints import add_task_options, find_model
from g2rpo_env.cli.config import expand_config
from g2rpo_env.cli.options import (
    TorchOptions,
    check_torch_options,
    early,
    move_model_first,
    parse,
    use_threads,
    values,
)
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.bases import make_folder
from g2rpo_env.experiments.environments import make_envs, prepare_torch
from g2rpo_env.report.plots import plot_response
from g2rpo_env.report.run_folder import RunFolder
from g2rpo_env.report.tables import show_points, write_points


@dataclass(kw_only=True)
class ResponseOptions(TorchOptions):
    """Measure sampled success against the revealed share of the solution, for any model and task."""

    model: tyro.conf.Positional[str | None] = None
    """Run folder, checkpoint, Hugging Face folder, LoRA folder or Hub name; --model NAME says the same. Without it a
    warm-started tiny model."""
    env: str | None = None
    """Id of the environment; without it the one the model was trained on. Name it before --help to see the options of
    its task."""
    split: str = "test"
    """train, validation, test or warmstart."""
    problems: int = 256
    """Distinct problems per point, one sample each."""
    fractions: tuple[float, ...] = FRACTIONS
    """Revealed shares of what may be revealed, in [0, 1]."""
    temperature: float | None = None
    """Sampling temperature; without it the one of the training."""
    seed: int = 0
    """Chooses the problems and the samples, and the weights of the tiny model."""
    out: Path = Path("runs/response")
    """Folder for response.json and response.png; must be new or empty."""
    warm: WarmStart = field(default_factory=WarmStart)


def make_options_type(argv: Sequence[str]) -> type:
    """Return the options that fit the environment that ``argv`` names."""
    return add_task_options(ResponseOptions, early(argv, "env")["env"])


def main(argv: Sequence[str]) -> None:
    """Measure, print the table, write the file and draw the curve."""
    argv = move_model_first(expand_config(argv, make_options_type, "response"))
    options = parse(make_options_type(argv), argv, "response")
    if options.model is None and options.env is None:
        raise ConfigurationError(
            "env must be given where no model is: --env g2rpo_env/Addition-v0; or name a model, a run folder for one"
        )
    RunFolder.check_free(options.out)
    policy, envs = _warm_tiny(options) if options.model is None else _load_given(options)
    make_folder(options.out)
    points = guidance_response(
        policy, envs, split=options.split, problems=options.problems, fractions=options.fractions, seed=options.seed
    )
    what = "a warm-started tiny model" if options.model is None else str(options.model)
    show_points(points, what, options.split)
    write_points(points, what, options.out)
    print(plot_response({what: points}, options.out / "response.png"))


def _load_given(options: Any) -> tuple[CausalLMPolicy, Any]:
    model = find_model(options.model)
    envs = model.make_envs(options.env, getattr(options, "task", None))
    return model.load_policy(options, options.temperature), envs


def _warm_tiny(options: Any) -> tuple[CausalLMPolicy, Any]:
    check_torch_options(options)
    prepare_torch()
    envs = make_envs(options.env, 1, 1, values(options.task))
    temperature = 1.0 if options.temperature is None else options.temperature

    def make() -> CausalLMPolicy:
        policy = CausalLMPolicy.tiny(envs, seed=options.seed, temperature=temperature)
        use_threads(policy, options.threads)
        return policy.to(options.device, options.dtype)

    policy, result = load_or_warm_start(make, envs, options.warm)
    check_base(result, options.warm)
    print(f"Warm start: {result.steps} steps, sampled success {result.success:.2%}")
    return policy, envs
