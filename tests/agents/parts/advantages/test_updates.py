"""Advantages of whole updates: by hand, where they equal others, and that no order of groups or members matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, LeaveOneOut
from g2rpo_env.agents.parts.advantages.updates import (
    LengthBaseline,
    ValidScaled,
    Whitened,
    count_sampled,
    subtract_length_baseline,
    whiten,
)
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError

ALL = [LengthBaseline(), Whitened("batch"), Whitened("group"), ValidScaled(), ValidScaled(LengthBaseline())]


def rows(*rewards: tuple[float, ...]) -> list[np.ndarray]:
    return [np.array(row, float) for row in rewards]


@pytest.fixture
def make_groups(make_episode: Any) -> Any:
    """(lengths, ...) -> groups whose members have as many sampled tokens, behind a prompt and a revealed token."""

    def make(*lengths: tuple[int, ...]) -> list[Group]:
        return [
            Group(tuple(make_episode("pr" + "s" * n, group=g, member=i) for i, n in enumerate(row)))
            for g, row in enumerate(lengths)
        ]

    return make


@pytest.fixture
def random_update(make_groups: Any) -> tuple[list[np.ndarray], list[Group]]:
    """Six groups of three to five members with rewards of 0 and 1, two of them of equal ones."""
    random = np.random.default_rng(3)
    sizes = [3, 4, 5, 3, 4, 5]
    rewards = [random.integers(0, 2, n).astype(float) for n in sizes]
    rewards[1][:], rewards[4][:], rewards[0][:2] = 0.0, 1.0, (0.0, 1.0)
    return rewards, make_groups(*(tuple(random.integers(1, 9, n).tolist()) for n in sizes))


def test_only_sampled_tokens_are_counted(make_groups: Any) -> None:
    assert [n.tolist() for n in count_sampled(make_groups((1, 3), (0, 2)))] == [[1, 3], [0, 2]]


# -- the length-weighted baseline --------------------------------------------------------------------------------------


def test_the_length_baseline_by_hand(make_groups: Any) -> None:
    # (10 * 1 + 30 * 0) / 40 = 1/4
    found = LengthBaseline()(rows((1, 0)), make_groups((10, 30)))
    assert found[0].tolist() == [0.75, -0.25]


def test_with_answers_of_one_length_the_length_baseline_is_the_mean(make_groups: Any) -> None:
    rewards = rows((1, 0, 0, 1), (1, 1, 1, 0))
    found = LengthBaseline()(rewards, make_groups((7,) * 4, (3,) * 4))
    assert [a.tolist() for a in found] == [GroupCentered()(r).tolist() for r in rewards]


def test_answers_without_a_sampled_token_have_the_plain_mean_as_their_baseline(make_groups: Any) -> None:
    assert LengthBaseline()(rows((1, 0)), make_groups((0, 0)))[0].tolist() == [0.5, -0.5]


@given(st.floats(-2, 2), st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_equal_rewards_have_no_length_weighted_advantage(reward: float, lengths: list[int]) -> None:
    found = subtract_length_baseline(np.full(len(lengths), reward), np.array(lengths))
    assert found.tolist() == [0.0] * len(lengths)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=2, max_size=9))
def test_length_weighted_advantages_have_a_length_weighted_mean_of_zero(pairs: list[tuple[float, int]]) -> None:
    reward_G, length_G = (np.array(column) for column in zip(*pairs, strict=True))
    found = subtract_length_baseline(reward_G, length_G)
    assert (length_G * found).sum() == pytest.approx(0, abs=1e-9)
    assert found - found[0] == pytest.approx(reward_G - reward_G[0], abs=1e-12)


# -- whitening over tokens ---------------------------------------------------------------------------------------------


def test_rewards_whitened_over_tokens_by_hand(make_groups: Any) -> None:
    # tokens (1, 0, 0, 0): m = 1/4, v = (9/16 + 3/16) / 3 = 1/4: (3/4, -1/4) / (1/2)
    expected = [1.5, -0.5]
    assert Whitened()(rows((1, 0)), make_groups((1, 3)))[0] == pytest.approx(expected, rel=1e-7)
    # whose group they are of does not matter
    found = Whitened("batch")(rows((1,), (0,)), make_groups((1,), (3,)))
    assert np.concatenate(found) == pytest.approx(expected, rel=1e-7)


def test_centred_rewards_whitened_over_tokens_by_hand(make_groups: Any) -> None:
    # centred (1/2, -1/2, 0, 0), one token each: m = 0, v = (1/4 + 1/4) / 3 = 1/6: 1/2 * sqrt(6) = 1.2247
    found = Whitened("group")(rows((1, 0), (0, 0)), make_groups((1, 1), (1, 1)))
    assert np.concatenate(found) == pytest.approx([1.5**0.5, -(1.5**0.5), 0, 0], rel=1e-6)


def test_whitening_is_that_of_a_list_of_tokens(random_update: Any) -> None:
    rewards, groups = random_update
    count_N, reward_N = np.concatenate(count_sampled(groups)), np.concatenate(rewards)
    token_M = np.repeat(reward_N, count_N)
    expected = (reward_N - token_M.mean()) / np.sqrt(token_M.var(ddof=1) + 1e-8)
    assert np.concatenate(Whitened()(rewards, groups)) == pytest.approx(expected, rel=1e-9)


def test_over_all_tokens_whitened_advantages_have_mean_zero_and_variance_one(random_update: Any) -> None:
    for within in ("batch", "group"):
        found = np.concatenate(Whitened(within)(*random_update))
        token_M = np.repeat(found, np.concatenate(count_sampled(random_update[1])))
        assert token_M.mean() == pytest.approx(0, abs=1e-12) and token_M.var(ddof=1) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, -1 / 3])
@pytest.mark.parametrize("within", ["batch", "group"])
def test_equal_rewards_are_exactly_zero_when_whitened(make_groups: Any, within: str, reward: float) -> None:
    # 1e-17 over sqrt(1e-8) would be a gradient that Adam scales up
    found = Whitened(within)([np.full(3, reward), np.full(2, reward)], make_groups((1, 2, 3), (7, 1)))
    assert [a.tolist() for a in found] == [[0, 0, 0], [0, 0]]


def test_fewer_than_two_tokens_have_no_variance(make_groups: Any) -> None:
    assert Whitened()(rows((1, 0)), make_groups((1, 0)))[0].tolist() == [0, 0]
    assert whiten(np.array([1.0]), np.array([0])).tolist() == [0]


def test_a_baseline_within_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="within='groups' must be 'batch' or 'group'"):
        Whitened("groups")
    assert Whitened("group").needs == {"members"} and Whitened("batch").needs == frozenset()


# -- scaling by the groups with signal ---------------------------------------------------------------------------------


def test_two_of_four_groups_with_signal_weigh_twice(make_groups: Any) -> None:
    rewards = rows((1, 0), (0, 0), (1, 1), (0, 1))  # P = 4, M = 2: alpha 2
    found = ValidScaled(GroupCentered())(rewards, make_groups(*[(1, 1)] * 4))
    assert [a.tolist() for a in found] == [[1, -1], [0, 0], [0, 0], [-1, 1]]


def test_with_signal_in_every_group_scaling_changes_nothing(make_groups: Any) -> None:
    rewards = rows((0.1, 0.7, 0.2), (1, 0, 0))
    found = ValidScaled(LeaveOneOut())(rewards, make_groups((1, 2, 3), (1, 1, 1)))
    assert [a.tolist() for a in found] == [LeaveOneOut()(r).tolist() for r in rewards]


def test_without_any_signal_advantages_are_zero(make_groups: Any) -> None:
    found = ValidScaled(LeaveOneOut())(rows((1, 1), (0, 0)), make_groups((1, 2), (1, 1)))
    assert [a.tolist() for a in found] == [[0, 0], [0, 0]]


def test_scaling_hands_the_groups_to_an_advantage_that_requires_them(make_groups: Any) -> None:
    # baseline 1/4 as above; alpha 2
    found = ValidScaled(LengthBaseline())(rows((1, 0), (1, 1)), make_groups((10, 30), (1, 2)))
    assert [a.tolist() for a in found] == [[1.5, -0.5], [0, 0]]


def test_scaling_needs_members_and_what_the_inner_advantage_needs() -> None:
    assert ValidScaled().needs == ValidScaled(LeaveOneOut()).needs == {"members"}
    with pytest.raises(ConfigurationError, match="inner=.*GroupCentered.* must be an object"):
        ValidScaled(GroupCentered)


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("advantage", ALL, ids=repr)
def test_the_order_of_groups_and_members_does_not_matter(random_update: Any, advantage: Any) -> None:
    rewards, groups = random_update
    expected = advantage(rewards, groups)
    random = np.random.default_rng(0)
    group_order = random.permutation(len(groups))
    orders = [random.permutation(len(group)) for group in groups]
    moved = [Group(tuple(groups[p].episodes[i] for i in orders[p])) for p in group_order]
    found = advantage([rewards[p][orders[p]] for p in group_order], moved)
    for p, advantage_G in zip(group_order, found, strict=True):
        assert advantage_G == pytest.approx(expected[p][orders[p]], rel=1e-12, abs=1e-12)
    assert any(a.any() for a in found)


@pytest.mark.parametrize("advantage", ALL, ids=repr)
def test_an_update_without_groups_has_no_advantages(advantage: Any) -> None:
    assert advantage([], []) == []
