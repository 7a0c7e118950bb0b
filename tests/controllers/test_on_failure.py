"""Rules that act on failure: each way of a problem through its states by hand."""

import json
import math

import numpy as np
import pytest

from g2rpo_env import Controller, Feedback, LearnerModel, ShortestPrefix, SmallestHint, Stages, simulate_controller
from g2rpo_env.controllers.on_failure import FailureTriggered
from g2rpo_env.errors import ConfigurationError


def visit(problem: str, guided_right: int, plain_right: int = 0, valid: bool = True, length: float = 1.0) -> Feedback:
    """Return a group of four, two of them guided if there is a length, with so many right answers of each kind."""
    return Feedback(
        problem_id=np.array([problem] * 4, object),
        member=np.arange(4),
        guided=np.array([length > 0] * 2 + [False] * 2),
        reveal=np.array([5, 5, 0, 0]) * (length > 0),
        correct=np.array([guided_right > 0, guided_right > 1, plain_right > 0, plain_right > 1]),
        valid=np.full(4, valid),
    )


def shares(rule: FailureTriggered, right: list[int]) -> list[float]:
    """Share of each visit that follows, guided members right so often."""
    return [rule.update(visit("a", r)) for r in right]


def test_stages_by_hand() -> None:
    assert shares(Stages(), [0, 0, 0, 0, 1, 0]) == [0.25, 0.5, 0.75, 0.75, 0, 0.25]


def test_one_success_of_a_plain_member_ends_the_stages_too() -> None:
    rule = Stages()
    rule.update(visit("a", 0))
    assert rule.update(visit("a", 0, plain_right=1)) == 0


def test_the_smallest_hint_by_hand() -> None:
    # fail, fail: 2/4; right twice: 1/4 is tried; fails: 2/4 again; right once is not enough
    assert shares(SmallestHint(), [0, 0, 1, 2, 0, 1]) == [0.25, 0.5, 0.5, 0.25, 0.5, 0.5]
    assert shares(SmallestHint(parts=2), [0, 0, 0]) == [0.5, 1, 1]


def test_a_success_alone_takes_the_smallest_hint_to_nothing() -> None:
    rule = SmallestHint()
    shares(rule, [0, 0, 0])
    assert rule.update(visit("a", 2, plain_right=1)) == 0


def test_no_hint_before_the_warm_up_is_over() -> None:
    assert shares(SmallestHint(warmup=2), [0, 0, 0, 0]) == [0, 0, 0.25, 0.5]


def test_the_bisection_by_hand() -> None:
    # (0,1) 1/2 fails -> (1/2,1) 3/4 works -> (1/2,3/4) 5/8 fails -> (5/8,3/4): closed at 1/8, so 3/4 is used;
    # it works: open downwards by 4/8 -> (1/4,3/4): 1/2; works -> (1/4,1/2): 3/8; fails -> (3/8,1/2): 1/2
    rule = ShortestPrefix(resolution=1 / 8)
    assert shares(rule, [0, 0, 1, 0, 1, 1, 0]) == [0.5, 0.75, 0.625, 0.75, 0.5, 0.375, 0.5]


def test_a_closed_bracket_that_fails_opens_upwards() -> None:
    rule = ShortestPrefix(resolution=1 / 8)
    assert shares(rule, [0, 1, 1, 1]) == [0.5, 0.25, 0.125, 0.125]  # (0, 1/8): closed
    assert shares(rule, [0]) == [0.375]  # (1/8, 5/8)
    assert shares(ShortestPrefix(resolution=0.5), [0, 0, 0, 0]) == [0.5, 1, 1, 1]  # never above the whole


@pytest.mark.parametrize("threshold", [0.1, 0.33, 0.5, 0.77, 0.99])
def test_the_bisection_finds_what_is_just_enough(threshold: float) -> None:
    rule = ShortestPrefix(resolution=1 / 32)
    for _ in range(6):  # one alone, five halvings
        rule.update(visit("a", 2 * bool(rule.plan(["a"], [0])[0] >= threshold)))
    assert threshold <= rule.plan(["a"], [0])[0] <= threshold + 1 / 32


@pytest.mark.parametrize("make", [Stages, SmallestHint, ShortestPrefix])
def test_problems_never_seen_get_nothing_and_lengths_are_of_the_whole(make: type[FailureTriggered]) -> None:
    rule = make(length=4, max_length=40, min_length=4)
    rule.update(visit("a", 0))
    assert rule.plan(["b", "a"], [0, 0]).tolist() == [0, rule.length] and 4 <= rule.length <= 40


@pytest.mark.parametrize("make", [Stages, SmallestHint, ShortestPrefix])
def test_a_visit_without_valid_episodes_moves_nothing(make: type[FailureTriggered]) -> None:
    rule = make()
    rule.update(visit("a", 0))
    before = rule.plan(["a"], [0]).tolist()
    rule.update(visit("a", 0, valid=False))
    assert rule.plan(["a"], [0]).tolist() == before and math.isnan(rule.history[-1]["reward"])


@pytest.mark.parametrize("make", [Stages, SmallestHint, ShortestPrefix])
def test_a_state_survives_json_and_continues_exactly(make: type[Controller]) -> None:
    random = np.random.default_rng(0)
    visits = [visit("abc"[i % 3], int(random.integers(2))) for i in range(30)]
    whole, first, second = (make() for _ in range(3))
    for one in visits:
        whole.update(one)
    for one in visits[:14]:
        first.update(one)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for one in visits[14:]:
        second.update(one)
    assert second.history == whole.history
    assert second.plan(list("abcd"), [0] * 4).tolist() == whole.plan(list("abcd"), [0] * 4).tolist()


@pytest.mark.parametrize("make", [Stages, SmallestHint, ShortestPrefix])
def test_help_makes_a_hopeless_learner_learn(make: type[FailureTriggered]) -> None:
    model = LearnerModel(ability=-6, help=12, imitation=0.1)
    plain = simulate_controller(make(max_length=1.0), model, updates=150, pool=16, ratio=0)
    helped = simulate_controller(make(max_length=1.0), model, updates=150, pool=16)
    assert helped.accuracy[0, -1] > plain.accuracy[0, -1] + 0.3


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: Stages(stages=()), r"stages=\(\)"),
        (lambda: Stages(stages=(0.5, 0.25)), "stages="),
        (lambda: Stages(stages=(0.5, 1.25)), "stages="),
        (lambda: Stages(max_length=None), "max_length=None"),
        (lambda: SmallestHint(parts=0), "parts=0"),
        (lambda: SmallestHint(warmup=-1), "warmup=-1"),
        (lambda: SmallestHint(patience=0), "patience=0"),
        (lambda: ShortestPrefix(resolution=0), "resolution=0"),
    ],
)
def test_bad_arguments_are_named(make: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()  # type: ignore[operator]
