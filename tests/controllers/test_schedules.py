"""Schedules: the formulas by hand, draws that resume, and Replay, a list of lengths whatever the reward."""

import json
import math
from typing import Any

import numpy as np
import pytest

from g2rpo_env import (
    Controller,
    CosineBinomial,
    CosineDecay,
    FixedGuidance,
    LinearDecay,
    Replay,
    StartStates,
    StepDecay,
    UniformDraw,
    UniformWindow,
)
from g2rpo_env.errors import ConfigurationError


def test_lengths_are_played_in_order_and_the_last_one_stays() -> None:
    replay = Replay(lengths=(45, 44, 40))
    assert replay.length == 45.0
    assert [replay.update(reward=r) for r in (0.0, 1.0, 0.5, 0.2)] == [44.0, 40.0, 40.0, 40.0]
    assert replay.history[0] == {"reward": 0.0, "length": 44.0}


def test_an_update_without_valid_episodes_moves_on_all_the_same() -> None:
    replay = Replay(lengths=(3, 2, 1))
    assert [replay.update(reward=math.nan), replay.update(reward=0.5)] == [2.0, 1.0]


def test_a_recorded_run_is_played_back_exactly() -> None:
    from g2rpo_env import TargetSuccess

    original = TargetSuccess(length=20, source="all")
    rewards = (0.1, 0.9, math.nan, 0.4)
    used = [original.length] + [original.update(reward=r) for r in rewards]
    replay = Replay(lengths=tuple(used))
    assert [replay.length] + [replay.update(reward=0.0) for _ in rewards] == used


def test_a_state_continues_at_its_place() -> None:
    lengths = tuple(range(10, 0, -1))
    whole, first, second = (Replay(lengths=lengths) for _ in range(3))
    expected = [whole.update(reward=0.5) for _ in range(6)]
    assert [first.update(reward=0.5) for _ in range(3)] == expected[:3]
    second.load_state_dict(first.state_dict())
    assert second.length == expected[2]
    assert [second.update(reward=0.5) for _ in range(3)] == expected[3:]
    assert second.history == whole.history


def test_the_plan_is_the_current_length_for_everybody() -> None:
    replay = Replay(lengths=(3, 2))
    replay.update(reward=0.5)
    assert replay.plan(["a", "b"], [0, 1]).tolist() == FixedGuidance(length=2).plan(["a", "b"], [0, 1]).tolist()


@pytest.mark.parametrize(
    "lengths,words",
    [
        ((), "lengths must hold at least one length"),
        ((3, -1), "lengths must all be finite and at least 0, got -1.0"),
        ((math.inf,), "got inf"),
        ((1, math.nan), "got nan"),
    ],
)
def test_bad_lengths_are_named(lengths: tuple[float, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Replay(lengths=lengths)


# -- schedules that only count ----------------------------------------------------------------------------------------


def play_rule(rule: Controller, updates: int) -> list[float]:
    return [rule.update(reward=0.5) for _ in range(updates)]


def test_linear_decay_by_hand() -> None:
    assert play_rule(LinearDecay(length=30, updates=3, end=6), 4) == pytest.approx([22, 14, 6, 6])


def test_cosine_decay_by_hand() -> None:
    # 6 + 24 (1 + cos(pi t / 3)) / 2: cos = 1/2, -1/2, -1
    assert play_rule(CosineDecay(length=30, updates=3, end=6), 4) == pytest.approx([24, 12, 6, 6])


def test_step_decay_by_hand() -> None:
    rule = StepDecay(length=32, updates=8, every=2, factor=0.25, end=1)
    assert play_rule(rule, 9) == [32, 8, 8, 2, 2, 1, 1, 1, 1]  # 32 / 4^3 = 0.5 is below the end


def test_the_probability_of_uft_by_hand() -> None:
    # 0.05 + 0.45 (1 + cos(pi t / 4)): 0.95 at 0, 0.818 at 1, 0.5 at 2, 0.182 at 3, nothing from 4 on
    rule = CosineBinomial(length=10, updates=4)
    assert rule.probability == pytest.approx(0.95)
    assert play_rule(rule, 5) == pytest.approx([8.18198, 5, 1.81802, 0, 0], abs=1e-5)


def test_draws_of_uft_are_slices_with_the_mean_of_the_binomial() -> None:
    rule = CosineBinomial(length=10, updates=4)
    play_rule(rule, 2)
    drawn = rule.plan([f"p{i}" for i in range(600)], [0] * 600)
    assert set(np.unique(drawn)) <= {0, 2, 4, 6, 8, 10} and drawn.mean() == pytest.approx(5, abs=0.3)
    assert drawn.var() == pytest.approx(4 * 5 * 0.25, rel=0.2)  # (10/5)^2 n p (1 - p)
    play_rule(rule, 2)
    assert (rule.plan(["a"] * 9, range(9)) == 0).all()


def test_the_window_of_prefix_rft_by_hand() -> None:
    rule = UniformWindow(length=100, updates=4)
    assert rule.floor == pytest.approx(0.95) and rule.plan(["a"], [0]) == pytest.approx([95])
    play_rule(rule, 2)
    assert rule.floor == pytest.approx(0.5)
    drawn = rule.plan([f"p{i}" for i in range(500)], [0] * 500)
    assert 50 <= drawn.min() < 53 and 92 < drawn.max() <= 95 and drawn.mean() == pytest.approx(rule.length, abs=2)
    play_rule(rule, 2)
    assert rule.floor == pytest.approx(0.05) and rule.length == pytest.approx(50)


@pytest.mark.parametrize("make", [CosineBinomial, UniformWindow, UniformDraw])
def test_one_draw_per_problem_is_shared_by_its_group(make: Any) -> None:
    rule = make(length=1000, updates=10, per="problem")
    play_rule(rule, 5)
    drawn = rule.plan([f"p{i // 4}" for i in range(40)], [i % 4 for i in range(40)]).reshape(10, 4)
    assert all(len(set(row)) == 1 for row in drawn.tolist()) and len(set(drawn[:, 0])) > 3
    member = make(length=1000, updates=10, per="member")
    play_rule(member, 5)
    assert len(set(member.plan(["p0"] * 40, list(range(40))))) > 3


def test_uniform_draws_by_hand() -> None:
    rule = UniformDraw(length=100, updates=4, low=0.2, high=0.6)
    drawn = rule.plan([f"p{i}" for i in range(500)], [0] * 500)
    assert 20 <= drawn.min() < 22 and 58 < drawn.max() <= 60 and drawn.mean() == pytest.approx(40, abs=1.5)
    assert play_rule(rule, 3) == pytest.approx([40, 40, 40])
    # annealed: high_t = 0.6, 0.5, 0.4, 0.3, 0.2 of 100; the expected length is the mean of 20 and that
    annealed = UniformDraw(length=100, updates=4, low=0.2, high=0.6, anneal=True)
    assert play_rule(annealed, 5) == pytest.approx([35, 30, 25, 20, 20])
    assert annealed.plan(["a", "b"], [0, 0]).tolist() == [20, 20]


@pytest.mark.parametrize("make", [CosineBinomial, UniformWindow])
def test_draws_belong_to_seed_update_problem_and_member(make: Any) -> None:
    rule = make(length=1000, updates=10)
    rule.update(reward=0.5)
    ids, members = [f"p{i}" for i in range(20)], list(range(20))
    drawn = rule.plan(ids, members)
    assert (rule.plan(ids[::-1], members[::-1])[::-1] == drawn).all()  # whatever the order
    for other in (make(length=1000, updates=10, seed=1), make(length=1000, updates=10)):
        other.update(reward=0.9)
        assert (other.plan(ids, members) == drawn).all() == (other.seed == rule.seed)
    rule.update(reward=0.5)
    assert (rule.plan(ids, members) != drawn).any()
    assert (rule.plan(ids, [m + 1 for m in members]) != rule.plan(ids, members)).any()


@pytest.mark.parametrize("make", [LinearDecay, CosineDecay, StepDecay, CosineBinomial, UniformWindow, UniformDraw])
def test_schedules_go_on_without_valid_episodes_and_continue_from_a_state(make: Any) -> None:
    whole, first, second = (make(length=50, updates=9) for _ in range(3))
    expected = play_rule(whole, 7)
    assert [first.update(reward=math.nan), *play_rule(first, 2)] == expected[:3]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert play_rule(second, 4) == expected[3:]
    assert second.plan(["a", "b"], [0, 1]).tolist() == whole.plan(["a", "b"], [0, 1]).tolist()


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: LinearDecay(updates=0), "updates=0"),
        (lambda: CosineDecay(end=-1), "end=-1"),
        (lambda: StepDecay(length=10, end=20), r"end=20 must lie in \[0, length=10.0\]"),
        (lambda: StepDecay(factor=1.0), "factor=1.0"),
        (lambda: StepDecay(every=0), "every=0"),
        (lambda: CosineBinomial(low=0.9, high=0.5), "low=0.9 and high=0.5"),
        (lambda: CosineBinomial(slices=0), "slices=0"),
        (lambda: UniformWindow(seed=-1), "seed=-1"),
        (lambda: UniformDraw(per="group"), "per='group' must be one of member, problem"),
    ],
)
def test_bad_schedules_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


# -- start states ------------------------------------------------------------------------------------------------------


def test_all_start_states_are_mixed_in_each_update_evenly() -> None:
    rule = StartStates(length=1.0, stages=4, high=0.75)
    ids = [f"p{i}" for i in range(2000)]
    shares, counts = np.unique(rule.plan(ids, [0] * len(ids)), return_counts=True)
    assert shares.tolist() == [0, 0.25, 0.5, 0.75]
    assert counts.min() > 430 and counts.max() < 570  # 500 each, deviation 19
    assert rule.length == 1.0 and rule.update(reward=0.5) == pytest.approx(0.375)
    again = rule.plan(ids, [0] * len(ids))
    assert len(np.unique(again)) == 4 and again.tolist() != rule.plan(ids[::-1], [0] * len(ids)).tolist()


def test_members_share_a_start_state_unless_each_has_its_own() -> None:
    members = list(range(16))
    assert len(np.unique(StartStates(length=9).plan(["a"] * 16, members))) == 1
    assert len(np.unique(StartStates(length=9, per="member").plan(["a"] * 16, members))) > 2


def test_the_sliding_form_goes_from_the_end_of_the_solution_to_its_beginning() -> None:
    # 4 stages in 8 updates: two updates each, from 0.9 by thirds down to 0
    rule = StartStates(length=10, updates=8, stages=4, high=0.9, mixed=False)
    shown = []
    for _ in range(10):
        (length,) = set(rule.plan(["a", "b"], [0, 1]))
        shown.append(round(length, 6))
        rule.update(reward=0.0)
    assert shown == [9, 9, 6, 6, 3, 3, 0, 0, 0, 0]
    assert StartStates(length=10, stages=1, high=0.5, mixed=False).plan(["a"], [0]).tolist() == [5]


def test_start_states_resume_with_the_draws_they_would_have_had() -> None:
    whole, second = StartStates(length=1.0, seed=3), StartStates(length=1.0, seed=3)
    for _ in range(3):
        whole.update(reward=0.5)
    second.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert second.plan(list("abcdef"), [0] * 6).tolist() == whole.plan(list("abcdef"), [0] * 6).tolist()
    with pytest.raises(ConfigurationError, match="stages=0 must be at least 1"):
        StartStates(stages=0)
