"""Selection: what stays, in which order, with which rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.selection.filters import DropUniform, KeepAll, KeepCorrect
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError


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


def test_drop_uniform_by_correctness_looks_through_shaped_rewards(make_episode: Any) -> None:
    # the first group differs in its lengths alone, the second one's punishment hides that it is mixed
    rows = [(True, True), (True, False), (False, False)]
    groups = Groups(
        Group(tuple(make_episode("ps", correct=c, group=g, member=m, reward=1.0 - m) for m, c in enumerate(row)))
        for g, row in enumerate(rows)
    )
    rewards = [np.array([1.0, 0.5]), np.array([0.0, 0.0]), np.array([0.0, -0.5])]
    for by, expected in (("correct", [1]), ("reward", [0, 2])):
        kept, kept_rewards = DropUniform(by)(groups, rewards)
        assert [group.group for group in kept] == expected
        assert [r.tolist() for r in kept_rewards] == [rewards[i].tolist() for i in expected]


def test_drop_uniform_by_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="by='accuracy' must be 'reward' or 'correct'"):
        DropUniform("accuracy")
    assert DropUniform() == DropUniform("reward") and DropUniform.needs == {"members"}


def test_keep_correct_goes_by_the_verdict_and_shrinks_groups(three_groups: Any) -> None:
    groups, rewards = KeepCorrect()(*three_groups)
    assert [(e.group, e.member) for e in groups.episodes] == [(1, 1), (2, 0), (2, 1)]
    assert [r.tolist() for r in rewards] == [[0.9], [0.9, 0.9]]


def test_selections_return_groups_with_totals(three_groups: Any) -> None:
    for selection in (KeepAll(), DropUniform(), KeepCorrect()):
        groups, rewards = selection(*three_groups)
        assert isinstance(groups, Groups) and len(groups) == len(rewards)
        assert [len(g) for g in groups] == [len(r) for r in rewards]
