"""Recipes of whole groups: what they are made of, and where they equal known ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import assert_close, catch_gradients, make_set_batch, near_policy

from g2rpo_env.agents import GRPO, recipes
from g2rpo_env.agents.parts.advantages import GroupCentered, Ones
from g2rpo_env.agents.parts.losses import ClippedSurrogate, Discriminative
from g2rpo_env.agents.parts.references import NoReference
from g2rpo_env.agents.parts.selection import AnswerPairs
from g2rpo_env.agents.parts.shaping import ConsistencyBonus, EnvironmentReward, Progress
from g2rpo_env.agents.parts.token_weights import TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.sets import RECIPES
from g2rpo_env.verdict import Outcome, Verdict

FAST = Optimizer(learning_rate=1e-2)


def run(agent: GRPO, updates: int = 2) -> tuple[list[dict[str, Any]], list[torch.Tensor]]:
    """The metrics of some updates and the weights behind them."""
    return [agent.update() for _ in range(updates)], [p.detach().clone() for p in agent.policy.model.parameters()]


def assert_same(one: GRPO, other: GRPO) -> None:
    """Equal metrics and weights, bit for bit."""
    (metrics, weights), (same, too) = run(one), run(other)
    assert metrics == same and metrics[0]["grad_norm"] > 0
    assert all(torch.equal(a, b) for a, b in zip(weights, too, strict=True))


def test_care_without_a_bonus_is_grpo_to_the_bit(make_agent: Any) -> None:
    assert_same(make_agent("care", shaping=ConsistencyBonus(kappa=0.0)), make_agent("grpo"))


class LastCharacter:
    """Right by the sum of the bytes; the last character is the final answer."""

    def __call__(self, problems: Any, completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(Outcome.WRONG if sum(c.encode()) % 2 else Outcome.CORRECT, c[-1:]) for c in completions]


def test_care_with_answers_is_not_grpo(make_envs: Any, make_policy: Any) -> None:
    found = []
    for name in ("care", "grpo"):
        envs = make_envs(16, 4, verifier=LastCharacter())
        found.append(run(recipes.make(name, make_policy(envs), envs, optimizer=FAST))[1])
    assert not all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_sgpo_with_a_right_answer_in_every_group_is_centred_grpo_to_the_bit(make_envs: Any, make_policy: Any) -> None:
    agents = []
    for parts in ({"name": "sgpo"}, {"name": "grpo", "advantage": GroupCentered()}):
        envs = make_envs(16, 8)
        name = parts.pop("name")
        agents.append(recipes.make(name, make_policy(envs), envs, optimizer=FAST, **parts))
    assert_same(*agents)
    assert all(any(e.correct for e in group.episodes) for group in agents[0].groups)


def test_lambda_grpo_at_exponent_zero_is_the_token_mean(make_envs: Any, make_policy: Any, make_episode: Any) -> None:
    found = []
    for name, parts in (("lambda-grpo", {}), ("grpo", {"token_weight": TokenMean()})):
        envs = make_envs(8, 4)
        agent = recipes.make(name, make_policy(envs), envs, optimizer=Optimizer(epochs=2), **parts)
        batch = make_set_batch(make_episode, [1, 0] * 4, [0] * 4 + [1] * 4, advantages=[1, -1, 0.5, -0.5] * 2)
        found.append(catch_gradients(agent, near_policy(agent, batch))[1])
    assert_close(*found, tolerance=2e-6)


def test_the_two_scores_of_disco_have_one_gradient_in_the_first_step(
    make_envs: Any, make_policy: Any, make_episode: Any
) -> None:
    # The gradient of a ratio of 1 is that of its log-probability; without tau no score weighs another.
    found = []
    for name in ("disco-b", "disco-b-ratio"):
        envs = make_envs(8, 4)
        agent = recipes.make(name, make_policy(envs), envs)
        batch = near_policy(agent, make_set_batch(make_episode, [1, 0, 0, 1], [0] * 4), noise=0.0)
        found.append(catch_gradients(agent, batch)[1])
    assert_close(*found)


def test_what_the_recipes_are_made_of() -> None:
    losses = {name: recipes.get(name).loss for name in RECIPES if name.startswith("disco")}
    assert losses == {
        "disco": Discriminative("log-likelihood", 10.0),
        "disco-b": Discriminative("log-likelihood", None),
        "disco-ratio": Discriminative("ratio", 1.0),
        "disco-b-ratio": Discriminative("ratio", None),
    }
    assert recipes.get("dpo").selection == AnswerPairs() and recipes.get("dpo").advantage == Ones()
    assert recipes.get("sgpo").shaping == Progress()
    grpo = recipes.get("grpo")
    assert replace(recipes.get("care"), shaping=EnvironmentReward(), reference=NoReference()) == grpo
    assert replace(recipes.get("lambda-grpo"), loss=ClippedSurrogate()) == replace(grpo, token_weight=TokenMean())


def test_disco_takes_its_first_step_without_a_brake_and_the_next_with_one(make_agent: Any) -> None:
    agent = make_agent("disco", optimizer=Optimizer(learning_rate=1e-2, epochs=3))
    steps: list[dict[str, Any]] = []
    step = agent.learner._step
    agent.learner._step = lambda part: (steps.append(step(part)), steps[-1])[1]
    agent.update()
    assert abs(steps[0]["kl_to_old"]) < 1e-6 and steps[0]["loss"] == pytest.approx(-steps[0]["score_gap"], abs=1e-9)
    assert all(one["kl_to_old"] != 0 for one in steps[1:])
