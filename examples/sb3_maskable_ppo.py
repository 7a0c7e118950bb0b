"""MaskablePPO of sb3-contrib on guided addition: a small vocabulary, and a mask that knows the format of an answer.

``TokenVectorEnv.action_masks()`` says which entries of the vocabulary may be chosen; ``TokenVecEnv`` hands it to
MaskablePPO. A wrapper that overrides it adds what you know about your task, here that an answer is a mark and then
digits. The policy has to learn the sum alone, so that it needs half the tokens of ``sb3_ppo.py``.

All episodes are guided, so what is printed is success *with* the reveal.

    pip install sb3-contrib
    python examples/sb3_maskable_ppo.py        # less than a minute on one core; --help shows what can be changed
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback

import g2rpo_env
from g2rpo_env.agents.sb3 import CausalTransformerExtractor, GuidanceCallback, TokenVecEnv


@dataclass
class Options:
    """Options of the command line."""

    digits: int = 1
    """Digits of both numbers."""
    num_envs: int = 64
    """Lanes of the vector environment."""
    steps: int = 30_000
    """Tokens to sample, all lanes together."""
    seed: int = 0
    """Of everything random."""


class AnswerFormat(gym.vector.VectorWrapper):
    """Allows the mark until it is written, then all but the mark."""

    def __init__(self, env: gym.vector.VectorEnv) -> None:
        super().__init__(env)
        self.mark = env.unwrapped.tokenizer.convert_tokens_to_ids("#")
        self._marked = np.zeros(env.num_envs, bool)

    def reset(self, **arguments: Any) -> Any:
        """Start episodes."""
        observation, info = self.env.reset(**arguments)
        self._marked = (observation["tokens"] == self.mark).any(axis=1)
        return observation, info

    def step(self, actions: Any) -> Any:
        """Append a token and look whether the answers have their mark now."""
        observation, *rest = self.env.step(actions)
        self._marked = (observation["tokens"] == self.mark).any(axis=1)
        return observation, *rest

    def action_masks(self) -> np.ndarray:
        """Return which entries of the vocabulary each lane may choose, bool (N, A)."""
        is_mark = self.unwrapped.vocabulary == self.mark
        return self.unwrapped.action_masks() & np.where(self._marked[:, None], ~is_mark, is_mark)


class Successes(BaseCallback):
    """Keeps whether each finished episode was correct."""

    def __init__(self) -> None:
        super().__init__()
        self.correct: list[bool] = []
        self.total, self.printed = 0, 0  # tokens of the training, twentieths of it that were reported

    def _on_step(self) -> bool:
        self.correct += [info["correct"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_training_start(self) -> None:
        self.total = self.locals["total_timesteps"]

    def _on_rollout_end(self) -> None:
        if self.num_timesteps * 20 >= self.printed * self.total and self.correct:
            self.printed = self.num_timesteps * 20 // self.total + 1
            recent = float(np.mean(self.correct[-256:]))
            print(
                f"{self.num_timesteps:,} of {self.total:,} tokens: success with guidance {recent:.2f}", file=sys.stderr
            )

    def tenths(self) -> tuple[float, float]:
        """Return the success over the first and over the last tenth of the episodes."""
        size = max(1, len(self.correct) // 10)
        return float(np.mean(self.correct[:size])), float(np.mean(self.correct[-size:]))


def make_env(options: Options) -> TokenVecEnv:
    """Return guided addition with masked actions as SB3's VecEnv."""
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0",
        num_envs=options.num_envs,
        digits=options.digits,
        vocabulary="0123456789#",
        max_new_tokens=options.digits + 2,  # the mark and the sum
        autoreset_mode="SAME_STEP",
    )
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=1.0, length=9 * options.digits, unit="tokens")
    return TokenVecEnv(AnswerFormat(envs))


def train(options: Options) -> tuple[float, float, float]:
    """Train; return the success over the first and the last tenth of the episodes, and the last reveal length."""
    env = make_env(options)
    longest = env.get_attr("longest")[0]
    controller = g2rpo_env.TargetSuccess(length=longest, max_length=longest, target=0.5, gain=0.05)
    model = MaskablePPO(
        "MultiInputPolicy",
        env,
        n_steps=24,
        batch_size=512,
        n_epochs=4,
        learning_rate=2e-3,
        gamma=1.0,  # one reward, at the end: an answer is not worth less for being long
        gae_lambda=1.0,
        ent_coef=0.02,
        policy_kwargs={
            "features_extractor_class": CausalTransformerExtractor,
            "features_extractor_kwargs": {"features_dim": 32},
            "net_arch": [],  # policy and value read the transformer's state
            "ortho_init": False,  # meant for tanh networks
        },
        seed=options.seed,
        device="cpu",
    )
    successes = Successes()
    model.learn(options.steps, callback=[successes, GuidanceCallback(controller)])
    return *successes.tenths(), controller.length


def main(options: Options) -> None:
    """Train and print what was learnt."""
    first, last, reveal = train(options)
    print(
        f"seed {options.seed}: success with guidance {first:.2f} in the first tenth of the episodes, {last:.2f}",
        end=" ",
    )
    print(f"in the last; reveal length now {reveal:.1f} tokens")


if __name__ == "__main__":
    main(tyro.cli(Options))
