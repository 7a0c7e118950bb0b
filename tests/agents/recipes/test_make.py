"""Recipes by name: what each is made of, which parts replace its own, where its controller starts."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from g2rpo_env import AdaptiveGuidance, FixedGuidance, OfficialCadence, TargetSuccess
from g2rpo_env.agents import Recipe, recipes
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes import RECIPES, fit_controller
from g2rpo_env.errors import ConfigurationError


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_survives_json(make_agent: Any, weights_of: Any, same_weights: Any, name: str) -> None:
    agent = make_agent(name)
    before = weights_of(agent.policy)
    agent.learn(2)
    assert agent.updates == 2 and not same_weights(before, weights_of(agent.policy))
    assert Recipe.from_config(json.loads(json.dumps(agent.recipe.to_config()))) == agent.recipe


def test_recipes_share_their_optimiser_defaults() -> None:
    assert {recipes.get(name).optimizer for name in RECIPES} == {Optimizer()}


@pytest.mark.parametrize(
    "name,other,differs",
    [
        ("grpo", "guided-grpo", {"controller"}),
        ("grpo", "g2rpo-a-masked", {"controller"}),
        ("g2rpo-a", "g2rpo-a-masked", {"token_weight"}),
        ("grpo", "raft", {"selection", "advantage", "token_weight", "loss"}),
        ("grpo", "reinforce", {"advantage", "token_weight", "loss"}),
    ],
)
def test_recipes_differ_in_nothing_but_what_makes_them(name: str, other: str, differs: set[str]) -> None:
    one, two = recipes.get(name), recipes.get(other)
    assert {f.name for f in dataclasses.fields(Recipe) if getattr(one, f.name) != getattr(two, f.name)} == differs


@pytest.mark.parametrize("typo,meant", [("g2rpo", "g2rpo-a"), ("grop", "grpo"), ("guided_grpo", "guided-grpo")])
def test_an_unknown_recipe_suggests_a_close_one(typo: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"recipe='{typo}'.*did you mean '{meant}'"):
        recipes.get(typo)


def test_an_unknown_recipe_like_no_other_says_where_they_are_listed() -> None:
    with pytest.raises(ConfigurationError, match="recipe='zzz' must be one that `g2rpo-env list recipes` names$"):
        recipes.get("zzz")


def test_a_guided_form_asked_for_by_name_is_told_how_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="its guided form is .*'dapo'.*, and --recipe dapo --guided for train"):
        recipes.get("dapo@guided")
    with pytest.raises(ConfigurationError, match="did you mean 'dapo'"):
        recipes.get("DAPO")


def test_a_recipe_a_function_and_a_name_make_the_same_agent(make_envs: Any, make_policy: Any) -> None:
    made = []
    for one in ("rloo", RECIPES["rloo"], RECIPES["rloo"]()):
        envs = make_envs()
        made.append(recipes.make(one, make_policy(envs), envs).recipe)
    assert made[0] == made[1] == made[2] == recipes.get("rloo")
    with pytest.raises(ConfigurationError, match="name=3 must be a Recipe, a function that returns one, or a name"):
        recipes.make(3, make_policy(envs), envs)  # type: ignore[arg-type]


def test_an_unknown_part_is_refused_with_the_known_ones(make_agent: Any) -> None:
    words = "^'losses' must be a part of a recipe, one of advantage, controller, credit, loss, .*; did you mean 'loss'"
    with pytest.raises(ConfigurationError, match=words):
        make_agent("grpo", losses=ClippedSurrogate())


def test_parts_replace_those_of_the_recipe(make_agent: Any) -> None:
    controller, loss = TargetSuccess(5), ClippedSurrogate(0.1, 0.3)
    recipe = make_agent("g2rpo-a", controller=controller, loss=loss).recipe
    assert recipe.controller is controller and recipe.loss is loss
    assert recipe.token_weight == recipes.get("g2rpo-a").token_weight


@pytest.mark.parametrize(
    "wrapper",
    [
        {"length": 6},
        {"length": 45},
        {"length": 0},
        {"length": 0.5},
        {"length": 2, "unit": "steps"},
        {"length": 0.5, "unit": "fraction"},
        {"length": 1.0, "unit": "fraction"},
        {"length": 0.01, "unit": "fraction"},
    ],
    ids=str,
)
@pytest.mark.parametrize("controller", [AdaptiveGuidance(), OfficialCadence(), TargetSuccess(), FixedGuidance()])
def test_a_fitted_controller_starts_at_the_wrapper_and_stays_within_what_there_is(
    make_envs: Any, wrapper: dict[str, Any], controller: Any
) -> None:
    guidance = make_envs(8, 4, digits=(1, 4), guidance=wrapper)
    longest = guidance.longest
    made = fit_controller(controller, guidance)
    assert made.length == min(wrapper["length"], longest)
    if hasattr(made, "max_length"):
        assert 0 <= made.min_length <= made.length <= made.max_length <= longest
    for reward in [0.5] + [0.0] * 40 + [1.0] * 40:
        guidance.length = made.update(reward=reward)  # never a length that the wrapper would refuse
        assert guidance.length <= longest


def test_the_bound_of_the_controller_itself_holds_where_it_is_the_lower_one(make_envs: Any) -> None:
    guidance = make_envs(8, 4, digits=(1, 4), guidance={"length": 6})
    assert fit_controller(AdaptiveGuidance(max_length=60), guidance).max_length == guidance.longest == 36
    assert fit_controller(AdaptiveGuidance(10, max_length=12), guidance).max_length == 12


def test_a_controller_that_is_given_is_not_fitted(make_agent: Any) -> None:
    assert make_agent("g2rpo-a", controller=AdaptiveGuidance(7, max_length=99)).controller.max_length == 99


def test_an_agent_of_its_own_is_no_recipe_and_told_how_to_be_trained() -> None:
    words = r"recipe='veripo' must be a recipe.*compare --algorithms veripo.*recipes\.veripo\.veripo\(policy, envs\)"
    with pytest.raises(ConfigurationError, match=words):
        recipes.get("veripo")


def test_recipes_that_were_importable_by_function_are_still() -> None:
    assert recipes.get("g2rpo_env.agents.recipes:raft") == recipes.get("raft") == recipes.raft()
    assert recipes.guided_grpo() == recipes.get("guided-grpo") and recipes.g2rpo_a() == recipes.get("g2rpo-a")
