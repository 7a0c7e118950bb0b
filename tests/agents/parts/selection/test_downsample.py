"""DownSample: against all subsets, ties, and that neither lanes nor the order of members decide what is kept."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.selection.downsample import RULES, DownSample, choose_percentile, choose_variance
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError

BINARY = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=10)
GRADED = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]) | st.floats(-2, 2), min_size=1, max_size=10)


@pytest.fixture(scope="session")
def make_group(make_episode: Any) -> Any:
    """(rewards, number, seed) -> a group of members with these rewards."""

    def make(rewards: Any, number: int = 0, seed: int = 0) -> tuple[Groups, list[np.ndarray]]:
        members = [
            make_episode("ps", reward=float(r), correct=r > 0.5, group=number, member=i, seed=seed)
            for i, r in enumerate(rewards)
        ]
        return Groups([Group(tuple(members))]), [np.array(rewards, float)]

    return make


def kept_of(part: DownSample, found: tuple[Groups, list[np.ndarray]]) -> list[int]:
    """The members of one group that are kept."""
    return [e.member for e in part(*found)[0].episodes]


# -- the greatest variance ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(BINARY | GRADED, st.data())
@example([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], None)
def test_no_subset_has_a_greater_variance(rewards: list[float], data: Any) -> None:
    reward_G = np.array(rewards)
    kept = 4 if data is None else data.draw(st.integers(1, len(rewards)))
    chosen = choose_variance(reward_G, np.argsort(reward_G, kind="stable"), kept)
    assert len(set(chosen.tolist())) == kept
    best = max(np.var(reward_G[list(subset)]) for subset in combinations(range(len(rewards)), kept))
    assert np.var(reward_G[chosen]) == pytest.approx(best, abs=1e-9)


def test_one_right_answer_of_eight_is_kept_with_three_wrong_ones(make_group: Any) -> None:
    groups, rewards = DownSample(0.5)(*make_group([0, 0, 1, 0, 0, 0, 0, 0]))
    assert sorted(rewards[0].tolist()) == [0, 0, 0, 1] and 2 in [e.member for e in groups.episodes]


@pytest.mark.parametrize("right,expected", [(4, 2), (3, 2), (2, 2), (1, 1), (0, 0), (8, 4), (7, 3)])
def test_as_many_right_as_wrong_answers_are_kept_where_there_are_enough(
    make_group: Any, right: int, expected: int
) -> None:
    _, rewards = DownSample(0.5)(*make_group([1] * right + [0] * (8 - right)))
    assert rewards[0].sum() == expected


def test_of_equal_variances_the_more_even_split_and_then_the_better_answers_are_kept() -> None:
    # m 3 of (0, 0, 1, 1): one or two right ones have variance 2/9 both, and are as far from 3/2
    reward_G = np.array([0.0, 0.0, 1.0, 1.0])
    assert choose_variance(reward_G, np.arange(4), 3).tolist() == [0, 2, 3]
    # all equal: every k has variance 0, and k = m / 2 is the even one: both ends of the order
    assert choose_variance(np.full(6, 0.1), np.arange(6), 4).tolist() == [0, 1, 4, 5]
    # (0, 0.3, 1) and (0, 0.7, 1) mirror each other, although their variances differ in the last place as numbers
    assert choose_variance(np.array([0.0, 0.3, 0.7, 1.0]), np.arange(4), 3).tolist() == [0, 2, 3]


# -- the other rules ---------------------------------------------------------------------------------------------------


def test_the_best_are_kept_in_their_own_order(make_group: Any) -> None:
    assert kept_of(DownSample(0.5, "best"), make_group([0.9, 0.1, 0.2, 0.8, 0.0, 0.3])) == [0, 3, 5]


def test_percentiles_by_hand() -> None:
    # (j + 1/2) 6 / 4 - 1/2 = 0.25, 1.75, 3.25, 4.75 -> ranks 0, 2, 3, 5
    order_G = np.array([5, 4, 3, 2, 1, 0])
    assert choose_percentile(np.zeros(6), order_G, 4).tolist() == [5, 3, 2, 0]


@given(st.integers(1, 64), st.data())
def test_percentiles_are_different_members(size: int, data: Any) -> None:
    kept = data.draw(st.integers(1, size))
    chosen = choose_percentile(np.zeros(size), np.arange(size), kept)
    assert len(set(chosen.tolist())) == kept and 0 <= chosen.min() <= chosen.max() < size


def test_random_members_are_kept_equally_often(make_group: Any) -> None:
    counts = Counter(
        member
        for number in range(600)
        for member in kept_of(DownSample(0.5, "random"), make_group([0, 1, 0, 1], number))
    )
    # 300 each of 600, with a deviation of 12
    assert set(counts) == {0, 1, 2, 3} and all(abs(count - 300) < 60 for count in counts.values())


# -- all rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size,share,kept", [(8, 0.25, 2), (10, 0.25, 3), (10, 0.3, 3), (4, 0.25, 2), (1, 0.25, 1)])
def test_a_share_of_each_group_is_kept_and_at_least_two(
    make_group: Any, rule: str, size: int, share: float, kept: int
) -> None:
    groups, rewards = make_group(np.linspace(0, 1, size))
    chosen, chosen_rewards = DownSample(share, rule)(groups, rewards)
    assert len(chosen[0]) == len(chosen_rewards[0]) == kept
    members = [e.member for e in chosen.episodes]
    assert members == sorted(set(members)) and chosen_rewards[0].tolist() == [rewards[0][i] for i in members]


def test_one_member_may_be_kept_where_it_is_not_compared(make_group: Any) -> None:
    assert kept_of(DownSample(0.25, "best", least=1), make_group([0, 0.5, 1, 0.2])) == [2]


@pytest.mark.parametrize("rule", ["variance", "random", "best"])
def test_equal_rewards_are_ordered_by_a_stream_of_their_group(make_group: Any, rule: str) -> None:
    part = DownSample(0.5, rule)
    found = {tuple(kept_of(part, make_group([1] * 6 + [0] * 2, number))) for number in range(30)}
    assert len(found) > 10  # guided members stand first, and nothing prefers them
    again = [kept_of(part, make_group([1] * 6 + [0] * 2, 3)) for _ in range(2)]
    assert again[0] == again[1]
    assert len({tuple(kept_of(part, make_group([1] * 6 + [0] * 2, 3, seed))) for seed in range(9)}) > 4


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_members_decides_nothing(make_group: Any, rule: str) -> None:
    part = DownSample(0.5, rule)
    for number in range(10):
        groups, (reward_G,) = make_group([1, 0, 0.5, 1, 0, 0.5, 0, 1], number)
        order = np.random.default_rng(number).permutation(8)
        moved = Groups([Group(tuple(groups[0].episodes[i] for i in order))])
        assert set(kept_of(part, (moved, [reward_G[order]]))) == set(kept_of(part, (groups, [reward_G])))


def test_the_whole_group_is_kept_as_it_is(make_group: Any) -> None:
    groups, rewards = make_group([1, 0, 0, 1])
    for rule in RULES:
        kept, kept_rewards = DownSample(1.0, rule)(groups, rewards)
        assert kept.episodes == groups.episodes and kept_rewards[0].tolist() == rewards[0].tolist()


@pytest.mark.parametrize(
    "options,words",
    [
        ({"share": 0.0}, r"share=0\.0 must lie in \(0, 1\]"),
        ({"share": 1.5}, r"share=1\.5"),
        ({"rule": "worst"}, "rule='worst' must be one of variance, best, random, percentile"),
        ({"least": 0}, "least=0 must be at least 1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        DownSample(**options)


def test_what_is_kept_does_not_depend_on_the_lanes(make_envs: Any, make_policy: Any) -> None:
    kept = []
    for lanes in (8, 16):
        envs = make_envs(lanes, 8)
        agent = recipes.make("pods", make_policy(envs), envs, optimizer=Optimizer(1e-9))
        for _ in range(16 // lanes):
            agent.update()
            kept += [(e.problem_id, e.group, e.member) for e in agent.last_update.selected.episodes]
    assert kept[:4] == kept[4:] and len(kept) == 8
