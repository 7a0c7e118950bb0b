"""``g2rpo-env complete``: let a run or a checkpoint complete a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from g2rpo_env.cli.checkpoints import load_policy
from g2rpo_env.cli.options import parse
from g2rpo_env.experiments.environments import prepare_torch


@dataclass
class CompleteOptions:
    """Complete a text, up to the end token or the budget."""

    source: tyro.conf.Positional[Path]
    """Run folder, or Hugging Face folder."""
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
    options = parse(CompleteOptions, argv, "complete")
    prepare_torch(1)  # one lane: more threads would only wait for each other
    policy = load_policy(options.source, options.temperature)
    prompt = options.prompt.replace("\\n", "\n")
    print(prompt + policy.complete(prompt, options.max_new_tokens, greedy=not options.sample, seed=options.seed))
