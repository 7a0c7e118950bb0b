"""G²RPO-A once more, in one file: no agent class, no recipes, only torch, a transformers model and the environments.

Read it from top to bottom to see what ``recipes.make("g2rpo-a", ...)`` does; its update is the same, number by number
(``tests/examples/test_grpo_flat.py`` compares them). Left out: KV cache, several epochs, verifier failures, saving.

    python examples/grpo_flat.py              # about a minute on one CPU core; --help shows what can be changed
    python examples/grpo_flat.py --ratio 0    # plain GRPO

Array names end in their dimensions: N lanes (= P problems x G members), L context length, T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from transformers import Qwen3Config, Qwen3ForCausalLM

import g2rpo_env
from g2rpo_env.streams import stream


@dataclass
class Options:
    """Options of the command line."""

    digits: int = 2
    """Digits of both numbers."""
    problems: int = 8
    """Problems per update."""
    group_size: int = 8
    """Answers per problem."""
    ratio: float = 0.25
    """Share of each group that starts from revealed tokens."""
    reveal: float = 12.0
    """Reveal length of the first update, in tokens; then the controller decides."""
    base_steps: int = 130
    """Supervised steps before: a policy that never succeeds could not learn from rewards."""
    updates: int = 30
    """Updates."""
    learning_rate: float = 1e-4
    """Of AdamW."""
    seed: int = 0
    """Of everything random."""


def make_model(envs: g2rpo_env.VectorGuidanceWrapper, seed: int) -> Qwen3ForCausalLM:
    """Return a causal language model of 0.36 M parameters with random weights."""
    torch.manual_seed(seed)
    size = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "tie_word_embeddings": True}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 24, "max_position_embeddings": 512}
    config = Qwen3Config(vocab_size=envs.unwrapped.task.vocab_size, **size, **heads)
    return Qwen3ForCausalLM(config).eval()  # no dropout: sampling and training must see one and the same function


def token_log_probs(model: Any, tokens_NT: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each token given those before it, (N, T); 0 for the first.

    Contexts are padded on the right: a causal model never looks there, so no attention mask is needed.
    """
    log_probs_NTV = model(input_ids=tokens_NT).logits[:, :-1].log_softmax(-1)
    picked_NT = log_probs_NTV.gather(-1, tokens_NT[:, 1:, None]).squeeze(-1)
    return torch.nn.functional.pad(picked_NT, (1, 0))


@dataclass
class Rollout:
    """One finished episode per lane."""

    tokens_NT: torch.Tensor
    role_NT: torch.Tensor  # 0 prompt, 1 revealed, 2 sampled, -1 beyond the end
    log_prob_NT: torch.Tensor  # as recorded while sampling, 0 elsewhere
    group_N: np.ndarray  # the same number for all members of a group
    reward_N: np.ndarray
    correct_N: np.ndarray


@torch.no_grad()
def rollout(model: Any, envs: gym.vector.VectorEnv, seed: int | None = None, greedy: bool = False) -> Rollout:
    """Reset all lanes, sample every episode to its end."""
    observation, start = envs.reset(seed=seed)
    base = envs.unwrapped
    keys = zip(start["group"], start["member"], strict=True)
    # One stream of random numbers per episode: what is sampled does not depend on the lane.
    uniform_NT = np.stack([stream(base.root_seed, "sample", int(g), int(m)).random(200) for g, m in keys])
    log_prob_NL = np.zeros(observation["tokens"].shape, np.float32)
    actions = np.zeros(base.num_envs, np.int64)
    reward, correct = np.zeros(base.num_envs), np.zeros(base.num_envs, bool)
    step = 0
    while base.active.any():
        lanes = np.flatnonzero(base.active)
        length = observation["length"][lanes, 0]
        context = torch.from_numpy(observation["tokens"][lanes, : length.max()]).long()
        log_probs_V = model(input_ids=context).logits[range(len(lanes)), length - 1].log_softmax(-1)
        if greedy:
            chosen = log_probs_V.argmax(-1)
        else:  # the token where the distribution function exceeds u
            cumulative = log_probs_V.exp().double().cumsum(-1)
            u = torch.from_numpy(uniform_NT[lanes, step])[:, None] * cumulative[:, -1:]
            chosen = torch.searchsorted(cumulative, u, right=True)[:, 0].clamp(max=base.task.vocab_size - 1)
        actions[lanes] = chosen
        log_prob_NL[lanes, length] = log_probs_V.gather(1, chosen[:, None])[:, 0]
        observation, step_reward, terminated, truncated, info = envs.step(actions)
        ended = terminated | truncated  # True on exactly one step of each episode; then its lane waits
        reward[ended] = step_reward[ended]
        if ended.any():
            correct[ended] = info["correct"][ended]
        step += 1
    end = int(observation["length"].max())
    role = np.where(np.arange(end) < observation["length"], base.roles[:, :end], -1)
    tokens_NT = torch.from_numpy(observation["tokens"][:, :end]).long()
    log_prob_NT = torch.from_numpy(log_prob_NL[:, :end])
    return Rollout(tokens_NT, torch.from_numpy(role), log_prob_NT, start["group"], reward, correct)


def advantages(reward_N: np.ndarray, group_N: np.ndarray) -> np.ndarray:
    """GRPO: the reward relative to the other answers to the same problem, in units of their spread."""
    advantage_N = np.zeros(len(reward_N))
    for group in np.unique(group_N):
        members = group_N == group
        reward_G = reward_N[members]
        advantage_N[members] = (reward_G - reward_G.mean()) / (reward_G.std(ddof=1) + 1e-4)
    return advantage_N


def loss(log_prob_NT: torch.Tensor, data: Rollout, advantage_N: torch.Tensor) -> torch.Tensor:
    """Return the clipped surrogate; revealed tokens count like sampled ones, every episode weighs the same."""
    sampled, revealed = data.role_NT == 2, data.role_NT == 1
    # Nobody sampled the revealed tokens: their old probability is the present one, so their ratio is 1.
    old_NT = torch.where(sampled, data.log_prob_NT, log_prob_NT.detach())
    ratio_NT = torch.exp(log_prob_NT - old_NT)
    gain_NT = torch.minimum(ratio_NT * advantage_N[:, None], ratio_NT.clamp(0.8, 1.2) * advantage_N[:, None])
    mask_NT = (sampled | revealed).float()  # the prompt is never in the loss
    weight_NT = mask_NT / mask_NT.sum(-1, keepdim=True)
    return -(weight_NT * gain_NT).sum() / len(advantage_N)


def update(
    model: Any,
    optimizer: Any,
    envs: g2rpo_env.VectorGuidanceWrapper,
    controller: g2rpo_env.Controller,
    seed: int | None = None,
) -> dict[str, float]:
    """Do one update: sample, compare, take one gradient step, let the controller set the next reveal length."""
    metrics = {"reveal": envs.length}
    data = rollout(model, envs, seed)
    advantage_N = torch.from_numpy(advantages(data.reward_N, data.group_N)).float()
    if advantage_N.any():  # where all answers to each problem are equally good there is nothing to learn
        loss(token_log_probs(model, data.tokens_NT), data, advantage_N).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    envs.length = controller.update(reward=data.correct_N.mean())
    guided_N = (data.role_NT == 1).any(-1).numpy()
    return {**metrics, "success": data.correct_N.mean(), "unguided": data.correct_N[~guided_N].mean()}


def supervised(model: Any, task: Any, steps: int, seed: int) -> None:
    """Train on some ground-truth solutions, the weak base that reinforcement learning starts from."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    task = task.with_split("warmstart")
    for step in range(steps):
        problems = [task.encode(task.source.get(task.source.draw(seed, 64 * step + i))) for i in range(64)]
        rows = [np.concatenate([p.prompt_T, p.solution_T, [task.eos_token_id]]) for p in problems]
        tokens_NT = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(row).long() for row in rows], True)
        mask_NT = torch.zeros(tokens_NT.shape)
        for mask_T, problem, row in zip(mask_NT, problems, rows, strict=True):
            mask_T[len(problem.prompt_T) : len(row)] = 1
        (-(token_log_probs(model, tokens_NT) * mask_NT).sum() / mask_NT.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def accuracy(model: Any, digits: int) -> float:
    """Return the share of 256 unguided test problems that the policy answers right when it is greedy."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", 256, digits=digits, split="test", autoreset_mode="DISABLED")
    return float(rollout(model, envs, seed=0, greedy=True).correct_N.mean())


def main(options: Options) -> None:
    """Train and print a line per update."""
    lanes = options.problems * options.group_size
    envs = gym.make_vec("g2rpo_env/Addition-v0", lanes, group_size=options.group_size, digits=options.digits)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=options.ratio, length=options.reveal, unit="tokens")
    controller = g2rpo_env.AdaptiveGuidance(length=min(options.reveal, envs.longest), max_length=envs.longest)
    model = make_model(envs, options.seed)
    supervised(model, envs.unwrapped.task, options.base_steps, options.seed)
    print(f"base: greedy accuracy {accuracy(model, options.digits):.2f} on unguided test problems", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.0)
    for number in range(options.updates):
        metrics = update(model, optimizer, envs, controller, seed=options.seed if number == 0 else None)
        values = "  ".join(f"{name} {value:6.2f}" for name, value in metrics.items())
        print(f"update {number + 1:3d}  {values}", flush=True)
    print(f"after {options.updates} updates: greedy accuracy {accuracy(model, options.digits):.2f}")


if __name__ == "__main__":
    main(tyro.cli(Options))
