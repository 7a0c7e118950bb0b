"""Recipes of ratios: what differs, and where they are another one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from gradients import assert_close, catch_gradients

from g2rpo_env.agents import Recipe, recipes
from g2rpo_env.agents.parts.credits import TopEntropyTokens
from g2rpo_env.agents.parts.losses import CappedWeights, ClippedSurrogate, DivergenceMask, SequenceSurrogate
from g2rpo_env.agents.parts.token_weights import TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.ratios import RECIPES

FAST = Optimizer(learning_rate=1e-2)
STEPS = Optimizer(learning_rate=1e-2, minibatch=4)


@pytest.mark.parametrize(
    "name,differs",
    [
        ("bnpo", {"token_weight"}),
        ("cispo", {"loss", "token_weight"}),
        ("sapo", {"loss"}),
        ("gspo", {"loss"}),
        ("luspo", {"loss", "token_weight"}),
        ("vespo", {"loss", "token_weight"}),
        ("gmpo", {"loss"}),
        ("two-sided", {"loss"}),
        ("dppo", {"loss", "token_weight"}),
        ("entropy-tokens", {"credit", "token_weight"}),
    ],
)
def test_a_recipe_differs_from_grpo_in_its_parts_alone(name: str, differs: set[str]) -> None:
    one, plain = recipes.get(name), Recipe()
    assert {f.name for f in dataclasses.fields(Recipe) if getattr(one, f.name) != getattr(plain, f.name)} == differs


def test_every_recipe_of_the_module_is_listed() -> None:
    assert RECIPES.items() <= recipes.RECIPES.items() and len(RECIPES) == 10


@pytest.mark.parametrize("name", ["cispo", "vespo", "dppo", "entropy-tokens", "sapo", "gmpo", "two-sided"])
def test_with_one_step_per_rollout_a_recipe_has_the_gradient_of_its_token_weight_alone(
    make_agent: Any, name: str
) -> None:
    # The sampler and the scorer round otherwise, so ratios are 1 up to that; 0.01 of VESPO's product over ten tokens.
    parts = {"credit": None} if name == "entropy-tokens" else {}
    agent = make_agent(name, guidance=None, optimizer=FAST, **parts)
    plain = make_agent("grpo", guidance=None, optimizer=FAST, token_weight=agent.recipe.token_weight)
    assert_close(catch_gradients(agent)[1], catch_gradients(plain)[1], 1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_several_steps_per_rollout_differ_from_those_of_grpo(
    make_agent: Any, weights_of: Any, same_weights: Any, name: str
) -> None:
    agent = make_agent(name, guidance=None, optimizer=STEPS)
    plain = make_agent("grpo", guidance=None, optimizer=STEPS, token_weight=agent.recipe.token_weight)
    metrics = agent.update(), plain.update()
    same = name == "bnpo" or (name == "two-sided" and metrics[0]["clip_fraction"] == metrics[1]["clip_fraction"])
    assert same_weights(weights_of(agent.policy), weights_of(plain.policy)) == same
    fraction = metrics[0].get("clip_fraction")
    assert fraction is None or 0 <= fraction <= 1


@pytest.mark.parametrize(
    "name,parts,other,parts_of_other",
    [
        ("two-sided", {"loss": ClippedSurrogate(cap=1e9)}, "grpo", {}),
        ("entropy-tokens", {"credit": TopEntropyTokens(1.0)}, "bnpo", {}),
        ("bnpo", {}, "grpo", {"token_weight": TokenMean()}),
        ("dppo", {"loss": DivergenceMask(low=1.0, high=1.0)}, "cispo", {"loss": CappedWeights(high=1e9)}),
    ],
    ids=["two-sided", "entropy-tokens", "bnpo", "dppo"],
)
def test_a_recipe_is_another_one_to_the_bit(
    make_agent: Any,
    weights_of: Any,
    same_weights: Any,
    name: str,
    parts: dict[str, Any],
    other: str,
    parts_of_other: dict[str, Any],
) -> None:
    agents = [make_agent(n, guidance=None, optimizer=STEPS, **p) for n, p in ((name, parts), (other, parts_of_other))]
    metrics = [agent.update() for agent in agents]
    assert metrics[0] == metrics[1]
    assert same_weights(*(weights_of(agent.policy) for agent in agents))


def test_luspo_is_gspo_times_the_length_where_lengths_are_equal(make_agent: Any) -> None:
    found = []
    for name in ("luspo", "gspo"):
        agent = make_agent(name, guidance=None, loss=SequenceSurrogate(0.2, 0.2))
        found.append(catch_gradients(agent))
        assert {int(e.sampled_T.sum()) for e in agent.groups.episodes} == {10}
    assert_close(found[0][1], {name: 10 * g for name, g in found[1][1].items()}, 1e-5)
    assert found[0][0]["loss"] == pytest.approx(10 * found[1][0]["loss"], rel=1e-4, abs=1e-6)


def test_entropy_tokens_trains_a_fifth_of_the_tokens_under_the_denominator_of_bnpo(make_agent: Any) -> None:
    agent, plain = make_agent("entropy-tokens", guidance=None), make_agent("bnpo", guidance=None)
    agent.update()
    plain.update()
    credits, tokens = agent.last_update.credits, 0
    kept = 0
    for episode, credit_T in zip(agent.last_update.selected.episodes, credits, strict=True):
        tokens += int(episode.sampled_T.sum())
        kept += int((credit_T[episode.sampled_T] != 0).sum())
    assert tokens == 160 and 0 < kept <= 32
    weights = [sum(float(w.sum()) for w in a.last_update.weights) for a in (agent, plain)]
    assert weights == [160, 160]
