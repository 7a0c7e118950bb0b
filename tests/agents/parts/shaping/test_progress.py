"""Progress: rewards of groups without a right answer by hand, other groups unchanged, judges that are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.judges import StepMatch
from g2rpo_env.agents.parts.shaping.progress import Progress, scale_progress
from g2rpo_env.agents.recipe import part_from_config, part_to_config
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem

PROBLEM = Problem("58+67", "58+67=", ("8+7+0=15\n", "5+6+1=12\n"), "#125", "125")
HALF_WAY = "8+7+0=15\n5+6+1=11\n#115"


@dataclass(frozen=True)
class Lengths:
    """A judge that says a tenth per character; it needs nothing."""

    def __call__(self, problem: Problem, completions: Any) -> list[float]:
        return [len(completion) / 10 for completion in completions]


@pytest.fixture
def make_group(make_episode: Any) -> Any:
    """(correct, ...) -> a group with a member for each."""
    return lambda *correct: Group(tuple(make_episode("ps", correct=c, member=i) for i, c in enumerate(correct)))


def test_rewards_of_a_group_without_a_right_answer_by_hand(make_group: Any) -> None:
    # 9 of 22 characters: 0.5 / (1 + exp(-10 (9/22 - 0.5))) = 0.1436; 0: 0.5 / (1 + e^5) = 0.0033464; 18 of 22: 0.4801.
    completions = [HALF_WAY, "#125", "8+7+0=15\n5+6+1=12\n#126"]
    found = Progress()(make_group(False, False, False), completion_G=completions, problem=PROBLEM)
    assert found.tolist() == pytest.approx([0.1436, 0.0033464, 0.4801], abs=1e-4)


def test_a_group_with_a_right_answer_is_unchanged_and_the_judge_not_asked(make_group: Any) -> None:
    def judge(problem: Problem, completions: Any) -> Any:
        raise AssertionError("nobody asks")

    group = make_group(False, True, False)
    assert Progress(judge)(group, completion_G=[""] * 3, problem=PROBLEM).tolist() == [0, 1, 0]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6, unique=True), st.floats(0.1, 1e6), st.floats(0, 1))
def test_rewards_rise_with_progress_and_stay_below_the_cap(shares: list[float], beta: float, gamma: float) -> None:
    rewards = scale_progress(np.sort(np.array(shares)), beta, gamma, 0.5)
    assert (np.diff(rewards) >= 0).all() and (rewards >= 0).all() and (rewards <= 0.5).all()
    assert float(scale_progress(np.array([gamma]), beta, gamma, 0.5)[0]) == 0.25


def test_the_order_of_members_does_not_matter(make_group: Any) -> None:
    completions = [HALF_WAY, "#125", "8+7+0=15\n"]
    found = Progress()(make_group(*[False] * 3), completion_G=completions, problem=PROBLEM)
    turned = Progress()(make_group(*[False] * 3), completion_G=completions[::-1], problem=PROBLEM)
    assert turned.tolist() == found[::-1].tolist()


@pytest.mark.parametrize("value", [[0.5], [0.5, math.nan], [0.5, 2.0]])
def test_a_judge_that_says_something_else_is_refused(make_group: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^judge=function must return one number in \[0, 1\] per completion"):
        Progress(lambda problem, completions: value)(make_group(False, False), completion_G=["", ""], problem=PROBLEM)


def test_it_needs_what_its_judge_needs() -> None:
    assert Progress().needs == {"members", "steps"} and Progress(Lengths()).needs == {"members"}


def test_its_judge_is_saved_with_it() -> None:
    config = part_to_config(Progress(beta=5.0))
    assert config is not None and config["options"]["judge"] == {"class": "StepMatch", "options": {}}
    assert part_from_config(config) == Progress(StepMatch(), beta=5.0)


def test_an_agent_learns_from_groups_without_a_right_answer(make_envs: Any, make_policy: Any) -> None:
    # No answer of a random policy is right; the judge of lengths sees their texts and rewards them.
    seen: list[Any] = []

    def judge(problem: Problem, completions: Any) -> list[float]:
        seen.append((problem.problem_id, list(completions)))
        return [(sum(text.encode()) % 7) / 7 for text in completions]

    envs = make_envs(8, 4, verifier=MarkVerifier())
    agent = recipes.make("sgpo", make_policy(envs), envs, shaping=Progress(judge))
    seen.clear()  # it has been tried on made-up answers
    metrics = agent.update()
    assert metrics["reward"] == 0 and metrics["groups_with_signal"] == 1 and metrics["grad_norm"] > 0
    assert [one for one, _ in seen] == [group.problem_id for group in agent.groups]
    assert all(len(texts) == 4 for _, texts in seen)
    expected = [scale_progress(np.array(judge(envs.task.lookup(i).problem, t)), 10, 0.5, 0.5) for i, t in list(seen)]
    assert np.concatenate(agent.last_update.rewards).tolist() == np.concatenate(expected).tolist()


def test_a_judge_that_says_something_else_is_found_before_the_first_rollout(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    for found, words in ((0.5, "returned 0.5"), ([0.5], "returned 1 for 4"), ([float("nan")] * 4, "returned nan")):
        shaping = Progress(lambda problem, texts, found=found: found)  # type: ignore[misc]
        with pytest.raises(ConfigurationError, match=rf"^judge=function must return one number .*{words}.*made-up"):
            recipes.make("sgpo", make_policy(envs), envs, shaping=shaping)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"judge": None}, "judge=None must be an object"),
        ({"beta": 0.0}, "beta=0.0 must be above 0"),
        ({"gamma": 1.1}, r"gamma=1.1 must lie in \[0, 1\]"),
        ({"cap": 0.0}, r"cap=0.0 must lie in \(0, 1\]"),
        ({"cap": math.nan}, "cap=nan"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Progress(**options)
