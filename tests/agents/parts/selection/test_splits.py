"""Splits: which members are compared with each other, in which order, with which rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.selection.splits import LeastReveal, SplitGuided, SplitReveals
from g2rpo_env.episode import Group, Groups


def test_split_guided_makes_two_groups_of_one(make_episode: Any) -> None:
    from g2rpo_env.agents.parts.advantages.groups import GroupNormalized

    members = tuple(
        make_episode("prs" if member < 2 else "ps", correct=member in (0, 3), member=member) for member in range(4)
    )
    groups, rewards = SplitGuided()(Groups([Group(members)]), [np.array([1.0, 0.0, 0.0, 0.5])])
    assert [[e.member for e in group.episodes] for group in groups] == [[0, 1], [2, 3]]
    assert [r.tolist() for r in rewards] == [[1.0, 0.0], [0.0, 0.5]]
    # each kind has mean 0 of its own; +-1/2 / (1/sqrt 2) for the guided ones
    advantages = [GroupNormalized(eps=0.0)(r) for r in rewards]
    assert advantages[0] == pytest.approx([0.5**0.5, -(0.5**0.5)]) and advantages[1].sum() == pytest.approx(0)


def test_split_guided_leaves_groups_of_one_kind_whole(make_episode: Any) -> None:
    group = Group(tuple(make_episode("ps", member=member) for member in range(3)))
    groups, rewards = SplitGuided()(Groups([group]), [np.arange(3.0)])
    assert [g.episodes for g in groups] == [group.episodes] and rewards[0].tolist() == [0, 1, 2]


def test_split_reveals_compares_those_that_were_shown_equally_much(make_episode: Any) -> None:
    roles = ["ps", "prs", "prrs", "prs", "ps"]
    group = Group(tuple(make_episode(one, member=i) for i, one in enumerate(roles)))
    groups, rewards = SplitReveals()(Groups([group]), [np.arange(5.0)])
    assert [[e.member for e in one.episodes] for one in groups] == [[2], [1, 3], [0, 4]]
    assert [r.tolist() for r in rewards] == [[2], [1, 3], [0, 4]]


def test_with_one_length_for_all_guided_members_both_ways_to_split_agree(make_episode: Any) -> None:
    group = Group(tuple(make_episode("prs" if i % 2 else "ps", member=i) for i in range(6)))
    one, other = (split()(Groups([group]), [np.arange(6.0)]) for split in (SplitReveals, SplitGuided))
    assert [g.episodes for g in one[0]] == [g.episodes for g in other[0]]
    assert [r.tolist() for r in one[1]] == [r.tolist() for r in other[1]]


@pytest.mark.parametrize(
    ("reward", "kept"),
    [
        ([0, 0, 0, 0, 1, 1], [1, 4]),  # the middle reveal is the shortest one with a right answer
        ([1, 0, 0, 0, 0, 1], [0, 3]),  # a plain member is right: no help is needed
        ([0, 0, 1, 0, 0, 0], [2, 5]),  # only the longest reveal succeeds
        ([0, 0, 0, 0, 0, 0], [0, 3]),  # none does: the first of all
    ],
)
def test_the_least_reveal_that_scores_is_kept(make_episode: Any, reward: list[int], kept: list[int]) -> None:
    members = tuple(make_episode("p" + "r" * (i % 3) + "s", member=i) for i in range(6))  # reveals 0 1 2 0 1 2
    groups, rewards = LeastReveal()(Groups([Group(members)]), [np.array(reward, float)])
    assert [[e.member for e in group.episodes] for group in groups] == [kept]
    assert rewards[0].tolist() == [reward[i] for i in kept]


def test_groups_with_one_reveal_are_kept_whole(make_episode: Any) -> None:
    members = tuple(make_episode("prs", member=i) for i in range(3))
    groups, rewards = LeastReveal()(Groups([Group(members)]), [np.array([0.0, 1.0, 0.0])])
    assert groups[0].episodes == members and rewards[0].tolist() == [0, 1, 0]
