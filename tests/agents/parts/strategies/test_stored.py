"""Stored groups: every one once per turn, nothing counted twice, a place that resumes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from g2rpo_env.agents import GRPO
from g2rpo_env.agents.parts.strategies.stored import Stored
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.controllers.base import Feedback
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError


@pytest.fixture
def groups(make_episode: Any) -> list[Group]:
    """Five groups of two."""
    return [
        Group(tuple(make_episode("pss", group=n, member=m, correct=m == 0, problem_id="1+1") for m in range(2)))
        for n in range(5)
    ]


def draw(store: Stored, envs: Any, times: int) -> list[list[int]]:
    return [[group.group for group in store(None, envs)] for _ in range(times)]


def test_every_group_comes_once_per_turn(make_envs: Any, groups: list[Group]) -> None:
    envs = make_envs(8, 4)
    envs.reset(seed=3)
    store = Stored(size=2)
    store.fill(groups)
    drawn = draw(store, envs, 10)
    assert all(len(numbers) == 2 for numbers in drawn)
    flat = [number for numbers in drawn for number in numbers]
    turns = [flat[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(turn) == list(range(5)) for turn in turns) and len({tuple(turn) for turn in turns}) > 1
    other = Stored(size=9)
    other.fill(groups)
    assert [sorted(numbers) for numbers in draw(other, envs, 2)] == [list(range(5))] * 2


def test_they_count_for_nobody_twice(make_envs: Any, groups: list[Group]) -> None:
    envs = make_envs(8, 4)
    envs.reset(seed=3)
    store = Stored()
    store.fill(groups)
    found = store(None, envs)
    assert found.reused and found.sampled_tokens == 0 and len(Feedback.from_groups(found).correct) == 0


def test_a_store_of_nothing_gives_no_groups_and_no_step(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    agent = GRPO(make_policy(envs), envs, strategy=Stored())
    agent.parts.strategy.fill([])
    metrics = agent.update()
    assert agent.groups.reused and metrics["episodes"] == 0 and metrics["loss"] is None


def test_its_place_resumes(make_envs: Any, groups: list[Group]) -> None:
    envs = make_envs(8, 4)
    envs.reset(seed=3)
    whole, first, second = (Stored(size=2) for _ in range(3))
    for store in (whole, first, second):
        store.fill(groups)
    drawn = draw(whole, envs, 6)
    assert draw(first, envs, 2) == drawn[:2]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert draw(second, envs, 4) == drawn[2:]


def test_an_agent_trains_on_them_and_takes_no_problem(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    policy = make_policy(envs)
    first = GRPO(policy, envs, optimizer=Optimizer(learning_rate=1e-2))
    first.learn(2)
    recipe = Stored(size=2)
    agent = GRPO(policy, envs, strategy=recipe)
    agent.parts.strategy.fill(first.groups)
    metrics = agent.update()
    assert agent.sampled_tokens == metrics["sampled_tokens"] == 0 and metrics["episodes"] == 8
    assert envs.unwrapped.state_dict()["counter"] == 0
    with pytest.raises(ConfigurationError, match="strategy=Stored has no groups"):
        recipe(policy, envs)  # the recipe's own was copied


def test_a_size_below_one_is_named() -> None:
    with pytest.raises(ConfigurationError, match="size=0 must be at least 1"):
        Stored(size=0)
