"""Advantages: hand-computed groups, and the groups that must give no signal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents.parts.advantages.groups import (
    Clamped,
    GroupCentered,
    GroupNormalized,
    Leaning,
    LeaveOneOut,
    MeanNormalized,
    Ones,
    Raw,
)
from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError

REWARDS = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array)


def test_normalised_advantages_by_hand() -> None:
    # R = (1, 0, 0, 0): mean 1/4, unbiased variance (9/16 + 3/16) / 3 = 1/4, std 1/2.
    # A = (3/4, -1/4, -1/4, -1/4) / (1/2 + 1e-4)
    expected = np.array([0.75, -0.25, -0.25, -0.25]) / 0.5001
    assert GroupNormalized()(np.array([1.0, 0, 0, 0])) == pytest.approx(expected, rel=1e-12)


def test_eps_is_added_to_the_standard_deviation() -> None:
    # R = (1, 0): mean 1/2, unbiased variance (1/4 + 1/4) / 1 = 1/2
    assert GroupNormalized(eps=1.0)(np.array([1.0, 0.0])) == pytest.approx(np.array([0.5, -0.5]) / (0.5**0.5 + 1))


def test_centred_advantages_by_hand() -> None:
    assert GroupCentered()(np.array([1.0, 0, 0, 0])).tolist() == [0.75, -0.25, -0.25, -0.25]


RELATIVE = [GroupNormalized(), GroupCentered(), LeaveOneOut()]


@pytest.mark.parametrize("advantage", [*RELATIVE, MeanNormalized()])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 0.7, -1 / 3])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 10])
def test_equal_rewards_give_exactly_zero(advantage: object, reward: float, size: int) -> None:
    reward = abs(reward) if advantage == MeanNormalized() else reward
    # Exactly: the mean of three times 0.1 is not 0.1, and Adam would turn a rest of 1e-17 into a step.
    assert advantage(np.full(size, reward)).tolist() == [0.0] * size  # type: ignore[operator]


@pytest.mark.parametrize("advantage", [*RELATIVE, MeanNormalized()])
def test_advantages_sum_to_zero_and_keep_the_order_of_rewards(advantage: object) -> None:
    rewards = np.random.default_rng(0).random(16)
    values = advantage(rewards)  # type: ignore[operator]
    assert values.sum() == pytest.approx(0, abs=1e-9)
    assert np.array_equal(np.argsort(values), np.argsort(rewards))


def test_normalised_advantages_ignore_scale_and_offset_of_rewards() -> None:
    rewards = np.random.default_rng(1).random(8)
    small, large = GroupNormalized(eps=0.0)(rewards), GroupNormalized(eps=0.0)(100 * rewards - 7)
    assert small == pytest.approx(large)


def test_ones_ignores_the_rewards() -> None:
    assert Ones()(np.array([0.0, 5.0])).tolist() == [1.0, 1.0]


def test_raw_advantages_are_a_copy_of_the_rewards() -> None:
    rewards = np.array([1.0, -1.0, 0.25])
    found = Raw()(rewards)
    assert found.tolist() == [1, -1, 0.25] and not np.shares_memory(found, rewards)


@pytest.mark.parametrize(
    "rewards,expected",
    [
        ([1, 0, 0, 1], [2 / 3, -2 / 3, -2 / 3, 2 / 3]),  # others of the first: 0, 0, 1; of the second: 1, 0, 1
        ([1, 0], [1, -1]),
        ([1], [0]),  # nobody else
    ],
)
def test_leave_one_out_by_hand(rewards: list[float], expected: list[float]) -> None:
    assert LeaveOneOut()(np.array(rewards, float)) == pytest.approx(expected, rel=1e-12)


@given(REWARDS)
def test_leave_one_out_is_the_reward_less_the_mean_of_the_others(rewards: np.ndarray) -> None:
    size = len(rewards)
    others = [np.delete(rewards, i).mean() if size > 1 else rewards[i] for i in range(size)]
    assert LeaveOneOut()(rewards) == pytest.approx(rewards - others, abs=1e-12)


@pytest.mark.parametrize(
    "rewards,expected",
    [
        ([1, 0, 0, 0], [3, -1, -1, -1]),  # mean 1/4: (3/4, -1/4, -1/4, -1/4) / (1/4)
        ([1, 1, 0, 0], [1, 1, -1, -1]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([1, 1], [0, 0]),
        ([1], [0]),
    ],
)
def test_mean_normalised_advantages_by_hand(rewards: list[float], expected: list[float]) -> None:
    assert MeanNormalized()(np.array(rewards, float)).tolist() == expected


def test_rewards_below_zero_have_no_mean_to_divide_by() -> None:
    with pytest.raises(ConfigurationError, match=r"reward=-0\.5 must be at least 0 for MeanNormalized"):
        MeanNormalized()(np.array([1.0, -0.5]))


def test_leaning_weights_by_hand_and_at_their_ends() -> None:
    # 0.1 + 0.9 R
    rewards = np.array([0.0, 0.5, 1.0])
    assert Leaning()(rewards) == pytest.approx([0.1, 0.55, 1.0])
    assert Leaning(1.0)(rewards).tolist() == Ones()(rewards).tolist()
    assert Leaning(0.0)(rewards).tolist() == Raw()(rewards).tolist()


@pytest.mark.parametrize("least", [-0.1, 1.1, math.nan])
def test_a_least_weight_outside_its_range_is_refused(least: float) -> None:
    with pytest.raises(ConfigurationError, match=f"least={least} must lie in \\[0, 1\\]"):
        Leaning(least)


@pytest.mark.parametrize("reward", [-0.5, 1.5])
def test_leaning_refuses_rewards_outside_its_range(reward: float) -> None:
    with pytest.raises(ConfigurationError, match=f"reward={reward} must lie in .* for Leaning"):
        Leaning()(np.array([0.5, reward]))


def test_clamped_advantages_by_hand(make_episode: Any) -> None:
    # centred (3/4, -1/4, -1/4, -1/4), nothing below -1/10
    groups = [Group((make_episode("ps"),) * 4)]
    assert Clamped(GroupCentered(), -0.1)([np.array([1.0, 0, 0, 0])], groups)[0].tolist() == [0.75, -0.1, -0.1, -0.1]
    assert Clamped() == Clamped(GroupNormalized(), -0.1)


@given(st.lists(REWARDS, max_size=4), st.floats(-1, 0.5))
def test_clamped_is_the_greater_of_an_advantage_and_its_bound(rewards: list[np.ndarray], low: float) -> None:
    found = Clamped(LeaveOneOut(), low)(rewards, [])
    assert [a.tolist() for a in found] == [np.maximum(LeaveOneOut()(r), low).tolist() for r in rewards]
    assert [a.tolist() for a in Clamped(GroupCentered(), -1.0)(rewards, [])] == [
        GroupCentered()(r).tolist()
        for r in rewards  # no reward in [0, 1] lies further below its mean
    ]


def test_clamped_hands_the_groups_to_an_advantage_that_requires_them(make_episode: Any) -> None:
    groups = [Group(tuple(make_episode("prs" if i else "ps", group=g, member=i) for i in range(2))) for g in range(3)]
    rewards = [np.array(pair, float) for pair in ((1, 0), (0, 0), (0, 1))]
    found, inner = Clamped(RevealBaseline(), -0.5)(rewards, groups), RevealBaseline()(rewards, groups)
    assert [a.tolist() for a in found] == [np.maximum(a, -0.5).tolist() for a in inner]
    assert any((a < -0.5).any() for a in inner)


def test_clamped_needs_what_the_inner_advantage_needs() -> None:
    assert Clamped(LeaveOneOut()).needs == {"members"} and Clamped(Ones()).needs == frozenset()


@pytest.mark.parametrize("low", [math.inf, -math.inf, math.nan])
def test_a_bound_that_is_not_finite_is_refused(low: float) -> None:
    with pytest.raises(ConfigurationError, match=f"low={low} must be finite"):
        Clamped(low=low)


@pytest.mark.parametrize("inner", [GroupCentered, None, "GroupCentered"])
def test_an_inner_advantage_that_cannot_be_called_is_refused(inner: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"inner=.* must be an object that is called with \(reward_G\)"):
        Clamped(inner)
