"""Controllers: whose success counts, and what a rule does without any of its own."""

import math

import numpy as np
import pytest

from g2rpo_env import (
    AdaptiveGuidance,
    Feedback,
    FixedGuidance,
)


def feedback() -> Feedback:
    return Feedback(
        problem_id=np.array(["a", "a", "b", "b"]),
        member=np.array([0, 1, 0, 1]),
        guided=np.array([True, False, True, False]),
        reveal=np.array([5, 0, 5, 0]),
        correct=np.array([True, False, True, True]),
        valid=np.array([True, True, True, False]),
    )


def test_feedback_sources_leave_out_invalid_episodes() -> None:
    assert feedback().reward("all") == pytest.approx(2 / 3)
    assert feedback().reward("guided") == 1.0
    assert feedback().reward("unguided") == 0.0


def test_an_update_without_valid_episodes_changes_nothing() -> None:
    rule = AdaptiveGuidance(length=45)
    rule.update(reward=0.2)
    assert rule.update(reward=math.nan) == 45 and len(rule.history) == 2


def test_plan_is_constant_for_global_rules() -> None:
    assert FixedGuidance(length=7).plan(["a", "b"], [0, 1]).tolist() == [7, 7]
