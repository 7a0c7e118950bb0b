"""list recipes: a row for each, and all that is known of one."""

import pytest

from g2rpo_env.agents.recipes import RECIPES


def test_every_recipe_has_a_row(command):
    status, text, _ = command("list", "recipes")
    assert status == 0 and all(name in text for name in RECIPES)


@pytest.mark.parametrize("name", ["dapo", "g2rpo-a"])
def test_one_recipe_is_shown_with_its_parts_and_their_options(command, name):
    status, text, _ = command("list", "recipes", name)
    assert status == 0
    for word in ("formula", "source", "confidence", "deviations", "ClippedSurrogate", "clip_low=0.2"):
        assert word in text


def test_an_unknown_recipe_is_told_the_nearest_ones(command):
    status, _, error = command("list", "recipes", "dappo")
    assert status == 1 and "did you mean" in error and "'dapo'" in error
