"""Guided recipes: that they need guidance, and what is saved of their controllers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from g2rpo_env.agents import recipes
from g2rpo_env.errors import MissingGuidanceError


def test_the_plain_form_of_a_controller_holds_its_start_and_not_its_progress(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a")
    before = json.dumps(agent.recipe.to_config())
    agent.learn(2)
    assert json.dumps(agent.recipe.to_config()) == before
    assert agent.recipe.to_config()["controller"]["options"]["length"] == 6


@pytest.mark.parametrize("name", ["guided-grpo", "g2rpo-a", "g2rpo-a-masked", "sft"])
def test_a_recipe_that_needs_guidance_says_so_without_it(make_agent: Any, name: str) -> None:
    assert recipes.get(name).needs_guidance
    with pytest.raises(MissingGuidanceError, match="VectorGuidanceWrapper"):
        make_agent(name, guidance=None)
