"""SelfTuning: steps by hand, offsets by hand, both ends of the range."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env import Feedback, SelfTuning
from g2rpo_env.controllers.self_tuning import set_point
from g2rpo_env.errors import ConfigurationError


def visit(success: dict[str, tuple[int, int]], guided: bool = True, valid: bool = True) -> Feedback:
    """Return episodes of some problems: {problem: (right, number)}."""
    names = [name for name, (_, number) in success.items() for _ in range(number)]
    correct = [i < right for right, number in success.values() for i in range(number)]
    count = len(names)
    return Feedback(
        problem_id=np.array(names, object),
        member=np.arange(count),
        guided=np.full(count, guided),
        reveal=np.full(count, 10 * guided),
        correct=np.array(correct),
        valid=np.full(count, valid),
    )


def test_steps_by_hand() -> None:
    # L = 100, target 0.5. r = 0.25: e = 0.5, + 50 * 0.5; r = 0: the step is at its bound, + 50; r = 1: e = -1, other
    # sign, - 30; r = 0.5: e = 0 changes nothing, and neither step nor sign; r = 1: the step grows, - 39
    rule = SelfTuning(length=10, max_length=100)
    lengths = [rule.update(reward=r) for r in (0.25, 0.0, 1.0, 0.5, 1.0)]
    assert lengths == pytest.approx([35.0, 85.0, 55.0, 55.0, 16.0])


def test_errors_are_relative_to_the_farthest_one() -> None:
    # target 0.8: no success is e = 1, r = 0.4 half of it, r = 1 a quarter; target 0.2 the other way round
    def first(target: float, reward: float) -> float:
        return SelfTuning(length=50, max_length=100, target=target).update(reward=reward)

    assert [first(0.8, r) for r in (0.0, 0.4, 1.0)] == pytest.approx([100, 75, 37.5])
    assert [first(0.2, r) for r in (0.0, 0.6, 1.0)] == pytest.approx([62.5, 25, 0])


def test_without_a_target_the_whole_group_is_taken_to_one_half_by_hand() -> None:
    # half of 16 episodes guided, plain success 1/2: its running mean moves a fifth of the way, to 0.1, so that the
    # guided ones are to reach (1/2 - 0.05) / 0.5 = 0.9. They reach 1/2: e = 0.4 / 0.9
    rule = SelfTuning(length=40, max_length=100, own=0)
    rule.set_trains_revealed(True)
    both = {"guided": visit({"a": (4, 8)}), "plain": visit({"a": (4, 8)}, guided=False)}
    names = [f.name for f in fields(Feedback)]
    feedback = Feedback(**{name: np.concatenate([getattr(one, name) for one in both.values()]) for name in names})
    assert rule.update(feedback) == pytest.approx(40 + 50 * 0.4 / 0.9)
    # then 0.1 + 0.2 * 0.4 = 0.18: (1/2 - 0.09) / 0.5 = 0.82, and the same sign: the step is at its bound
    assert rule.update(feedback) == pytest.approx(min(100, 40 + 50 * 0.4 / 0.9 + 50 * 0.32 / 0.82))


def test_where_all_members_are_guided_or_reveals_are_not_trained_one_half_is_held() -> None:
    for rule in (SelfTuning(length=40, max_length=100), SelfTuning(length=40, max_length=100, target=0.5)):
        rule.set_trains_revealed(True)
        assert rule.update(visit({"a": (1, 4)})) == 65 and rule.update(reward=0.5) == 65
    masked = SelfTuning(length=40, max_length=100)
    masked.update(visit({"a": (0, 4)}, guided=False))
    assert masked._plain == 0 and masked.update(visit({"a": (2, 4)})) == masked.history[0]["length"]


@given(plain=st.floats(0, 1), share=st.floats(0.05, 1))
def test_the_set_point_takes_the_group_to_one_half_where_it_can(plain: float, share: float) -> None:
    aim = set_point(plain, share)
    assert 0.5 <= aim <= 0.95
    if 0.5 < aim < 0.95:
        assert share * aim + (1 - share) * plain == pytest.approx(0.5)


def test_the_step_stays_within_its_bounds() -> None:
    rule = SelfTuning(length=50, max_length=100)
    for i in range(30):
        rule.update(reward=0.45 if i % 2 else 0.55)
    assert abs(rule.update(reward=1.0) - rule.history[-2]["length"]) >= 2 - 1e-9  # LEAST_STEP of 100
    for _ in range(30):
        rule.update(reward=0.0)
    assert rule.length == 100
    assert rule.update(reward=1.0) == pytest.approx(100 - 100 * 0.5 * 0.6)


def test_offsets_by_hand() -> None:
    # mean 0.5; easy 1.0 and hard 0.0: offsets -/+ 0.5 * 0.5 of 100 around the common length, which stays at 50
    rule = SelfTuning(length=50, max_length=100)
    assert rule.update(visit({"easy": (4, 4), "hard": (0, 4)})) == 50
    assert rule.plan(["easy", "hard", "new"], [0, 0, 0]) == pytest.approx([25, 75, 50])


def test_without_a_gain_all_problems_have_one_length() -> None:
    rule = SelfTuning(length=50, max_length=100, own=0)
    rule.update(visit({"easy": (4, 4), "hard": (0, 4)}))
    assert rule.plan(["easy", "hard"], [0, 0]).tolist() == [50, 50]


def test_offsets_and_lengths_stay_in_range() -> None:
    rule = SelfTuning(length=50, max_length=100, own=10)
    for _ in range(10):
        rule.update(visit({"easy": (4, 4), "hard": (0, 4)}))
    assert rule.plan(["easy", "hard"], [0, 0]).tolist() == [0, 100]


def test_plain_episodes_count_where_nothing_is_revealed() -> None:
    rule = SelfTuning(length=0, max_length=100)
    assert rule.update(visit({"a": (0, 4)}, guided=False)) == 50  # no guided episode at length 0, and no success
    held = SelfTuning(length=0, max_length=100)
    assert held.update(visit({"a": (4, 4)}, guided=False)) == 0


def test_an_update_without_valid_episodes_changes_nothing() -> None:
    rule = SelfTuning(length=30, max_length=120)
    assert rule.update(visit({"a": (1, 4)}, valid=False)) == 30 == rule.update(reward=math.nan)


def test_a_state_survives_json_and_continues_exactly() -> None:
    random = np.random.default_rng(0)
    visits = [visit({p: (int(random.integers(5)), 4) for p in "abcd"}) for _ in range(30)]
    whole, first, second = (SelfTuning(length=20, max_length=120) for _ in range(3))
    whole.set_trains_revealed(True)
    first.set_trains_revealed(True)
    for one in visits:
        whole.update(one)
    for one in visits[:13]:
        first.update(one)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for one in visits[13:]:
        second.update(one)
    assert second.history == whole.history
    assert second.plan(list("abcde"), [0] * 5).tolist() == whole.plan(list("abcde"), [0] * 5).tolist()


@pytest.mark.parametrize(
    "options,words",
    [
        ({"max_length": None}, "max_length=None must be above 0"),
        ({"target": 0.0}, "target=0.0"),
        ({"own": -1.0}, "own=-1.0"),
        ({"length": 200}, "length=200"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SelfTuning(**options)  # type: ignore[arg-type]
