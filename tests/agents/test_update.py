"""Update: the record says what was collected, selected and computed, and nothing can be changed in it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.selection import DropUniform, SplitGuided
from g2rpo_env.agents.parts.shaping import TruncationPenalty
from g2rpo_env.agents.parts.token_weights import SequenceMean
from g2rpo_env.episode import Groups

GUIDED = {"length": 6, "ratio": 0.5}


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    def make(name: str = "grpo", guidance: Any = None, **parts: Any) -> Any:
        envs = make_envs(16, 4, guidance=guidance)
        return recipes.make(name, make_policy(envs), envs, **parts)

    return make


def test_there_is_no_record_before_the_first_update(make_agent: Any) -> None:
    agent = make_agent()
    assert agent.last_update is None and list(agent.groups) == []


def test_the_record_holds_what_the_parts_computed(make_agent: Any) -> None:
    agent = make_agent(shaping=TruncationPenalty(0.25), selection=DropUniform())
    metrics = agent.update()
    update, recipe = agent.last_update, agent.recipe
    assert update.number == 1 and update.metrics == metrics and agent.groups is update.groups
    assert 0 < len(update.selected) <= len(update.groups) == 4
    for group, reward_G, advantage_G in zip(update.selected, update.rewards, update.advantages, strict=True):
        assert reward_G.tolist() == recipe.shaping(group).tolist()
        assert advantage_G.tolist() == recipe.advantage(reward_G).tolist()
    rows = list(update.examples())
    assert [row.episode for row in rows] == update.selected.episodes
    for row in rows:
        assert row.weight_T.tolist() == SequenceMean()(row.episode).tolist()
        assert (row.credit_T == row.advantage).all() and row.credit_T.shape == row.episode.tokens_T.shape
    dropped = [e for e in update.groups.episodes if not any(e is s for s in update.selected.episodes)]
    assert all(update.find_examples(episode) == [] for episode in dropped)


@pytest.mark.parametrize("which", ["positive", "entropy"])
def test_weights_that_require_something_are_in_the_record(make_agent: Any, which: str) -> None:
    agent = make_agent("g2rpo-a", GUIDED, token_weight=SequenceMean(revealed=True, which=which))
    agent.update()
    for row in agent.last_update.examples():
        revealed = (row.weight_T > 0) & (row.episode.role_T == 1)
        if which == "positive":
            assert revealed.any() == (row.advantage > 0 and row.episode.guided)
        else:
            assert revealed.sum() == np.ceil(0.2 * row.episode.reveal - 1e-9)


def test_an_episode_of_a_split_group_is_found(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED, selection=SplitGuided())
    agent.update()
    assert len(agent.last_update.selected) == 8
    assert all(agent.last_update.find_examples(e)[0].episode is e for e in agent.groups.episodes)


def test_an_episode_may_be_learnt_from_more_than_once(make_agent: Any) -> None:
    class Twice:
        def __call__(self, groups: Any, reward_PG: Any) -> Any:
            return Groups([*groups, groups[0]]), [*reward_PG, reward_PG[0]]

    agent = make_agent(selection=Twice())
    agent.update()
    first, other = agent.groups[0].episodes[0], agent.groups[1].episodes[0]
    assert [e.episode is first for e in agent.last_update.find_examples(first)] == [True, True]
    assert len(agent.last_update.find_examples(other)) == 1


def test_what_a_callback_does_to_the_metrics_is_not_in_the_record(make_agent: Any) -> None:
    agent = make_agent()
    agent.update().clear()
    assert agent.last_update.metrics["update"] == 1


def test_the_record_is_frozen_and_each_update_has_its_own(make_agent: Any) -> None:
    agent = make_agent()
    agent.update()
    first = agent.last_update
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.metrics = {}
    agent.update()
    assert agent.last_update is not first and (first.number, agent.last_update.number) == (1, 2)
