"""Credits by probability: weights of known probabilities, and what keeps its advantage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.agents.parts.credits.probability import ByProbability, Regulated, regulate
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError

DEFAULTS = (2.0, 9.0, 0.25, 1.0, 1.4)


def test_regulated_weights_of_known_probabilities() -> None:
    # 2 (1 / (1 + exp(-9 p)) - 0.25), bounded by 1 and 1.4; at p = 0.2: 2 (0.858149 - 0.25) = 1.216298
    probability = np.array([0.0, 0.122, 0.15, 0.2, 0.25, 0.3, 0.327, 1.0])
    found = regulate(np.log(np.maximum(probability, 1e-30)), *DEFAULTS)
    assert found == pytest.approx([1, 1, 1.088, 1.216, 1.309, 1.374, 1.4, 1.4], abs=5e-4)
    assert found[3] == pytest.approx(1.216298, abs=1e-6)


def test_a_sigmoid_of_pi_by_temperature_would_do_nothing() -> None:
    log_prob = np.log(np.linspace(0.001, 1, 50))
    assert (regulate(log_prob, 2.0, 1 / 9, 0.25, 1.0, 1.4) == 1).all()


@given(st.lists(st.floats(-20, 0), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_regulated_weights_rise_with_probability_and_stay_in_bounds(log_prob: list[float]) -> None:
    weight = regulate(np.sort(np.array(log_prob)), *DEFAULTS)
    assert (np.diff(weight) >= 0).all() and weight.min() >= 1 and weight.max() <= 1.4


@pytest.fixture
def two_groups(make_episode: Any) -> tuple[Groups, list[np.ndarray], list[np.ndarray]]:
    """Groups of two and one, their advantages, and log-probabilities of 0.2 and 0.5 at written tokens."""
    groups = Groups(
        [Group((make_episode("prs"), make_episode("pss", member=1))), Group((make_episode("pse", group=1),))]
    )
    low, half = math.log(0.2), math.log(0.5)
    given = [np.array(row, np.float32) for row in ([0, low, half], [0, half, low], [0, low, 0])]
    return groups, [np.array([1.0, -2.0]), np.array([0.5])], given


def test_regulated_by_hand(two_groups: Any) -> None:
    groups, advantages, given = two_groups
    low = 1.216298
    found = [row.tolist() for row in Regulated()(groups, advantages, old_log_prob_GT=given)]
    assert found[0] == pytest.approx([1, low, 1.4]) and found[1] == pytest.approx([-2, -2.8, -2 * low])
    assert found[2] == pytest.approx([0.5, 0.5 * low, 0.5])  # prompt and environment tokens keep A


def test_by_probability_by_hand(two_groups: Any) -> None:
    # 0.2 pi + 0.8: pi 0.2 -> 0.84, pi 0.5 -> 0.9
    groups, advantages, given = two_groups
    found = [row.tolist() for row in ByProbability()(groups, advantages, old_log_prob_GT=given)]
    assert found[0] == pytest.approx([1, 0.84, 0.9]) and found[1] == pytest.approx([-2, -1.8, -1.68])
    assert found[2] == pytest.approx([0.5, 0.42, 0.5])


def test_the_ends_of_by_probability(make_episode: Any) -> None:
    groups = Groups([Group((make_episode("pss"),))])
    given = [np.array([0, 0.0, -100.0])]
    (found,) = ByProbability()(groups, [np.ones(1)], old_log_prob_GT=given)
    assert found.tolist() == pytest.approx([1, 1, 0.8])


@pytest.mark.parametrize("credit", [Regulated(low=1.0, high=1.0), ByProbability(0.0)])
def test_without_a_tilt_every_token_has_its_advantage_to_the_bit(two_groups: Any, credit: Any) -> None:
    groups, advantages, given = two_groups
    found = credit(groups, advantages, old_log_prob_GT=given)
    assert [row.tolist() for row in found] == [[1.0] * 3, [-2.0] * 3, [0.5] * 3]


@pytest.mark.parametrize("credit", [Regulated(), ByProbability()])
def test_no_groups_have_no_credit(credit: Any) -> None:
    assert credit(Groups(), [], old_log_prob_GT=[]) == [] and credit.requires == {"old_log_probs"}


@pytest.mark.parametrize(
    "kind,options,words",
    [
        (Regulated, {"scale": 0}, "scale=0 must be above 0"),
        (Regulated, {"temperature": -1}, "temperature=-1 must be above 0"),
        (Regulated, {"low": 1.5}, "low=1.5 and high=1.4 must have 0 <= low <= high"),
        (Regulated, {"low": -1}, "low=-1 and high=1.4"),
        (ByProbability, {"share": 1.1}, r"share=1.1 must lie in \[0, 1\]"),
    ],
)
def test_bad_options_are_named(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)
