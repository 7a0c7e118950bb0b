"""TRL's GRPOTrainer on guided addition: our problems, our verifier, the reveal in the prompt's continuation.

A tiny model is taught sums until it gets some of them right, then TRL trains it. Part of each group starts from the
beginning of the solution; the revealed tokens are trained with the sampled ones, as the official G²RPO-A code does
(``--no-revealed-in-loss`` masks them out of TRL's loss, and then little is learnt in so few steps), and a controller
shortens the reveal as success grows. What is printed is the success of unguided members.

    pip install 'g2rpo-env[benchmark]'
    python examples/trl_grpo.py                   # --help shows what can be changed
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import g2rpo_env
from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.trl import GuidedRollout, environment_reward, problem_dataset
from g2rpo_env.agents.warm_start import WarmStart, warm_start


@dataclass
class Options:
    """Options of the command line."""

    digits: int = 2
    """Digits of both numbers."""
    steps: int = 120
    """Optimiser steps, one for each generation batch."""
    problems: int = 8
    """Problems in a generation batch."""
    group_size: int = 8
    """Completions for each of them."""
    success: tuple[float, float] = (0.25, 0.5)
    """Range of sampled success in which the warm start ends."""
    learning_rate: float = 3e-4
    """Highest learning rate; it falls linearly to 0."""
    revealed_in_loss: bool = True
    """Whether revealed tokens are trained too."""
    seed: int = 0
    """Of everything random."""


class UnguidedSuccess:
    """A reward function that keeps how often unguided members were right, and has no say in the reward."""

    __name__ = "unguided_success"

    def __init__(self) -> None:
        self.history: list[float] = []

    def __call__(self, correct: list[bool], reveal_length: list[int], **_: Any) -> list[None]:
        """Return None, which TRL leaves out; zeros would make a failed verdict a wrong answer."""
        self.history.append(float(np.mean([c for c, shown in zip(correct, reveal_length, strict=True) if not shown])))
        return [None] * len(correct)

    def tenths(self) -> tuple[float, float]:
        """Return the success over the first and over the last tenth of the steps."""
        size = max(1, len(self.history) // 10)
        return float(np.mean(self.history[:size])), float(np.mean(self.history[-size:]))


class Quiet(TrainerCallback):
    """Prints a line now and then instead of every metric."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Print the success of a step."""
        if logs and "reward" in logs:
            print(f"step {state.global_step}: reward {logs['reward']:.2f}", flush=True)


def train(options: Options) -> tuple[float, float]:
    """Train; return the success of unguided members over the first and the last tenth of the steps."""
    torch.manual_seed(options.seed)
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0",
        num_envs=options.problems * options.group_size,
        group_size=options.group_size,
        digits=options.digits,
        autoreset_mode="DISABLED",
    )
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=0.25, length=9 * options.digits, unit="tokens")
    policy = CausalLMPolicy.tiny(envs, seed=options.seed)
    result = warm_start(policy, envs, WarmStart(success=options.success, check_every=5, samples=256, seed=options.seed))
    print(f"Warm start: {result.steps} steps, sampled success {result.success:.2f}")
    longest = envs.longest
    controller = g2rpo_env.TargetSuccess(length=longest, max_length=longest, target=0.7, gain=0.1)
    dataset = problem_dataset(envs.unwrapped.task, problems=512, seed=options.seed)
    watch = UnguidedSuccess()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=policy.model,
            reward_funcs=[environment_reward, watch],
            args=GRPOConfig(
                output_dir=folder,
                max_steps=options.steps,
                learning_rate=options.learning_rate,
                per_device_train_batch_size=options.problems * options.group_size,
                num_generations=options.group_size,
                temperature=1.0,
                beta=0.0,
                bf16=False,
                activation_checkpointing=False,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_steps=max(1, options.steps // 6),
                seed=options.seed,
            ),
            train_dataset=dataset,
            processing_class=policy.tokenizer,
            rollout_func=GuidedRollout(envs, dataset, controller, options.revealed_in_loss),
            callbacks=[Quiet()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return watch.tenths()


def main(options: Options) -> None:
    """Train and print what was learnt."""
    first, last = train(options)
    print(f"seed {options.seed}: unguided success {first:.2f} in the first tenth of the steps, {last:.2f} in the last")


if __name__ == "__main__":
    main(tyro.cli(Options))
