"""``g2rpo-env complete``: let a run or a checkpoint complete a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from g2rpo_env.cli.checkpoints import find_model
from g2rpo_env.cli.config import expand_config
from g2rpo_env.cli.options import TorchOptions, move_model_first, parse


@dataclass(kw_only=True)
class CompleteOptions(TorchOptions):
    """Complete a text, up to the end token or the budget."""

    model: tyro.conf.Positional[str]
    """Run folder, checkpoint, Hugging Face folder, LoRA folder or Hub name; --model NAME says the same."""
    prompt: tyro.conf.Positional[str]
    """The text, such as "12+34="; \\n stands for a line break."""
    max_new_tokens: int = 128
    """Budget of new tokens, >= 1."""
    sample: bool = False
    """Sample instead of taking the likeliest token."""
    temperature: float | None = None
    """Sampling temperature; without it the one of the training."""
    seed: int = 0
    """Of the sampling."""


def main(argv: Sequence[str]) -> None:
    """Print the prompt and its completion."""
    argv = expand_config(argv, lambda _: CompleteOptions, "complete")
    options = parse(CompleteOptions, move_model_first(argv), "complete")
    policy = find_model(options.model).load_policy(options, options.temperature)
    prompt = options.prompt.replace("\\n", "\n")
    print(prompt + policy.complete(prompt, options.max_new_tokens, greedy=not options.sample, seed=options.seed))
