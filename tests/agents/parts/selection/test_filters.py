"""Selection: what stays, in which order, with which rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.selection.filters import DropUniform, KeepAll, KeepCorrect
from g2rpo_env.agents.parts.selection.splits import SplitGuided, SplitReveals
from g2rpo_env.episode import Group, Groups


@pytest.fixture
def three_groups(make_episode: Any) -> tuple[Groups, list[np.ndarray]]:
    """All wrong, mixed, all correct; shaped rewards differ from correctness."""
    rows = [(False, False), (False, True), (True, True)]
    groups = Groups(
        Group(tuple(make_episode("ps", correct=c, group=g, member=m) for m, c in enumerate(row)))
        for g, row in enumerate(rows)
    )
    return groups, [np.array([0.1, 0.1]), np.array([0.1, 0.9]), np.array([0.9, 0.9])]


def test_keep_all_returns_what_it_is_given(three_groups: Any) -> None:
    groups, rewards = KeepAll()(*three_groups)
    assert groups is three_groups[0] and rewards is three_groups[1]


def test_drop_uniform_keeps_only_groups_whose_rewards_differ(three_groups: Any) -> None:
    groups, rewards = DropUniform()(*three_groups)
    assert [g.group for g in groups] == [1]
    assert [r.tolist() for r in rewards] == [[0.1, 0.9]]


def test_drop_uniform_may_leave_nothing(three_groups: Any) -> None:
    groups, rewards = three_groups
    assert DropUniform()(Groups(groups[:1]), rewards[:1]) == (Groups(), [])


def test_keep_correct_goes_by_the_verdict_and_shrinks_groups(three_groups: Any) -> None:
    groups, rewards = KeepCorrect()(*three_groups)
    assert [(e.group, e.member) for e in groups.episodes] == [(1, 1), (2, 0), (2, 1)]
    assert [r.tolist() for r in rewards] == [[0.9], [0.9, 0.9]]


def test_selections_return_groups_with_totals(three_groups: Any) -> None:
    for selection in (KeepAll(), DropUniform(), KeepCorrect()):
        groups, rewards = selection(*three_groups)
        assert isinstance(groups, Groups) and len(groups) == len(rewards)
        assert [len(g) for g in groups] == [len(r) for r in rewards]


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
