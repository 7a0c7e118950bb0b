"""PPO of TorchRL on guided addition: single environments through GymWrapper, batched by TorchRL itself.

The environment is used as any other from Gymnasium. What is lost is the native vector environment: TorchRL steps
Gymnasium environments one by one. All episodes are guided, so what is printed is success *with* the reveal.

    pip install 'g2rpo-env[benchmark]'
    python examples/torchrl_ppo.py                # a minute or two on one core; --help shows what can be changed
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.envs import ExplorationType, GymWrapper, SerialEnv
from torchrl.modules import ActorValueOperator, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import g2rpo_env


@dataclass
class Options:
    """Options of the command line."""

    digits: int = 1
    """Digits of both numbers."""
    num_envs: int = 64
    """Environments."""
    num_steps: int = 24
    """Steps per environment and update."""
    updates: int = 35
    """Updates."""
    epochs: int = 4
    """Passes over the data of an update."""
    minibatch: int = 512
    """Steps per gradient step."""
    learning_rate: float = 2e-3
    """Of Adam."""
    width: int = 32
    """Width of the transformer."""
    seed: int = 0
    """Of everything random."""


class Context(nn.Module):
    """Token embedding and two causal layers; returns the state of the last token."""

    def __init__(self, env: gym.Env, width: int) -> None:
        super().__init__()
        tokens = env.observation_space["tokens"]
        self.token = nn.Embedding(int(tokens.high.max()) + 1, width)
        self.position = nn.Embedding(tokens.shape[0], width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Return states, (..., width), of contexts (..., L); padding lies behind what attention sees."""
        shape = tokens.shape[:-1]
        tokens_BL, length_B = tokens.reshape(-1, tokens.shape[-1]).long(), length.reshape(-1).long()
        longest = int(length_B.max())
        state = self.token(tokens_BL[:, :longest]) + self.position.weight[:longest]
        state = self.layers(state, mask=torch.ones(longest, longest, dtype=torch.bool).triu(1))
        return state[torch.arange(len(state)), length_B - 1].reshape(*shape, -1)


class NumberInfos(gym.Wrapper):
    """Infos as TorchRL's readers take them: numpy numbers, all of them at each reset and step; texts are left out.

    ``correct`` and ``valid`` are False until the end of an episode.
    """

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, and return the numbers of the info."""
        observation, info = self.env.reset(**arguments)
        self.numbers = {"correct": np.False_, "valid": np.False_} | self.select(info)
        return observation, dict(self.numbers)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and return the numbers so far."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.numbers |= self.select(info)
        return observation, reward, terminated, truncated, dict(self.numbers)

    @staticmethod
    def select(info: dict[str, Any]) -> dict[str, Any]:
        """Return the numbers of an info."""
        return {key: np.asarray(value)[()] for key, value in info.items() if isinstance(value, bool | int)}


def make_env(options: Options) -> gym.Env:
    """Return guided addition with a small vocabulary."""
    env = gym.make(
        "g2rpo_env/Addition-v0",
        digits=options.digits,
        vocabulary="0123456789#",
        max_new_tokens=options.digits + 2,  # the mark and the sum
    )
    return g2rpo_env.GuidanceWrapper(env, ratio=1.0, length=9 * options.digits, unit="tokens")


def make_actor_critic(env: gym.Env, width: int) -> ActorValueOperator:
    """Return policy and value on one transformer; the first policy is uniform."""
    head = nn.Linear(width, int(env.action_space.n))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    actor = ProbabilisticActor(
        TensorDictModule(head, ["state"], ["logits"]),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        default_interaction_type=ExplorationType.RANDOM,  # sample; its own default takes the likeliest token
        return_log_prob=True,
    )
    context = TensorDictModule(Context(env, width), ["tokens", "length"], ["state"])
    return ActorValueOperator(context, actor, ValueOperator(nn.Linear(width, 1), in_keys=["state"]))


def train(options: Options) -> tuple[float, float, float]:
    """Train; return the success over the first and the last tenth of the episodes, and the last reveal length."""
    torch.manual_seed(options.seed)
    single = [make_env(options) for _ in range(options.num_envs)]
    makers = [lambda env=env: GymWrapper(env, categorical_action_encoding=True) for env in single]
    envs = SerialEnv(options.num_envs, makers)
    envs.set_seed(options.seed)  # environment i gets a seed of its own
    longest = single[0].longest
    controller = g2rpo_env.TargetSuccess(length=longest, max_length=longest, target=0.5, gain=0.05)
    model = make_actor_critic(single[0], options.width)
    policy, critic = model.get_policy_operator(), model.get_value_operator()
    loss_of = ClipPPOLoss(policy, critic, entropy_coeff=0.02, critic_coeff=0.5, normalize_advantage=True)
    advantage = GAE(gamma=1.0, lmbda=1.0, value_network=critic, deactivate_vmap=True)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=options.learning_rate, eps=1e-5)
    correct: list[bool] = []
    state = envs.reset()
    for update in range(options.updates):
        with torch.no_grad():
            data = envs.rollout(
                options.num_steps, policy, auto_reset=False, break_when_any_done=False, tensordict=state
            )
            state = envs.maybe_reset(envs.step_mdp(data[:, -1]))
            # A spent budget is an end: the answer is graded there, and no value of what might have come is added.
            data["next", "terminated"] = data["next", "done"].clone()
            advantage(data)
        ended = data["next", "done"].squeeze(-1)
        found = (data["next", "reward"].squeeze(-1)[ended] > 0).tolist()  # the reward is 1 for a correct answer
        correct += found
        flat = data.reshape(-1)
        for _ in range(options.epochs):
            for batch in torch.randperm(len(flat)).split(options.minibatch):
                losses = loss_of(flat[batch])
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(loss_of.parameters(), 0.5)
                optimizer.step()
        if found:
            length = controller.update(reward=float(np.mean(found)))
            for env in single:
                env.length = length
        if update % max(1, options.updates // 20) == 0 and found:
            print(
                f"update {update + 1}/{options.updates}: success with guidance {np.mean(found):.2f}, "
                f"reveal {controller.length:.1f}",
                file=sys.stderr,
            )
    tenth = max(1, len(correct) // 10)
    return float(np.mean(correct[:tenth])), float(np.mean(correct[-tenth:])), controller.length


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
