"""Recipes of tokens: what differs, and where they are GRPO to the bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.parts.advantages import GroupNormalized
from g2rpo_env.agents.parts.credits import ByProbability, HiddenReward, Regulated
from g2rpo_env.agents.parts.losses import TracedSurrogate
from g2rpo_env.agents.parts.selection import KeepAll
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.tokens import RECIPES

STEPS = Optimizer(learning_rate=1e-2, minibatch=4)


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, parts) -> an agent on 16 lanes whose random policy is surer of some tokens than of others."""

    def make(name: str, **parts: Any) -> GRPO:
        envs = make_envs(16, 4)
        return recipes.make(name, make_policy(envs, scale=6.0), envs, **{"optimizer": STEPS, **parts})

    return make


@pytest.mark.parametrize(
    "name,differs",
    [
        ("tr-grpo", {"credit"}),
        ("ar-grpo", {"credit"}),
        ("thr", {"credit", "selection"}),
        ("nthr", {"credit"}),
        ("grpo-lambda", {"advantage", "loss"}),
        ("grpo-lambda-both", {"advantage", "loss"}),
    ],
)
def test_a_recipe_differs_from_grpo_in_its_parts_alone(name: str, differs: set[str]) -> None:
    one, plain = recipes.get(name), Recipe()
    assert {f.name for f in dataclasses.fields(Recipe) if getattr(one, f.name) != getattr(plain, f.name)} == differs


def test_every_recipe_of_the_module_is_listed() -> None:
    assert RECIPES.keys() <= recipes.RECIPES.keys()
    one, two = recipes.get("grpo-lambda"), recipes.get("grpo-lambda-both")
    assert one.loss == TracedSurrogate(0.2, 0.2, 0.99) and two.loss == dataclasses.replace(one.loss, both=True)


@pytest.mark.parametrize(
    "name,parts",
    [
        ("tr-grpo", {"credit": Regulated(low=1.0, high=1.0)}),
        ("ar-grpo", {"credit": ByProbability(0.0)}),
        ("thr", {"credit": HiddenReward(0.0, threshold=None), "selection": KeepAll()}),
        ("grpo-lambda", {"advantage": GroupNormalized(), "loss": TracedSurrogate(decay=0.0)}),
    ],
)
def test_a_recipe_is_grpo_to_the_bit_without_what_makes_it(
    make_agent: Any, weights_of: Any, same_weights: Any, name: str, parts: dict[str, Any]
) -> None:
    agents = [make_agent(n, **p) for n, p in ((name, parts), ("grpo", {}))]
    for _ in range(2):
        assert agents[0].update() == agents[1].update()
    assert same_weights(*(weights_of(agent.policy) for agent in agents))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_not_grpo_as_it_is(make_agent: Any, weights_of: Any, same_weights: Any, name: str) -> None:
    agents = [make_agent(n) for n in (name, "grpo")]
    for agent in agents:
        agent.update()
    assert not same_weights(*(weights_of(agent.policy) for agent in agents))


@pytest.mark.parametrize(
    "name,low,high", [("tr-grpo", 1.0, 1.4), ("ar-grpo", 0.8, 1.0), ("thr", 0.0, 1.1), ("nthr", 0.0, 1.0)]
)
def test_factors_of_tokens_lie_in_their_range_under_the_denominator_of_grpo(
    make_agent: Any, name: str, low: float, high: float
) -> None:
    agent = make_agent(name)
    agent.update()
    seen = agent.last_update
    advantages, factors = np.concatenate(seen.advantages), []
    for episode, advantage, credit_T in zip(seen.selected.episodes, advantages, seen.credits, strict=True):
        if advantage != 0:
            factors += (credit_T[episode.sampled_T] / advantage).tolist()
    assert len(factors) > 0 and min(factors) >= low - 1e-9 and max(factors) <= high + 1e-9
    assert len({round(f, 6) for f in factors}) > 1
    assert sum(float(w.sum()) for w in seen.weights) == pytest.approx(len(seen.selected.episodes))


def test_advantages_of_grpo_lambda_are_bounded_from_below(make_agent: Any) -> None:
    agent = make_agent("grpo-lambda")
    agent.update()
    found = np.concatenate(agent.last_update.advantages)
    assert found.min() == -0.1 and found.max() > 0.4
