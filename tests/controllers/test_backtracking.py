"""Backtracking: intervals by hand, draws that belong to a problem and an update, newcomers, a state that continues."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Backtracking, Feedback, FixedGuidance, LearnerModel, simulate_controller
from g2rpo_env.controllers.backtracking import move_interval
from g2rpo_env.errors import ConfigurationError


def visit(successes: dict[str, tuple[int, int]], guided: bool = True) -> Feedback:
    """Episodes of some problems: of each, how many of how many are right."""
    rows = [(p, i, i < right) for p, (right, count) in successes.items() for i in range(count)]
    problem, member, correct = zip(*rows, strict=True)
    ones = np.ones(len(rows), bool)
    reveal = np.full(len(rows), int(guided))
    return Feedback(np.array(problem, object), np.array(member), ones & guided, reveal, np.array(correct), ones)


def test_an_interval_is_halved_from_below_by_success_and_from_above_by_failure() -> None:
    # success at 0.5: (0, 0.5); failure at 0.2 of it: (0.2, 0.5); success at 0.3: (0, 0.3), never above again
    interval = (0.0, 0.9)
    for share, success, after in ((0.5, 0.5, (0.0, 0.5)), (0.2, 0.25, (0.2, 0.5)), (0.3, 1.0, (0.0, 0.3))):
        interval = move_interval(interval, share, success, 0.5)
        assert interval == after
    assert move_interval((0.0, 0.3), 0.3, 0.0, 0.5) == (0.3, 0.3)  # fails with the most that it may get: stays there


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_draw_lies_in_its_interval_whose_upper_end_never_rises(outcomes: list[bool], seed: int) -> None:
    rule, before = Backtracking(seed=seed), 0.9
    for right in outcomes:
        low, high = rule.interval("a")
        share = rule.draw_share("a")
        assert 0 <= low <= share <= high <= 0.9 and high <= before + 1e-12
        assert rule.plan(["a", "b", "a"], [0, 0, 3])[[0, 2]].tolist() == [share, share]
        rule.update(visit({"a": (int(right), 1)}))
        assert rule.interval("a") == ((0.0, share) if right else (share, high))
        before = high


def test_half_of_the_guided_members_right_is_a_success_and_plain_ones_do_not_count() -> None:
    rule = Backtracking()
    share = rule.draw_share("a")
    both = [visit({"a": (1, 2)}), visit({"a": (0, 6)}, guided=False)]
    rule.update(Feedback(**{n: np.concatenate([getattr(one, n) for one in both]) for n in vars(both[0])}))
    assert rule.interval("a") == (0.0, share)
    # below the threshold, and where nothing could be revealed the plain ones are all there are
    share = rule.draw_share("a")
    rule.update(visit({"a": (1, 3)}, guided=False))
    assert rule.interval("a")[0] == share


def test_newcomers_draw_from_the_running_mean_of_the_intervals() -> None:
    rule = Backtracking(memory=0.8)
    a, b = rule.draw_share("a"), rule.draw_share("b")
    rule.update(visit({"a": (2, 2), "b": (0, 2)}))
    # (0, a) and (b, 0.9): means b / 2 and (a + 0.9) / 2, a fifth of the way from (0, 0.9)
    low, high = rule.interval("new")
    assert (low, high) == pytest.approx((0.2 * b / 2, 0.8 * 0.9 + 0.2 * (a + 0.9) / 2))
    assert rule.length == pytest.approx((low + high) / 2)
    assert Backtracking(memory=1.0).interval("new") == (0.0, 0.9)


def test_draws_are_new_in_each_update_and_others_for_other_problems_and_seeds() -> None:
    rule = Backtracking()
    first = rule.plan(["a", "b"], [0, 0]).tolist()
    assert rule.plan(["a", "b"], [0, 0]).tolist() == first and first[0] != first[1]
    assert Backtracking(seed=1).plan(["a", "b"], [0, 0]).tolist() != first
    rule.update(reward=math.nan)  # nothing was graded: time goes on all the same
    assert rule.plan(["a", "b"], [0, 0]).tolist() != first and math.isnan(rule.history[0]["reward"])


def test_invalid_episodes_move_nothing() -> None:
    rule, seen = Backtracking(), visit({"a": (2, 2)})
    rule.update(Feedback(**{**vars(seen), "valid": np.zeros(2, bool)}))
    assert rule.interval("a") == (0.0, 0.9)


def test_lengths_are_shares_of_the_whole() -> None:
    # the same draws: a whole of 50 tokens, and a floor under them
    shares = Backtracking().plan(list("abcdef"), [0] * 6)
    assert Backtracking(max_length=50).plan(list("abcdef"), [0] * 6) == pytest.approx(50 * shares)
    assert Backtracking(max_length=50, min_length=30, length=30).plan(list("abcdef"), [0] * 6).min() == 30


def test_a_state_survives_json_and_continues_exactly() -> None:
    random = np.random.default_rng(0)
    visits = [visit({p: (int(random.integers(5)), 4) for p in "abcd"[i % 3 :]}) for i in range(12)]
    whole, first, second = (Backtracking(seed=7) for _ in range(3))
    for one in visits:
        whole.update(one)
    for one in visits[:5]:
        first.update(one)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for one in visits[5:]:
        second.update(one)
    assert second.history == whole.history and second.state_dict() == whole.state_dict()
    assert second.plan(list("abcde"), [0] * 5).tolist() == whole.plan(list("abcde"), [0] * 5).tolist()


def test_help_is_withdrawn_as_a_modelled_learner_improves() -> None:
    model = LearnerModel(ability=-4, spread=1, help=8)
    seen, alone = (
        simulate_controller(rule, [model] * 4, updates=120)
        for rule in (Backtracking(max_length=100, length=45), FixedGuidance(length=0))
    )
    assert seen.accuracy[:, 60].mean() > alone.accuracy[:, 60].mean() + 0.3  # it learns while it is helped
    assert seen.length[:, -1].mean() < 10 and seen.accuracy[:, -1].mean() > 0.95


@pytest.mark.parametrize(
    "options,words",
    [
        ({"max_length": None}, "max_length=None must be above 0"),
        ({"threshold": 0.0}, r"threshold=0.0 must lie in \(0, 1\]"),
        ({"high": 1.5}, r"high=1.5 must lie in \(0, 1\]"),
        ({"memory": -0.1}, r"memory=-0.1 must lie in \[0, 1\]"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Backtracking(**options)
