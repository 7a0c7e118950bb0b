"""Filtered imitation: its cases by hand, RAFT as its limit, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.advantages.groups import Ones
from g2rpo_env.agents.parts.credits.imitation import FilteredImitation, compare_alike, divide_by_success
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError


@pytest.fixture
def groups(make_episode: Any) -> Groups:
    """One group: a right and a wrong plain member, a right and a wrong guided one, a right one with another reveal."""
    rows = [("pss", True), ("pss", False), ("prs", True), ("prs", False), ("prrs", True)]
    return Groups([Group(tuple(make_episode(roles, correct=right) for roles, right in rows))])


def test_by_hand(groups: Groups) -> None:
    # Plain members: R (1, 0), C (.5, -.5); those with one revealed token the same; the one with two has no like: C 0.
    found = FilteredImitation(contrast=0.2)(groups, [np.zeros(5)])
    expected = [[0, 1.1, 1.1], [0, -0.1, -0.1], [0, 1, 1.1], [0, 0, -0.1], [0, 1, 1, 1]]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other)


def test_focus_weighs_by_the_failures_of_plain_members_and_reveal_by_role(groups: Groups) -> None:
    # p = 1/2, w = (1/2)^2 = 1/4; revealed tokens half of that.
    found = FilteredImitation(contrast=0.0, focus=2.0, reveal=0.5)(groups, [np.zeros(5)])
    assert found[0].tolist() == [0, 0.25, 0.25] and found[2].tolist() == [0, 0.125, 0.25]
    assert not found[1].any() and not found[3].any()


@pytest.mark.parametrize(
    "baseline,expected", [("mean", (0.75, -0.25)), ("others", (1.0, -1 / 3)), ("success", (3.0, -1.0))]
)
def test_baselines_by_hand(make_episode: Any, baseline: str, expected: tuple[float, float]) -> None:
    # R (1, 0, 0, 0): mean 1/4; the others of the first have mean 0, those of a wrong one 1/3; divided by 1/4.
    group = Group(tuple(make_episode("ps", correct=n == 0) for n in range(4)))
    found = FilteredImitation(contrast=1.0, baseline=baseline)(Groups([group]), [np.zeros(4)])
    np.testing.assert_allclose([found[0][1], found[1][1]], (1 + expected[0], expected[1]))


def test_members_alone_and_groups_of_failures_are_not_compared() -> None:
    assert not divide_by_success(np.zeros(3)).any()
    assert compare_alike(np.array([1.0, 0.0]), np.array([0, 4]), divide_by_success).tolist() == [0, 0]


def test_without_a_contrast_it_is_raft_with_reveals_but_for_the_denominator(make_envs: Any, make_policy: Any) -> None:
    """Tokens of wrong answers count too, so that the loss is RAFT's times the share of tokens of right ones."""
    imitation = {"credit": FilteredImitation(contrast=0.0), "advantage": Ones(), "loss": LogLikelihood()}
    agents = []
    for name, parts in (("raft", {}), ("grpo", imitation)):
        envs = make_envs(16, 4, guidance={"length": 6, "ratio": 0.5})
        agents.append(recipes.make(name, make_policy(envs), envs, token_weight=TokenMean(revealed=True), **parts))
    one, other = agents
    losses = [agent.update() for agent in agents]
    tokens = [sum(float(w.sum()) for w in agent.last_update.weights) for agent in (one, other)]
    assert 0 < tokens[0] < tokens[1]
    assert losses[1]["loss"] * tokens[1] == pytest.approx(losses[0]["loss"] * tokens[0], rel=1e-5)


@pytest.mark.parametrize(
    "options,words",
    [
        ({"contrast": -1.0}, "contrast=-1.0 must be at least 0"),
        ({"focus": float("nan")}, "focus=nan must be at least 0"),
        ({"reveal": -0.1}, "reveal=-0.1 must be at least 0"),
        ({"baseline": "best"}, "baseline='best' must be one of mean, others, success"),
        ({"contrast": "much"}, "contrast='much' must be a number"),
    ],
)
def test_options_that_break_their_rule_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FilteredImitation(**options)


def test_it_is_saved_as_part_of_a_guided_recipe() -> None:
    recipe = replace(recipes.guided("reinforce", "positive"), credit=FilteredImitation())
    assert recipes.Recipe.from_config(recipe.to_config()) == recipe
