"""Recipes of several stages or other contexts: what they equal, and what they learn."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bandits import make_bandit, measure_success

from g2rpo_env import TokenVectorEnv
from g2rpo_env.agents import GRPO, CausalLMPolicy, given, recipes
from g2rpo_env.agents.parts.advantages import Ones
from g2rpo_env.agents.parts.losses import LogLikelihood
from g2rpo_env.agents.parts.selection import Reached
from g2rpo_env.agents.parts.strategies import Conditioned, Refine, Tree
from g2rpo_env.agents.parts.strategies import tree as tree_module
from g2rpo_env.agents.parts.strategies.conditioned import lay
from g2rpo_env.agents.parts.token_weights import TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.stages import RECIPES
from g2rpo_env.agents.warm_start import WarmStart, warm_start
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.episode import Role
from g2rpo_env.task import Task

FAST = Optimizer(learning_rate=1e-2)


@pytest.fixture
def many_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of all tokens end a step, so that random answers have steps."""
    for module in (tree_module, given):
        monkeypatch.setattr(module, "find_line_ends", lambda tokenizer: np.arange(258) % 4 == 2)


def run(agent: GRPO, updates: int = 2) -> tuple[list[str], list[torch.Tensor]]:
    """The metrics of some updates and the weights behind them."""
    rows = [json.dumps(agent.update()) for _ in range(updates)]
    return rows, [p.detach().clone() for p in agent.policy.model.parameters()]


def assert_same(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    assert all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


# -- identities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [None, {"length": 6, "ratio": 0.5}], ids=["plain", "guided"])
@pytest.mark.parametrize("strategy", [Refine(drafts=0), Tree(iterations=1)], ids=["refine", "tree"])
def test_without_a_further_stage_they_are_grpo_to_the_bit(make_agent: Any, strategy: Any, guidance: Any) -> None:
    name = "igrpo" if isinstance(strategy, Refine) else "grpo"
    assert_same(run(make_agent(name, guidance, strategy=strategy)), run(make_agent("grpo", guidance)))


def test_gac_with_one_level_and_ones_is_maximum_likelihood_of_all_answers(make_agent: Any) -> None:
    one = Conditioned((1.0,))
    gac = make_agent("gac", None, strategy=one, selection=Reached(one), advantage=Ones())
    plain = make_agent("grpo", None, strategy=one, advantage=Ones(), token_weight=TokenMean(), loss=LogLikelihood())
    assert_same(run(gac), run(plain))


def test_the_critic_is_all_that_gac_with_a_critic_adds() -> None:
    one, two = recipes.get("gac"), recipes.get("gac-critic")
    assert replace(one, selection=Reached(critic=True)) == two


def test_the_loss_of_gac_by_hand(make_agent: Any) -> None:
    # -sum (.1 + .9 R) log pi over the sampled tokens behind the reached level, less .1 sum log pi over the tokens of
    # the critic's level, divided by the number of sampled tokens
    agent = make_agent("gac-critic", None)
    before = CausalLMPolicy(agent.policy.model.__class__(agent.policy.model.config), agent.policy.tokenizer)
    before.model.load_state_dict(agent.policy.model.state_dict())
    metrics = agent.update()
    task, levels = agent.envs.unwrapped.task, ([*b"[0]"], [*b"[1]"])
    levels = [task.tokenizer.encode(bytes(level).decode(), add_special_tokens=False) for level in levels]
    total, count = 0.0, 0
    for e in agent.groups.episodes:
        prompt, answer = task.lookup(e.problem_id).prompt_T.tolist(), e.tokens_T[e.sampled_T].tolist()
        level = levels[int(e.correct)]
        for ids, first, weight in (
            ([*prompt, *level, *answer], len(prompt) + 3, 0.1 + 0.9 * e.correct),
            ([*prompt, *answer, *level], len(prompt) + len(answer), 0.1),
        ):
            with torch.no_grad():
                log_probs = torch.log_softmax(before.model(torch.tensor([ids])).logits[0], -1)
            total -= weight * sum(float(log_probs[t - 1, ids[t]]) for t in range(first, len(ids)))
        count += len(answer)
    assert metrics["loss"] == pytest.approx(total / count, rel=1e-5)


@pytest.mark.usefixtures("many_ends")
def test_mcts_dpo_starts_at_log_two_and_trains_the_step_alone(make_agent: Any) -> None:
    agent = make_agent("mcts-dpo", None)
    assert agent.update()["loss"] == pytest.approx(math.log(2), abs=1e-6)  # the policy is the reference
    update = agent.last_update
    assert len(update.selected) > 4
    inner = 0
    for (one, two), reward_G in zip((g.episodes for g in update.selected), update.rewards, strict=True):
        assert len(reward_G) == 2 and reward_G.sum() == pytest.approx(1)
        begin = int(np.argmax(one.sampled_T))
        assert begin == int(np.argmax(two.sampled_T))
        assert one.tokens_T[:begin].tolist() == two.tokens_T[:begin].tolist()
        assert set(one.role_T[begin:].tolist()) == set(two.role_T[begin:].tolist()) == {Role.SAMPLED}
        inner += Role.ENVIRONMENT in one.role_T
    assert inner > 0  # some pairs stand behind a first step, which is read and not trained


@pytest.mark.usefixtures("many_ends")
def test_steps_on_one_set_of_pairs_come_to_prefer_the_better_ones(make_agent: Any) -> None:
    agent = make_agent("mcts-dpo", None, optimizer=Optimizer(learning_rate=3e-3, epochs=1))
    seen = []
    original = agent.learner.fit

    def fit(batch: Any) -> Any:
        seen.extend(original(batch) for _ in range(12))
        return seen[-1]

    agent.learner.fit = fit
    agent.update()
    losses = [metrics["loss"] for metrics in seen]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6) and losses == sorted(losses, reverse=True)
    # the least possible loss is the mean entropy of the doubts, and most pairs have some
    assert losses[-1] < 0.62 and seen[-1]["preferred"] > 0.9


# -- what every recipe of the module does ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_all_that_was_sampled_is_counted(make_agent: Any, name: str) -> None:
    agent = make_agent(name, None)
    metrics = agent.update()
    groups = agent.groups
    assert metrics["sampled_tokens"] == agent.sampled_tokens == groups.sampled_tokens
    assert metrics["episodes"] == {"igrpo": 32, "mcts-dpo": 64}.get(name, 16)
    assert ("reward_drafts" in metrics) == (name == "igrpo")


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Update 1")
def test_with_every_row_at_weight_one_gac_answers_as_the_level_asks(make_policy: Any) -> None:
    agent = make_bandit("gac", make_policy, rate=3e-3, advantage=Ones())
    agent.learn(200)
    level_of = agent.parts.strategy.encode_levels(agent.envs.unwrapped.task)
    success = [measure_success(agent, lambda task, p, one=one: lay(task, p, one)) for one in level_of]
    assert success[0] < 0.25 and success[1] > 0.75


@pytest.mark.long
def test_refinements_and_bare_answers_improve_from_a_base_that_knows_drafts() -> None:
    task = Task(AdditionSource(2), MarkVerifier(), max_new_tokens=24)
    envs = TokenVectorEnv(task, 64, group_size=8, autoreset_mode="DISABLED")
    policy = CausalLMPolicy.tiny(envs, hidden_size=64, layers=2)
    options = WarmStart(success=(0.4, 0.5), samples=256, max_steps=1500)
    assert warm_start(policy, envs, options, context=Refine().warm_context).reached
    agent = recipes.make("igrpo", policy, envs, optimizer=Optimizer(learning_rate=1.5e-4))
    rewards: list[float] = []

    def note(agent: GRPO, metrics: dict[str, Any]) -> None:
        rewards.append(float(np.mean([e.reward for e in agent.groups.episodes])))

    before = agent.evaluate("validation", 256, "sampled", samples=2).accuracy
    agent.learn(120, note)
    after = agent.evaluate("validation", 256, "sampled", samples=2).accuracy
    assert np.mean(rewards[-20:]) > np.mean(rewards[:20]) + 0.05
    assert after > before + 0.05
