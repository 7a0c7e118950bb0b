"""The simulator by hand; rules under it over 1,000 random settings, and the five faults of the raw rule."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from g2rpo_env import (
    AdaptiveGuidance,
    Controller,
    FixedGuidance,
    ItemResponse,
    LearnerModel,
    OfficialCadence,
    PerProblem,
    SelfTuning,
    ShortestPrefix,
    Simulation,
    SmallestHint,
    Stages,
    TargetSuccess,
    simulate_controller,
)
from g2rpo_env.controllers.self_tuning import set_point
from g2rpo_env.controllers.simulator import measure_lessons, success
from g2rpo_env.errors import ConfigurationError

WHOLE = 120.0
STILL = LearnerModel(ability=math.log(0.4 / 0.6), spread=0, help=0, rate=0)
"""A learner that is right with 0.4, whatever is revealed, and never learns."""


# -- the learner ------------------------------------------------------------------------------------------------------


def test_success_by_hand() -> None:
    assert success(np.array([0.0, math.log(3), -math.log(3)])) == pytest.approx([0.5, 0.75, 0.25])


def test_what_a_batch_teaches_by_hand() -> None:
    # group 1: one of four right, s = sqrt(3)/4, its reveal 0.8; group 2: all right, s = 0
    correct = np.array([[[True, False, False, False], [True, True, True, True]]])
    share = np.array([[[0.8, 0.8, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]])
    sampled, revealed = measure_lessons(correct, share)
    assert sampled == pytest.approx([0.2 * math.sqrt(3) / 4 / 2]) and revealed == pytest.approx(
        [0.8 * math.sqrt(3) / 4 / 2]
    )


def test_a_batch_without_differences_teaches_nothing() -> None:
    share = np.full((1, 3, 4), 0.5)
    for right in (np.zeros((1, 3, 4), bool), np.ones((1, 3, 4), bool)):
        assert measure_lessons(right, share) == (0.0, 0.0)


def test_success_and_ability_follow_the_model() -> None:
    # bend 2 and half the solution: logit -2 + 8 / 4 = 0, guided success 1/2; unguided 1 / (1 + e^2) = 0.119
    model = LearnerModel(ability=-2, spread=0, help=8, bend=2, rate=0)
    seen = simulate_controller(FixedGuidance(length=60), model, updates=40, problems=50, group_size=8, whole=120)
    assert seen.guided.mean() == pytest.approx(0.5, abs=0.02)
    assert seen.unguided.mean() == pytest.approx(0.119, abs=0.015)
    assert seen.accuracy == pytest.approx(0.1192, abs=1e-4) and (seen.ability == -2).all()
    assert seen.reward == pytest.approx((seen.guided + seen.unguided) / 2)


def test_trend_and_jump_move_the_ability_and_a_curriculum_does_not() -> None:
    model = LearnerModel(ability=0, rate=0, trend=0.5, jump=2, jump_at=1, harder=9)
    seen = simulate_controller(FixedGuidance(length=0), model, updates=3)
    assert seen.ability.tolist() == [[0, 0.5, 3, 3.5]]
    assert (np.diff(seen.accuracy) > 0).all() and seen.unguided[0, 2] == 0


def test_equal_seeds_give_equal_runs_and_rules_are_left_as_they_were() -> None:
    rule = SelfTuning(length=30, max_length=120)
    first, second, third = (simulate_controller(rule, LearnerModel(), updates=20, seed=s) for s in (5, 5, 6))
    assert (first.length == second.length).all() and (first.ability == second.ability).all()
    assert not (first.reward == third.reward).all()
    assert rule.length == 30 and rule.history == []


def test_one_rule_per_setting_or_one_for_all() -> None:
    rules: list[Controller] = [FixedGuidance(length=0), FixedGuidance(length=50)]
    assert simulate_controller(rules, LearnerModel(), updates=2).length.tolist() == [[0] * 3, [50] * 3]
    assert simulate_controller(rules[1], [LearnerModel(), LearnerModel()], updates=2).length.shape == (2, 3)


@pytest.mark.parametrize(
    "options,words",
    [
        ({"updates": 0}, "updates=0"),
        ({"ratio": 1.5}, "ratio=1.5"),
        ({"whole": 0}, "whole=0"),
        ({"learner_model": []}, "0 learners"),
        ({"rule": [FixedGuidance()] * 2, "learner_model": [LearnerModel()] * 3}, "2 controllers and .* 3 learners"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        simulate_controller(**{"rule": FixedGuidance(), **options})


@pytest.mark.parametrize("options,words", [({"spread": -1}, "spread=-1"), ({"bend": 0}, "bend=0")])
def test_bad_learners_are_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LearnerModel(**options)  # type: ignore[arg-type]


# -- stability over 1,000 random settings, 200 of each kind -----------------------------------------------------------

SETTINGS = 200


def random_learners(kind: str) -> list[LearnerModel]:
    """Learners that do not learn by themselves; a whole solution always lifts them above the set point."""
    random = np.random.default_rng(7)
    learners = []
    for _ in range(SETTINGS):
        options = {
            "ability": random.uniform(-6, -2),
            "spread": random.uniform(0, 1),
            "help": random.uniform(8, 12),
            "bend": random.uniform(0.7, 3),
            "rate": 0.0,
        }
        options |= {
            "noise": {},
            "trend": {"trend": random.uniform(0.02, 0.1)},
            "zero": {"ability": -30.0},
            "jump": {"jump": random.choice([-1, 1]) * random.uniform(0.5, 2), "jump_at": 30},
            "harder": {"harder": random.uniform(0.01, 0.05)},
        }[kind]
        learners.append(LearnerModel(**options))
    return learners


def simulate_self_tuning(kind: str, length: float, revealed: bool = False) -> Simulation:
    # an imitation of next to nothing says that reveals are trained, and teaches nothing
    learners = [replace(learner, imitation=1e-9 * revealed) for learner in random_learners(kind)]
    return simulate_controller(SelfTuning(length=length, max_length=120), learners, updates=60, seed=1)


@pytest.mark.parametrize("revealed", [False, True])
@pytest.mark.parametrize("kind", ["noise", "jump", "harder"])
def test_the_set_point_is_held_and_the_start_forgotten(kind: str, revealed: bool) -> None:
    short, long = simulate_self_tuning(kind, 0.1 * WHOLE, revealed), simulate_self_tuning(kind, 0.8 * WHOLE, revealed)
    for seen in (short, long):
        aims = np.array([set_point(plain, 0.5) for plain in seen.unguided[:, -20:].mean(axis=1)])
        error = seen.guided[:, -20:].mean(axis=1) - (aims if revealed else 0.5)
        bound = seen.length[:, -20:].max(axis=1) == WHOLE  # all is shown, more cannot be done
        assert np.abs(error[~bound]).max() < 0.12 and error[bound].max(initial=-1) < 0.05
    apart = np.abs(short.length[:, -20:].mean(axis=1) - long.length[:, -20:].mean(axis=1))
    assert apart.max() < 0.05 * WHOLE
    if kind == "noise":
        assert short.length[:, -20:].std(axis=1).max() < 0.05 * WHOLE


def test_help_ends_as_the_ability_grows() -> None:
    seen = simulate_self_tuning("trend", 0.8 * WHOLE)
    able = seen.ability[:, -1] > 1
    assert able.sum() > 20 and (seen.length[able, -1] < 0.1 * WHOLE).all()
    assert (np.nanmean(seen.guided[:, -20:], axis=1) > 0.45).all()


def test_zero_success_asks_for_everything_within_two_updates() -> None:
    assert (simulate_self_tuning("zero", 0.1 * WHOLE).length[:, 2:] == WHOLE).all()
    assert (simulate_self_tuning("zero", 0.0).length[:, 2:] == WHOLE).all()


@pytest.mark.parametrize("kind", ["noise", "trend", "zero", "jump", "harder"])
@pytest.mark.parametrize(
    "rule",
    [AdaptiveGuidance(45, max_length=120), AdaptiveGuidance(45, max_length=120, max_factor=None)],
    ids=["bounded", "raw"],
)
def test_lengths_stay_finite_and_within_their_bounds(kind: str, rule: AdaptiveGuidance) -> None:
    seen = simulate_controller(rule, random_learners(kind), updates=40, seed=2)
    assert np.isfinite(seen.length).all() and seen.length.min() >= 1 and seen.length.max() <= WHOLE


OTHERS = [
    TargetSuccess(length=45, max_length=WHOLE),
    OfficialCadence(length=45, max_length=WHOLE),
    PerProblem(length=45, max_length=WHOLE),
    ItemResponse(length=45, max_length=WHOLE),
    Stages(max_length=WHOLE),
    SmallestHint(max_length=WHOLE),
    ShortestPrefix(max_length=WHOLE),
]


@pytest.mark.parametrize("kind", ["noise", "trend", "zero", "jump", "harder"])
@pytest.mark.parametrize("rule", OTHERS, ids=lambda rule: type(rule).__name__)
def test_every_rule_stays_finite_and_within_its_bounds(kind: str, rule: Any) -> None:
    learners = [replace(learner, jump_at=3) for learner in random_learners(kind)]
    seen = simulate_controller(rule, learners, updates=8, seed=3, pool=10)
    assert np.isfinite(seen.length).all() and seen.length.min() >= 0 and seen.length.max() <= WHOLE
    if kind == "zero" and not isinstance(rule, OfficialCadence):  # which never helps a policy that is stuck at zero
        assert (seen.length[:, -1] >= seen.length[:, 0]).all() and seen.length[:, -1].mean() > seen.length[:, 0].mean()


def test_help_comes_back_after_it_has_ended() -> None:
    model = LearnerModel(ability=3, rate=0, help=8, jump=-7, jump_at=30)
    seen = simulate_controller(SelfTuning(length=45, max_length=120), model, updates=80)
    assert seen.length[0, 30] == 0 and seen.length[0, -1] > 0.3 * WHOLE
    assert seen.guided[0, -20:].mean() == pytest.approx(0.5, abs=0.1)


# -- from every start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0.0, 0.6])
def test_the_start_decides_for_a_fixed_length_and_not_for_the_self_tuning_one(most: float) -> None:
    """The aim of the rule: lengths of 10, 30, 50 and 80 % of the solution end at the same accuracy.

    With revealed tokens masked (imitation 0), and with them in the loss, where they teach about as much as samples do.
    """
    random = np.random.default_rng(3)
    learners = [
        LearnerModel(random.uniform(-6, -3), bend=random.uniform(1, 3), imitation=random.uniform(most / 3, most))
        for _ in range(40)
    ]
    ends = {
        rule: [
            simulate_controller(rule(length=share * WHOLE, **bounds), learners, whole=WHOLE, updates=120)
            .accuracy[:, -1]
            .mean()
            for share in (0.1, 0.3, 0.5, 0.8)
        ]
        for rule, bounds in (
            (FixedGuidance, {}),
            (AdaptiveGuidance, {"max_length": WHOLE}),
            (SelfTuning, {"max_length": WHOLE}),
        )
    }
    assert min(ends[SelfTuning]) > 0.97 * max(ends[SelfTuning])
    assert min(ends[SelfTuning]) > max(ends[FixedGuidance]) and min(ends[SelfTuning]) > max(ends[AdaptiveGuidance])
    assert min(ends[FixedGuidance]) < 0.8 * max(ends[FixedGuidance])


# -- the five faults of the raw rule ----------------------------------------------------------------------------------


def raw(length: float = 40, window: int = 2, max_length: float | None = None) -> AdaptiveGuidance:
    return AdaptiveGuidance(length=length, window=window, max_length=max_length, max_factor=None)


@pytest.mark.parametrize("window,least,most", [(1, 0.5, 2.0), (2, 4, 60), (4, 15, 300)])
def test_fault_1_drift_under_stationary_success(window: int, least: float, most: float) -> None:
    # E[d log l] = (1 - 1/m) CV^2 / 2 with CV^2 = 0.6 / (0.4 * 32) = 0.047: for m = 2 about e^2.3 in 200 updates, and
    # more because 1/r is skewed; for m = 1 it telescopes
    seen = simulate_controller(raw(window=window), [STILL] * 100, updates=200, problems=4, whole=WHOLE)
    assert least < np.median(seen.length[:, -1]) / 40 < most


def test_fault_1_is_not_ours() -> None:
    model = LearnerModel(ability=-3, spread=0, help=6, rate=0)  # 1/2 of the solution gives 1/2
    seen = simulate_controller(SelfTuning(length=60, max_length=120), [model] * 100, updates=200, problems=4)
    assert np.median(seen.length[:, -1]) == pytest.approx(60, abs=6)


@pytest.mark.parametrize("window,exponent", [(1, -1.0), (2, -1.5), (4, -2.5)])
def test_fault_2_a_trend_counts_more_than_once(window: int, exponent: float) -> None:
    model = LearnerModel(ability=-2, spread=0, help=0, rate=0, trend=0.02)
    seen = simulate_controller(raw(1e6, window), [model] * 10, updates=100, problems=200, group_size=100, whole=1.0)
    slopes = np.log(seen.length[:, -1] / 1e6) / np.log(seen.reward[:, -1] / seen.reward[:, 0])
    assert np.median(slopes) == pytest.approx(exponent, abs=0.2)


def test_fault_3_a_harder_curriculum_lengthens_although_the_policy_improves() -> None:
    model = LearnerModel(ability=0, spread=0, help=0, rate=0, trend=0.01, harder=0.03)
    seen = simulate_controller(raw(10), [model] * 20, updates=80, problems=50, whole=WHOLE)
    assert (seen.accuracy[:, -1] > seen.accuracy[:, 0]).all() and np.median(seen.length[:, -1]) > 20


def test_fault_4_stuck_at_zero_or_thrown_to_the_bound() -> None:
    stuck = simulate_controller(raw(20, max_length=WHOLE), LearnerModel(ability=-30), updates=40)
    assert (stuck.length == 20).all() and (stuck.accuracy < 1e-6).all()
    # a jump down to no success at all: the bound at once, and nothing after it
    fallen = simulate_controller(
        raw(20, max_length=WHOLE), LearnerModel(ability=-1, help=0, rate=0, jump=-30, jump_at=10), updates=20
    )
    assert fallen.length[0, 11] == WHOLE > fallen.length[0, 10]


def test_fault_4_is_not_ours() -> None:
    # the same learner, help enough: from 20 of 120 it finds success and learns to do without
    model = LearnerModel(ability=-6, spread=0.5, help=10, bend=3, imitation=0.3)
    lost = simulate_controller(raw(12, max_length=WHOLE), model, updates=150)
    found = simulate_controller(SelfTuning(length=12, max_length=120), model, updates=150)
    assert found.accuracy[0, -1] > 0.9 and found.accuracy[0, -1] > lost.accuracy[0, -1] - 0.05
    assert found.length[0, -1] < 0.2 * WHOLE


def test_fault_5_at_the_whole_solution_the_signal_of_the_guided_members_is_gone() -> None:
    # all members are guided and drift takes the length to the bound: every answer is right and nothing differs
    model = LearnerModel(ability=-4, spread=0, help=20, rate=0)
    copied = simulate_controller(FixedGuidance(length=WHOLE), model, updates=30, whole=WHOLE, ratio=1)
    assert (copied.reward == 1).all()
    held = simulate_controller(SelfTuning(length=WHOLE, max_length=120), model, updates=60, ratio=1)
    assert held.reward[0, -20:].mean() == pytest.approx(0.5, abs=0.05)


def test_collapse_one_lucky_batch_takes_the_raw_rule_to_its_floor() -> None:
    rule, ours = raw(40), SelfTuning(length=40, max_length=120)
    lengths = [[one.update(reward=r) for r in (0.02, 0.02, 0.9)][-1] for one in (rule, ours)]
    assert lengths[0] < 1.01 and lengths[1] > 40
