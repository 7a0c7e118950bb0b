"""Advantages: hand-computed groups, and the groups that must give no signal."""

from __future__ import annotations

import numpy as np
import pytest

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, GroupNormalized, Leaning, Ones
from g2rpo_env.errors import ConfigurationError


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


@pytest.mark.parametrize("advantage", [GroupNormalized(), GroupCentered()])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 0.7, -1 / 3])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 10])
def test_equal_rewards_give_exactly_zero(advantage: object, reward: float, size: int) -> None:
    # Exactly: the mean of three times 0.1 is not 0.1, and Adam would turn a rest of 1e-17 into a step.
    assert advantage(np.full(size, reward)).tolist() == [0.0] * size  # type: ignore[operator]


@pytest.mark.parametrize("advantage", [GroupNormalized(), GroupCentered()])
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


def test_leaning_by_hand() -> None:
    # .1 + .9 R
    assert Leaning(0.1)(np.array([0.0, 0.5, 1.0])) == pytest.approx([0.1, 0.55, 1.0])
    assert Leaning(0.0)(np.array([0.0, 0.25])).tolist() == [0.0, 0.25]
    reward_G = np.array([0.0, 0.3, 1.0])
    assert Leaning(1.0)(reward_G).tolist() == Ones()(reward_G).tolist()


@pytest.mark.parametrize("reward", [-0.1, 1.1, float("nan")])
def test_leaning_refuses_rewards_that_are_no_shares(reward: float) -> None:
    with pytest.raises(ConfigurationError, match=r"reward=.* must lie in \[0, 1\] for advantage=Leaning"):
        Leaning()(np.array([0.5, reward]))


@pytest.mark.parametrize("least", [-0.1, 1.1])
def test_leaning_refuses_a_wrong_least_weight(least: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"least={least} must lie in \[0, 1\]"):
        Leaning(least)
