"""A baseline conditioned on the reveal: by hand, and the groups that must give no signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.advantages.groups import GroupNormalized
from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline, mean_per_bin
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError


def group_of(make_episode: Any, number: int, reveals: list[int]) -> Group:
    return Group(tuple(make_episode("p" + "r" * n + "s", group=number, member=i) for i, n in enumerate(reveals)))


def test_the_reveal_is_taken_off_by_hand(make_episode: Any) -> None:
    # f(0) = 1/4, f(5) = 3/4. Group 1: R = (1, 0), f = (3/4, 1/4): R - mean = (1/2, -1/2), f - mean = (1/4, -1/4),
    # left (1/4, -1/4), std sqrt(1/8). Group 2: R = (1, 1) has no difference. Group 3: R = (0, 0). Group 4: (1, 0).
    rewards = [np.array(pair, float) for pair in ((1, 0), (1, 1), (0, 0), (1, 0))]
    groups = [group_of(make_episode, i, [5, 0]) for i in range(4)]
    found = RevealBaseline(eps=0.0)(rewards, groups)
    root = 0.5**0.5
    assert found[0] == pytest.approx([root, -root]) == found[3]
    assert found[1].tolist() == [0, 0] == found[2].tolist()


def test_a_plain_member_that_fails_is_not_blamed_for_not_having_been_guided(make_episode: Any) -> None:
    # the reveal decides alone: f(5) = 1, f(0) = 0, and nothing is left of any difference
    groups = [group_of(make_episode, i, [5, 5, 0, 0]) for i in range(3)]
    for advantage_G in RevealBaseline()([np.array([1.0, 1, 0, 0])] * 3, groups):
        assert advantage_G == pytest.approx([0] * 4, abs=1e-9)


def test_where_all_see_the_same_it_is_the_group_normalised_one(make_episode: Any) -> None:
    random = np.random.default_rng(0)
    rewards = [random.integers(0, 2, 4).astype(float) for _ in range(20)]
    groups = [group_of(make_episode, i, [3 * (i % 3)] * 4) for i in range(20)]
    for found, reward_G in zip(RevealBaseline()(rewards, groups), rewards, strict=True):
        assert found == pytest.approx(GroupNormalized()(reward_G), abs=1e-9)
    assert RevealBaseline()([], []) == []


def test_bins_of_lengths_by_hand() -> None:
    # guided 1 2 3 4 in two bins: (1, 2) and (3, 4), median 2.5
    found = mean_per_bin(np.array([0, 4, 1, 3, 2]), np.array([7.0, 1, 0, 3, 1]), 2)
    assert found.tolist() == [7, 2, 0.5, 2, 0.5]
    with pytest.raises(ConfigurationError, match="bins=0"):
        RevealBaseline(bins=0)


def test_a_group_of_one_has_no_advantage(make_episode: Any) -> None:
    assert RevealBaseline()([np.ones(1)], [group_of(make_episode, 0, [3])])[0].tolist() == [0]
