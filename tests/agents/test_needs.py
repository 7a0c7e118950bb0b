"""Needs: a lack is named with argument, value and rule before the first rollout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from g2rpo_env import AdaptiveGuidance, FixedGuidance
from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.needs import NEEDS, check_controller, check_needs
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Needy:
    """A shaping that needs something of the environment."""

    needs: frozenset[str] = frozenset()

    def __call__(self, group: Group) -> np.ndarray:
        return np.array([e.reward for e in group.episodes])


class ByDegrees:
    """Every answer gets half of the reward."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(Outcome.WRONG, score=0.5) for _ in completions]


def without_steps(envs: Any) -> Any:
    """Return the environment with problems whose solution is one final text."""
    get = envs.task.source.get
    envs.task.source.get = lambda name: replace(get(name), steps=())
    return envs


def test_the_addition_task_has_all_that_parts_may_need(make_envs: Any, addition_verifier: MarkVerifier) -> None:
    check_needs(Recipe(shaping=Needy(frozenset(NEEDS))), make_envs(verifier=addition_verifier))


def test_a_part_without_needs_asks_nothing(make_envs: Any) -> None:
    check_needs(Recipe(), make_envs(4, 1))


@pytest.mark.parametrize(
    "need,words",
    [
        ("members", "group_size=1: groups must have two members or more"),
        ("steps", r"steps=\(\) of problem '.*': solutions must come in steps"),
        ("answers", "answer=None in the solution of problem '.*': verdicts must name the final answer"),
        ("binary", "score=0.5 of an empty answer to problem '.*': rewards must be 0 or 1"),
    ],
)
def test_a_lack_is_named_with_its_value_and_its_rule(make_envs: Any, need: str, words: str) -> None:
    envs = without_steps(make_envs(4, 1, verifier=ByDegrees()))
    with pytest.raises(ConfigurationError, match=f"^{words}.*; shaping=Needy needs it$"):
        check_needs(Recipe(shaping=Needy(frozenset({need}))), envs)


def test_an_unknown_need_is_named_with_the_nearest_one(make_envs: Any) -> None:
    words = "needs='member' of shaping=Needy must be one of members, steps, answers, binary; did you mean 'members'?"
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        check_needs(Recipe(shaping=Needy(frozenset({"member"}))), make_envs())


def test_an_agent_looks_before_its_first_rollout(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, 1)
    with pytest.raises(ConfigurationError, match="group_size=1"):
        GRPO(make_policy(envs), envs, recipe=replace(recipes.get("raft"), shaping=Needy(frozenset({"members"}))))


def test_a_controller_that_follows_success_needs_answers_that_could_succeed() -> None:
    sft = recipes.get("sft")
    check_controller(sft)
    check_controller(replace(sft, controller=FixedGuidance(3)))
    with pytest.raises(ConfigurationError, match="controller=AdaptiveGuidance follows success, and strategy=Reveal"):
        check_controller(replace(sft, controller=AdaptiveGuidance(3)))
