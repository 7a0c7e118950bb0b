"""SelfTuning: steps by hand, offsets by hand, both ends of the range."""

import json
import math

import numpy as np
import pytest

from g2rpo_env import Feedback, SelfTuning
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


def test_errors_are_relative_to_the_way_there_is() -> None:
    # target 0.8: r = 0.9 is half of the way up to 1, r = 0.4 half of the way down to 0
    assert SelfTuning(length=50, max_length=100, target=0.8).update(reward=0.9) == pytest.approx(25)
    assert SelfTuning(length=50, max_length=100, target=0.8).update(reward=0.4) == pytest.approx(75)


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
    rule = SelfTuning(length=30)
    assert rule.update(visit({"a": (1, 4)}, valid=False)) == 30 == rule.update(reward=math.nan)


def test_a_state_survives_json_and_continues_exactly() -> None:
    random = np.random.default_rng(0)
    visits = [visit({p: (int(random.integers(5)), 4) for p in "abcd"}) for _ in range(30)]
    whole, first, second = (SelfTuning(length=20) for _ in range(3))
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
