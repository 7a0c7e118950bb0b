"""Recipes without guidance, and those that only use what was revealed: what they learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.controllers.schedules import Replay
from g2rpo_env.episode import Role


@pytest.mark.parametrize("name", ["grpo", "raft"])
def test_other_recipes_do_without_guidance(make_agent: Any, name: str) -> None:
    assert not recipes.get(name).needs_guidance
    assert make_agent(name, guidance=None).controller is None


def raft_weights(group: Any) -> list[float]:
    """1 for correct answers; 0 leaves the others out of the mean too."""
    return [float(e.correct) for e in group.episodes]


def reinforce_weights(group: Any) -> list[float]:
    """Reward less the mean of the group."""
    reward_G = np.array([float(e.correct) for e in group.episodes])
    return (reward_G - reward_G.mean()).tolist()


@pytest.mark.parametrize(
    "name,weigh,drops_wrong", [("raft", raft_weights, True), ("reinforce", reinforce_weights, False)]
)
def test_the_log_likelihood_is_weighed_as_the_recipe_says(
    make_agent: Any, name: str, weigh: Any, drops_wrong: bool
) -> None:
    agent = make_agent(name, guidance=None)
    policy = CausalLMPolicy(agent.policy.model, agent.policy.tokenizer)
    metrics_loss: list[float] = []
    found: dict[str, torch.Tensor] = {}

    def catch(loss: float) -> float:
        metrics_loss.append(loss)
        found.update({n: p.grad.clone() for n, p in policy.model.named_parameters()})
        agent.learner.optimizer.zero_grad(set_to_none=True)
        return 0.0

    agent.learner._apply = catch
    agent.update()
    weighed = [pair for group in agent.groups for pair in zip(group.episodes, weigh(group), strict=True)]
    assert 0 < sum(episode.correct for episode, _ in weighed) < 16
    counted = [(episode, weight) for episode, weight in weighed if episode.correct or not drops_wrong]
    total, count = torch.zeros(()), 0
    for episode, weight in counted:  # one at a time, without padding, weights or parts of the library
        logits = policy.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        log_probs = torch.log_softmax(logits, -1)
        for position in np.flatnonzero(episode.role_T == Role.SAMPLED):
            total = total - weight * log_probs[position - 1, int(episode.tokens_T[position])]
            count += 1
    (total / count).backward()
    assert metrics_loss == pytest.approx([float(total.detach()) / count], rel=1e-5, abs=1e-7)
    for name, parameter in policy.model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-6), name


def test_raft_without_a_correct_sample_takes_no_step(make_envs: Any, make_policy: Any, addition_verifier: Any) -> None:
    envs = make_envs(8, 4, verifier=addition_verifier)
    agent = recipes.make("raft", make_policy(envs), envs)
    assert agent.update()["loss"] is None and not agent.learner.optimizer.state


def revealed(agent: Any) -> list[Any]:
    """Group, member, problem and revealed tokens of the guided episodes of the last update."""
    return [
        (e.group, e.member, e.problem_id, e.tokens_T[e.role_T == Role.REVEALED].tolist())
        for e in agent.groups.episodes
        if e.guided
    ]


def test_sft_on_replayed_lengths_sees_the_tokens_the_guided_run_revealed(make_agent: Any) -> None:
    guided = make_agent("g2rpo-a", digits=(1, 4), seed=5)
    shown: list[Any] = []
    guided.learn(5, lambda agent, _: shown.append(revealed(agent)))
    lengths = (6.0, *(entry["length"] for entry in guided.controller.history))
    assert len(set(lengths)) > 1
    replay = make_agent("sft", digits=(1, 4), seed=5, controller=Replay(lengths=lengths))
    seen: list[Any] = []
    replay.learn(5, lambda agent, _: seen.append(revealed(agent)))
    assert seen == shown and sum(len(rows) for rows in shown) == 5 * 8


def test_sft_trains_on_every_revealed_token_alike(make_agent: Any) -> None:
    # Weights 1 per revealed token: the loss is their mean negative log-likelihood.
    agent = make_agent("sft")
    model = CausalLMPolicy.tiny(agent.envs, hidden_size=32, layers=1)  # the policy before the update
    metrics = agent.update()
    losses = []
    for episode in agent.groups.episodes:
        with torch.no_grad():
            logits = model.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        log_probs = torch.log_softmax(logits, -1).numpy()
        losses += [-log_probs[t - 1, episode.tokens_T[t]] for t in np.flatnonzero(episode.role_T == Role.REVEALED)]
    assert len(losses) == metrics["revealed_tokens"] == 8 * 6
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
