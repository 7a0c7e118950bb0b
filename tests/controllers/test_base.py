"""Feedback from episodes, groups and infos; the arguments that all controllers share."""

import math
from typing import Any

import numpy as np
import pytest

from g2rpo_env import AdaptiveGuidance, Controller, Episode, Feedback, FixedGuidance, Group, Groups, Outcome, Verdict
from g2rpo_env.controllers import Bounded
from g2rpo_env.errors import ConfigurationError


def episode(problem_id: str = "a", member: int = 0, roles: str = "prs", right: bool = True, **more: Any) -> Episode:
    """An episode whose roles are letters: prompt, revealed, sampled."""
    role_T = np.array(["prs".index(letter) for letter in roles], np.int8)
    verdict = Verdict(Outcome.CORRECT if right else Outcome.WRONG)
    arrays = np.zeros(len(roles), np.int32), role_T, np.zeros(len(roles), np.float32)
    return Episode(*arrays, problem_id, 0, member, 0, roles.count("r"), float(right), verdict, **more)


def test_feedback_of_episodes_and_groups() -> None:
    episodes = (
        episode(member=0),
        episode(member=1, roles="ps", right=False),
        episode(member=2, roles="prr"),  # nothing was sampled
        episode(member=3, valid=False),
    )
    one, other = Feedback.from_episodes(episodes), Feedback.from_groups(Groups([Group(episodes)]))
    for feedback in (one, other):
        assert feedback.problem_id.tolist() == ["a"] * 4 and feedback.member.tolist() == [0, 1, 2, 3]
        assert feedback.guided.tolist() == [True, False, True, True] and feedback.reveal.tolist() == [1, 0, 2, 1]
        assert feedback.correct.tolist() == [True, False, True, True]
        assert feedback.valid.tolist() == [True, True, False, False]
    assert np.isnan(Feedback.from_episodes([]).reward())


def test_feedback_of_infos() -> None:
    info = {"problem_id": "1+2", "member": 0, "reveal_length": 3, "correct": True, "valid": True}
    feedback = Feedback.from_infos([info, {**info, "reveal_length": 0, "correct": False}, {**info, "valid": False}])
    assert feedback.guided.tolist() == [True, False, True]
    assert [feedback.reward(source) for source in ("all", "guided", "unguided")] == [0.5, 1.0, 0.0]


def test_the_episodes_of_one_problem() -> None:
    episodes = [episode("a", 0), episode("a", 1, right=False), *(episode("b", member) for member in (2, 3, 4))]
    one = Feedback.from_episodes(episodes).of_problem("b")
    assert one.problem_id.tolist() == ["b"] * 3 and one.member.tolist() == [2, 3, 4] and one.reward() == 1.0


def test_a_controller_takes_either_form_of_success() -> None:
    controller = FixedGuidance(length=3)
    controller.update(Feedback.from_episodes([episode(), episode(member=1, right=False)]))
    controller.update(reward=0.25)
    assert controller.history == [{"reward": 0.5, "length": 3.0}, {"reward": 0.25, "length": 3.0}]
    with pytest.raises(ConfigurationError, match="must be given feedback or reward=, one of the two"):
        controller.update()
    controller.set_trains_revealed(True)  # most rules do not care
    assert controller == FixedGuidance(length=3)


def test_the_base_has_no_rule_and_bounds_are_checked() -> None:
    with pytest.raises(NotImplementedError):
        Controller(length=3).update(reward=0.5)
    with pytest.raises(ConfigurationError, match=r"length=9.0 must lie in \[min_length=1.0, max_length=5\]"):
        Bounded(length=9, max_length=5)


def four_answers() -> Feedback:
    return Feedback(
        problem_id=np.array(["a", "a", "b", "b"]),
        member=np.array([0, 1, 0, 1]),
        guided=np.array([True, False, True, False]),
        reveal=np.array([5, 0, 5, 0]),
        correct=np.array([True, False, True, True]),
        valid=np.array([True, True, True, False]),
    )


def test_feedback_sources_leave_out_invalid_episodes() -> None:
    assert four_answers().reward("all") == pytest.approx(2 / 3)
    assert four_answers().reward("guided") == 1.0
    assert four_answers().reward("unguided") == 0.0


def test_an_update_without_valid_episodes_changes_nothing() -> None:
    rule = AdaptiveGuidance(length=45, max_length=120)
    rule.update(reward=0.2)
    assert rule.update(reward=math.nan) == 45 and len(rule.history) == 2


def test_plan_is_constant_for_global_rules() -> None:
    assert FixedGuidance(length=7).plan(["a", "b"], [0, 1]).tolist() == [7, 7]
