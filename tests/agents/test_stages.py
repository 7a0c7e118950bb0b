"""Stages: what parts return is held to the rules of their slots, and each fault is named with its part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import stages
from g2rpo_env.agents.parts.advantages import GroupCentered, RevealBaseline
from g2rpo_env.agents.parts.token_weights import TokenMean
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError, NonFiniteError


class Nothing:
    """Given, where no part requires anything."""

    def prepare(self, part: Any, groups: Any) -> None:
        """Do nothing."""

    def for_group(self, part: Any, group: Any) -> dict[str, Any]:
        """Return no keywords."""
        return {}

    def for_groups(self, part: Any, groups: Any) -> dict[str, Any]:
        """Return no keywords."""
        return {}

    def for_episodes(self, part: Any, episodes: Any, advantage_N: Any) -> list[dict[str, Any]]:
        """Return no keywords."""
        return [{} for _ in episodes]


GIVEN: Any = Nothing()


def returning(value: Any) -> Any:
    """A part that returns the same whatever it is called with."""

    class Part:
        def __call__(self, *arguments: Any, **given: Any) -> Any:
            return value

    return Part()


@pytest.fixture
def groups(make_episode: Any) -> Groups:
    """A group of two and one of one, with episodes of 3, 4 and 2 tokens."""
    one = make_episode("pss", member=0), make_episode("prss", member=1, correct=False)
    return Groups([Group(one), Group((make_episode("ps", group=1),))])


REWARDS = [np.array([1.0, 0.0]), np.array([1.0])]
NAN = np.array([np.nan, 0.0])


def test_what_is_right_goes_through(groups: Groups) -> None:
    assert [r.tolist() for r in stages.compute_rewards(lambda g: g.reward_G, groups, GIVEN)] == [[1, 0], [1]]
    lists = stages.compute_rewards(lambda g: g.reward_G.tolist(), groups, GIVEN)
    assert [(r.dtype, r.tolist()) for r in lists] == [(np.float64, [1, 0]), (np.float64, [1])]
    selected, rewards = stages.select(lambda g, r: (Groups(g[:1]), r[:1]), groups, REWARDS, GIVEN)
    assert len(selected) == len(rewards) == 1
    assert [a.tolist() for a in stages.compute_advantages(GroupCentered(), groups, REWARDS)] == [[0.5, -0.5], [0]]
    assert len(stages.compute_advantages(RevealBaseline(), groups, REWARDS)) == 2
    weights = stages.compute_weights(TokenMean(), groups, REWARDS, GIVEN)
    assert [w.tolist() for w in weights] == [[0, 1, 1], [0, 0, 1, 1], [0, 1]]
    credits = stages.compute_credits(
        lambda g, a: [np.ones(len(e.tokens_T)) for e in g.episodes], groups, REWARDS, GIVEN
    )
    assert credits is not None and [len(c) for c in credits] == [3, 4, 2]
    assert stages.compute_credits(None, groups, REWARDS, GIVEN) is None
    assert stages.count_weights(TokenMean(), groups.episodes, weights) is None


@pytest.mark.parametrize("value", [None, 1.0, np.ones(3), ["a", "b"], np.ones((2, 1)), np.array([None, None])])
def test_rewards_are_one_number_per_member(groups: Groups, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"shaping=Part returned .* must give one reward per member, \(2,\)"):
        stages.compute_rewards(returning(value), groups, GIVEN)


def test_a_reward_that_is_not_finite_names_its_episode_and_part(groups: Groups) -> None:
    with pytest.raises(NonFiniteError, match="reward=nan of problem '1[+]1', group 0, member 0 must be .*shaping=Part"):
        stages.compute_rewards(returning(NAN), groups, GIVEN)


@pytest.mark.parametrize(
    "value", [None, [], (1, 2), ([], []), (Groups(), REWARDS), "ab", (Groups(), REWARDS, 3), (Groups(), None)]
)
def test_a_selection_returns_groups_and_a_reward_for_each_episode(groups: Groups, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="selection=Part must return .*; it returned"):
        stages.select(returning(value), groups, REWARDS, GIVEN)


def test_rewards_of_other_groups_are_no_selection(groups: Groups) -> None:
    with pytest.raises(ConfigurationError, match=r"selection=Part .*an array of shape \(1,\) and float64 where \(2,\)"):
        stages.select(returning((groups, REWARDS[::-1])), groups, REWARDS, GIVEN)


@pytest.mark.parametrize("value", [None, 0.5, np.ones(3), np.ones((2, 2)), NAN, "ab", np.array(["a", "b"])])
def test_an_advantage_is_one_finite_number_per_reward(groups: Groups, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="advantage=Part must return one finite number per reward.*; "):
        stages.compute_advantages(returning(value), groups, REWARDS)


@pytest.mark.parametrize("value", [None, np.ones(2), [np.ones(3)] * 3, [np.ones(3), np.ones(4)], [NAN] * 3])
def test_a_credit_is_one_array_per_episode(groups: Groups, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="credit=Part must give one array per episode"):
        stages.compute_credits(returning(value), groups, REWARDS, GIVEN)


@pytest.mark.parametrize("value", [None, 1.0, np.ones(2), NAN[:1], torch.ones(2), -np.ones(3)])
def test_a_weight_is_one_number_of_at_least_0_per_token(groups: Groups, value: Any) -> None:
    one = Groups([Group(groups[0].episodes[:1])])
    with pytest.raises(
        ConfigurationError, match="token_weight=Part must return one finite weight >= 0 per token.*; it"
    ):
        stages.compute_weights(returning(value), one, [np.ones(1)], GIVEN)


@pytest.mark.parametrize("value", [None, np.ones(2), np.nan, -1.0, "a"])
def test_a_count_is_a_number(groups: Groups, value: Any) -> None:
    part = returning(np.ones(3))
    part.count = lambda weight_T: value
    with pytest.raises(ConfigurationError, match="token_weight=Part: count must return a finite number >= 0"):
        stages.count_weights(part, groups[0].episodes[:1], [np.ones(3)])
