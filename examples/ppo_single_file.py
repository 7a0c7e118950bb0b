"""PPO in one file on guided addition, in the style of CleanRL: no agent class, no trainer, only torch and Gymnasium.

A small transformer learns from scratch and from a sparse reward (1 for the right sum, else 0). The actions are a small
vocabulary, the worked column of every sum is revealed, and a controller shortens the reveal once the policy succeeds
with it. All episodes are guided, so what is printed is success *with* the reveal.

**Autoreset.** A vector environment with groups of one restarts lanes with Gymnasium's NEXT_STEP: the step after an end
ignores its action, returns reward 0 and the first observation of the next episode. Such a step is nobody's decision,
so it is left out of the loss; look for ``decided``.

    python examples/ppo_single_file.py         # about a minute on one core; --help shows what can be changed

Array names end in their dimensions: T steps, N lanes, B of both in one, L context length.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import nn

import g2rpo_env


@dataclass
class Options:
    """Options of the command line."""

    digits: int = 1
    """Digits of both numbers."""
    num_envs: int = 64
    """Lanes of the vector environment."""
    num_steps: int = 24
    """Steps per lane and update."""
    updates: int = 35
    """Updates."""
    epochs: int = 4
    """Passes over the data of an update."""
    minibatch: int = 512
    """Decisions per gradient step."""
    learning_rate: float = 2e-3
    """Of Adam."""
    clip: float = 0.2
    """Bound of the change of a decision's probability in an update."""
    entropy: float = 0.02
    """Weight of the entropy bonus."""
    value: float = 0.5
    """Weight of the value loss."""
    gae_lambda: float = 1.0
    """1 takes the final reward alone, 0 only the next value. There is no discount: rewards come once, at the end."""
    width: int = 32
    """Width of the transformer."""
    seed: int = 0
    """Of everything random."""


class ActorCritic(nn.Module):
    """Token embedding, two causal layers, and two heads that read the state of the last token."""

    def __init__(self, envs: gym.vector.VectorEnv, width: int) -> None:
        super().__init__()
        tokens = envs.single_observation_space["tokens"]
        self.token = nn.Embedding(int(tokens.high.max()) + 1, width)
        self.position = nn.Embedding(tokens.shape[0], width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.actor = nn.Linear(width, int(envs.single_action_space.n))
        self.critic = nn.Linear(width, 1)
        nn.init.zeros_(self.actor.weight)  # the first policy is uniform
        nn.init.zeros_(self.actor.bias)

    def forward(
        self, tokens_BL: torch.Tensor, length_B: torch.Tensor
    ) -> tuple[torch.distributions.Categorical, torch.Tensor]:
        """Return the distribution of the next action and the value (B,). Padding lies behind what attention sees."""
        longest = int(length_B.max())
        state = self.token(tokens_BL[:, :longest]) + self.position.weight[:longest]
        state = self.layers(state, mask=torch.ones(longest, longest, dtype=torch.bool).triu(1))
        last = state[torch.arange(len(state)), length_B - 1]
        return torch.distributions.Categorical(logits=self.actor(last)), self.critic(last).squeeze(-1)


def advantages(
    reward_TN: torch.Tensor, value_TN: torch.Tensor, ended_TN: torch.Tensor, last_value_N: torch.Tensor, lam: float
) -> torch.Tensor:
    """Return generalised advantages (T, N); nothing flows back across the end of an episode, truncated or not.

    A spent token budget is an end like any other, because the answer is graded there: no value of what might have
    come is added.
    """
    advantage_TN, advantage_N, next_value_N = torch.zeros_like(reward_TN), torch.zeros_like(last_value_N), last_value_N
    for t in reversed(range(len(reward_TN))):
        goes_on_N = 1 - ended_TN[t].float()
        delta_N = reward_TN[t] + goes_on_N * next_value_N - value_TN[t]
        advantage_N = advantage_TN[t] = delta_N + goes_on_N * lam * advantage_N
        next_value_N = value_TN[t]
    return advantage_TN


def train(options: Options) -> tuple[float, float, float]:
    """Train; return the success over the first and the last tenth of the episodes, and the last reveal length."""
    torch.manual_seed(options.seed)
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0",
        num_envs=options.num_envs,
        digits=options.digits,
        vocabulary="0123456789#",
        max_new_tokens=options.digits + 2,  # the mark and the sum
    )
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=1.0, length=9 * options.digits, unit="tokens")
    longest = envs.longest
    controller = g2rpo_env.TargetSuccess(length=longest, max_length=longest, target=0.5, gain=0.05)
    model = ActorCritic(envs, options.width)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate, eps=1e-5)

    shape = options.num_steps, options.num_envs
    tokens_TNL = torch.zeros(*shape, *envs.single_observation_space["tokens"].shape, dtype=torch.long)
    length_TN, action_TN = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    log_prob_TN, value_TN, reward_TN = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    ended_TN, decided_TN = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)

    correct: list[bool] = []
    observation, _ = envs.reset(seed=options.seed)
    restarts_N = torch.zeros(options.num_envs, dtype=torch.bool)  # lanes whose next step only restarts them
    for update in range(options.updates):
        # -- rollout
        before = len(correct)
        for t in range(options.num_steps):
            tokens_TNL[t] = torch.from_numpy(observation["tokens"])
            length_TN[t] = torch.from_numpy(observation["length"][:, 0])
            with torch.no_grad():
                policy, value_TN[t] = model(tokens_TNL[t], length_TN[t])
                action_TN[t] = policy.sample()
                log_prob_TN[t] = policy.log_prob(action_TN[t])
            observation, reward, terminated, truncated, info = envs.step(action_TN[t].numpy())
            reward_TN[t] = torch.from_numpy(reward)
            decided_TN[t] = ~restarts_N
            ended_TN[t] = restarts_N = torch.from_numpy(terminated | truncated)
            if restarts_N.any():
                correct += info["correct"][info["_correct"]].tolist()
        with torch.no_grad():
            tokens_NL, length_N = (torch.from_numpy(observation[key]).long() for key in ("tokens", "length"))
            _, last_value_N = model(tokens_NL, length_N[:, 0])

        # -- advantages; from here on a batch of the decisions alone
        advantage_TN = advantages(reward_TN, value_TN, ended_TN, last_value_N, options.gae_lambda)
        rows = (tokens_TNL, length_TN, action_TN, log_prob_TN, advantage_TN, advantage_TN + value_TN)
        tokens_BL, length_B, action_B, log_prob_B, advantage_B, return_B = (row[decided_TN] for row in rows)

        # -- clipped surrogate
        for _ in range(options.epochs):
            for batch in torch.randperm(len(action_B)).split(options.minibatch):
                policy, value_b = model(tokens_BL[batch], length_B[batch])
                gain_b = advantage_B[batch]
                gain_b = (gain_b - gain_b.mean()) / (gain_b.std() + 1e-8)
                ratio_b = torch.exp(policy.log_prob(action_B[batch]) - log_prob_B[batch])
                clipped_b = ratio_b.clamp(1 - options.clip, 1 + options.clip)
                policy_loss = -torch.minimum(ratio_b * gain_b, clipped_b * gain_b).mean()
                value_loss = (value_b - return_B[batch]).square().mean()
                loss = policy_loss + options.value * value_loss - options.entropy * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()

        # -- guidance: success in, next reveal length out
        if len(correct) > before:
            envs.length = controller.update(reward=float(np.mean(correct[before:])))
        if update % max(1, options.updates // 20) == 0 and len(correct) > before:
            success = np.mean(correct[before:])
            print(
                f"update {update + 1}/{options.updates}: success with guidance {success:.2f}, reveal {envs.length:.1f}",
                file=sys.stderr,
            )
    tenth = max(1, len(correct) // 10)
    return float(np.mean(correct[:tenth])), float(np.mean(correct[-tenth:])), envs.length


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
