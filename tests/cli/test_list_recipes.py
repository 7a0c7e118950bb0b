"""list recipes: a row for each, and all that is known of one."""

import pytest

from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.describe import STAGED


def test_every_recipe_has_a_row(command):
    status, text, _ = command("list", "recipes")
    assert status == 0 and all(name in text for name in [*RECIPES, *STAGED])


@pytest.mark.parametrize("name", ["dapo", "g2rpo-a"])
def test_one_recipe_is_shown_with_its_parts_and_their_options(command, name):
    status, text, _ = command("list", "recipes", name)
    assert status == 0
    for word in ("formula", "source", "confidence", "deviations", "ClippedSurrogate", "clip_low=0.2"):
        assert word in text


def test_an_unknown_recipe_is_told_the_nearest_ones(command):
    status, _, error = command("list", "recipes", "dappo")
    assert status == 1 and "did you mean" in error and "'dapo'" in error


def test_an_agent_of_stages_is_shown_with_the_parts_of_each(command):
    status, text, _ = command("list", "recipes", "veripo")
    assert status == 0 and "VerIPO" in text and text.count("Preference") == text.count("Stored ") == 1
    assert "stage 1  20 updates" in text and "stage 3  20 updates, the parts of stage 1" in text
    assert "stage 4  100 updates and on" in text


def test_a_recipe_of_a_module_is_shown_by_its_parts(command):
    status, text, _ = command("list", "recipes", "g2rpo_env.agents.recipes:raft")
    assert status == 0 and "KeepCorrect" in text
