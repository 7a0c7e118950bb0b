"""PPO or A2C of Stable-Baselines3 on guided addition, from scratch: a custom extractor, a callback, nothing else.

The reward is sparse, 1 for the right sum and 0 otherwise, and a policy that knows nothing hardly ever finds it. Three
things make it learnable within a minute or two on one core: the actions are a small vocabulary, the worked column is
revealed (``"8+7="`` is followed by ``"8+7+0=15"`` and a line break; what is left to write is ``"#15"``), and a
controller shortens the reveal once the policy succeeds with it.

All episodes are guided, so what is printed is success *with* the reveal: it says that the adapter learns, not that the
policy can add without help.

    python examples/sb3_ppo.py                    # --algorithm a2c for A2C; --help shows what can be changed
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

import g2rpo_env
from g2rpo_env.agents.sb3 import CausalTransformerExtractor, GuidanceCallback, TokenVecEnv


@dataclass
class Options:
    """Options of the command line."""

    algorithm: Literal["ppo", "a2c"] = "ppo"
    """PPO or A2C."""
    digits: int = 1
    """Digits of both numbers."""
    num_envs: int = 64
    """Lanes of the vector environment."""
    steps: int | None = None
    """Tokens to sample, all lanes together; by default what the algorithm needs."""
    seed: int = 0
    """Of everything random."""


ALGORITHMS: dict[str, Any] = {"ppo": PPO, "a2c": A2C}
STEPS = {"ppo": 60_000, "a2c": 100_000}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 24, "batch_size": 512, "n_epochs": 4},
    "a2c": {"n_steps": 6, "use_rms_prop": False},
}


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
    """Return guided addition as SB3's VecEnv."""
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0",
        num_envs=options.num_envs,
        digits=options.digits,
        vocabulary="0123456789#",
        max_new_tokens=options.digits + 2,  # the mark and the sum
        autoreset_mode="SAME_STEP",
    )
    return TokenVecEnv(g2rpo_env.VectorGuidanceWrapper(envs, ratio=1.0, length=9 * options.digits, unit="tokens"))


def train(options: Options) -> tuple[float, float, float]:
    """Train; return the success over the first and the last tenth of the episodes, and the last reveal length."""
    env = make_env(options)
    longest = env.get_attr("longest")[0]
    controller = g2rpo_env.TargetSuccess(length=longest, max_length=longest, target=0.5, gain=0.05)
    model = ALGORITHMS[options.algorithm](
        "MultiInputPolicy",
        env,
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
        **SETTINGS[options.algorithm],
    )
    successes = Successes()
    model.learn(options.steps or STEPS[options.algorithm], callback=[successes, GuidanceCallback(controller)])
    return *successes.tenths(), controller.length


def main(options: Options) -> None:
    """Train and print what was learnt."""
    first, last, reveal = train(options)
    print(
        f"{options.algorithm}, seed {options.seed}: success with guidance {first:.2f} in the first tenth of the",
        end=" ",
    )
    print(f"episodes, {last:.2f} in the last; reveal length now {reveal:.1f} tokens")


if __name__ == "__main__":
    main(tyro.cli(Options))
