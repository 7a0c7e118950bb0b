"""PPO of RLlib on guided addition, in an environment of its own: Ray demands an older Gymnasium than this library.

    python -m venv ray-env && ray-env/bin/pip install 'ray[rllib]' torch transformers
    ray-env/bin/pip install --no-deps g2rpo-env
    ray-env/bin/python examples/rllib_ppo.py      # a few minutes; --help shows what can be changed

Single environments work there, as they are. All episodes are guided, so what is printed is success *with* the reveal.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.tune.registry import register_env
from torch import nn

import g2rpo_env

ENV = "guided-addition"


class SpentBudgetEnds(gym.Wrapper):
    """Reports a spent budget as terminal: RLlib would add gamma * V to the reward of an answer that never ends."""

    def step(self, action: Any) -> Any:
        """Step; truncated becomes terminated."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, False, info


def make_env(config: dict[str, Any]) -> gym.Env:
    """Return guided addition with a small vocabulary; the whole worked column is revealed."""
    digits = config.get("digits", 1)
    env = gym.make(
        "g2rpo_env/Addition-v0",
        digits=digits,
        vocabulary="0123456789#",
        max_new_tokens=digits + 2,  # the mark and the sum
        disable_env_checker=True,
    )
    return SpentBudgetEnds(g2rpo_env.GuidanceWrapper(env, ratio=1.0, length=9 * digits, unit="tokens"))


class Transformer(TorchRLModule, ValueFunctionAPI):
    """Token embedding, two causal layers, and two heads that read the state of the last token."""

    def setup(self) -> None:
        """Build the networks; the first policy is uniform."""
        tokens, width = self.observation_space["tokens"], self.model_config["width"]
        self.token = nn.Embedding(int(tokens.high.max()) + 1, width)
        self.position = nn.Embedding(tokens.shape[0], width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.actor, self.critic = nn.Linear(width, int(self.action_space.n)), nn.Linear(width, 1)
        nn.init.zeros_(self.actor.weight)
        nn.init.zeros_(self.actor.bias)

    def states(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the state of the last token of each context, (B, width)."""
        observation = batch[Columns.OBS]
        tokens_BL, length_B = observation["tokens"].long(), observation["length"].reshape(-1).long().clamp(min=1)
        longest = int(length_B.max())
        state = self.token(tokens_BL[:, :longest]) + self.position.weight[:longest]
        state = self.layers(state, mask=torch.ones(longest, longest, dtype=torch.bool).triu(1))
        return state[torch.arange(len(state)), length_B - 1]

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        state = self.states(batch)
        return {Columns.ACTION_DIST_INPUTS: self.actor(state), Columns.EMBEDDINGS: state}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Return values, (B,)."""
        return self.critic(self.states(batch) if embeddings is None else embeddings).squeeze(-1)


def train(seed: int = 0, iterations: int = 35, steps: int = 1536) -> tuple[float, float]:
    """Train; return the success over the first and over the last tenth of the iterations."""
    register_env(ENV, make_env)
    config = (
        PPOConfig()
        .environment(ENV)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .learners(num_learners=0)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Transformer, model_config={"width": 32}))
        .training(
            lr=2e-3,
            gamma=1.0,  # one reward, at the end: an answer is not worth less for being long
            lambda_=1.0,
            entropy_coeff=0.02,
            vf_loss_coeff=0.5,
            use_kl_loss=False,
            grad_clip=0.5,
            train_batch_size_per_learner=steps,
            minibatch_size=min(512, steps),
            num_epochs=4,
        )
        .debugging(seed=seed, log_level="ERROR")
    )
    algorithm = config.build_algo()
    success = []
    for iteration in range(iterations):
        result = algorithm.train()
        success.append(float(result["env_runners"]["episode_return_mean"]))  # the reward is 1 for a correct answer
        print(f"iteration {iteration + 1}/{iterations}: success with guidance {success[-1]:.2f}", file=sys.stderr)
    algorithm.stop()
    tenth = max(1, iterations // 10)
    return float(np.mean(success[:tenth])), float(np.mean(success[-tenth:]))


def main() -> None:
    """Train and print what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--iterations", type=int, default=35, help="updates")
    parser.add_argument("--steps", type=int, default=1536, help="tokens per update")
    options = parser.parse_args()
    first, last = train(options.seed, options.iterations, options.steps)
    print(
        f"seed {options.seed}: success with guidance {first:.2f} in the first tenth of the training, {last:.2f}",
        "in the last",
    )


if __name__ == "__main__":
    main()
