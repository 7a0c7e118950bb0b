"""Rules with a memory: what one problem teaches stays with it, what all teach goes to newcomers."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from g2rpo_env import (
    AdaptiveGuidance,
    Controller,
    Feedback,
    FixedGuidance,
    ItemResponse,
    LearnerModel,
    PerProblem,
    TargetSuccess,
    simulate_controller,
)
from g2rpo_env.controllers import per_problem
from g2rpo_env.controllers.per_problem import PLACES, SHARES, response_curves
from g2rpo_env.errors import ConfigurationError


def visit(success: dict[str, tuple[int, int]], guided: bool = True) -> Feedback:
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
        valid=np.ones(count, bool),
    )


def test_only_the_problems_seen_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_problem, "KEPT", 2)
    rule = PerProblem(length=20, rule=TargetSuccess(gain=1.0))
    for problem in ("a", "b", "a", "c"):
        rule.update(visit({problem: (4, 4)}))
    assert list(rule.state_dict()["_own"]) == ["a", "c"]
    assert rule.plan(["b"], [0]).tolist() == [rule.length]


# -- a rule per problem -----------------------------------------------------------------------------------------------


def test_each_problem_follows_its_own_success_by_hand() -> None:
    # gain 1, target 0.5: a 20 exp(-.5), b 20 exp(.5); the common copy sees 1/2 and stays; c begins there
    rule = PerProblem(length=20, rule=TargetSuccess(gain=1.0))
    assert rule.update(visit({"a": (4, 4), "b": (0, 4)})) == pytest.approx(20)
    assert rule.plan(["a", "b", "c"], [0, 0, 0]) == pytest.approx([20 * math.exp(-0.5), 20 * math.exp(0.5), 20])
    # only a comes up: its copy and the common one move, b's does not
    rule.update(visit({"a": (0, 4)}))
    assert rule.plan(["a", "b", "c"], [0, 0, 0]) == pytest.approx([20, 20 * math.exp(0.5), 20 * math.exp(0.5)])


def test_a_newcomer_starts_from_the_state_of_all_not_only_from_their_length() -> None:
    # the copy of b knows the past rewards of all: 0.5, then its own 0.25 doubles its length (raw rule, window 2)
    rule = PerProblem(length=10, source="all", rule=AdaptiveGuidance(max_factor=None))
    rule.update(visit({"a": (2, 4)}))
    rule.update(visit({"b": (1, 4)}))
    assert rule.plan(["b"], [0]).tolist() == [20]


def test_the_rule_is_kept_as_plain_data_that_makes_an_equal_one() -> None:
    rule = PerProblem(length=20, rule=TargetSuccess(gain=0.3))
    data = json.loads(json.dumps(rule.rule))
    assert data["class"] == "TargetSuccess" and data["options"]["gain"] == 0.3
    assert asdict(PerProblem(length=20, rule=data)._common) == asdict(rule._common)


@pytest.mark.parametrize("path", ["g2rpo_env.controller", "g2rpo_env.controllers.rules"])
def test_a_rule_given_by_the_path_of_its_class_is_kept_by_its_public_name(path: str) -> None:
    rule = PerProblem(length=20, rule=TargetSuccess(gain=0.3))
    assert isinstance(rule.rule, dict)
    assert PerProblem(length=20, rule={**rule.rule, "class": f"{path}:TargetSuccess"}) == rule


def test_a_rule_of_another_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="rule='TargetSucces' .* did you mean 'TargetSuccess'"):
        PerProblem(rule={"class": "TargetSucces", "options": {}})


def test_bounds_and_source_are_those_of_the_whole() -> None:
    rule = PerProblem(length=20, min_length=15, max_length=22, rule=TargetSuccess(gain=5.0, max_length=900))
    rule.update(visit({"a": (4, 4), "b": (0, 4)}))
    assert rule.plan(["a", "b"], [0, 0]).tolist() == [15, 22]
    with pytest.raises(ConfigurationError, match="ItemResponse gives lengths per problem already"):
        PerProblem(length=20, max_length=100, rule=ItemResponse())


# -- item response ----------------------------------------------------------------------------------------------------


def test_curves_rise_from_a_guess_to_one() -> None:
    curves, prior = response_curves()
    assert curves.shape == (len(SHARES), len(prior)) and (np.diff(curves, axis=0) >= 0).all()
    middle = np.flatnonzero(np.isclose(np.repeat(PLACES, 9), 0.5))[0]  # b = .5, a = 4, c = 0
    assert curves[50, middle] == pytest.approx(0.5)


def test_a_known_response_is_found() -> None:
    # P(h) = 1 / (1 + exp(-8 (h - b))): with many answers the length goes to b
    random = np.random.default_rng(0)
    places = {"easy": 0.2, "hard": 0.8}
    rule = ItemResponse(length=50, max_length=100, borrowed=0)
    for _ in range(40):
        share = dict(zip(places, rule.plan(list(places), [0, 0]) / 100, strict=True))
        right = {p: int(random.binomial(32, 1 / (1 + math.exp(-8 * (share[p] - b))))) for p, b in places.items()}
        rule.update(visit({p: (n, 32) for p, n in right.items()}))
    assert rule.plan(["easy", "hard"], [0, 0]) == pytest.approx([20, 80], abs=8)


def test_answers_that_are_all_equal_push_to_the_bounds_and_no_further() -> None:
    rule = ItemResponse(length=50, max_length=100)
    for _ in range(12):
        rule.update(visit({"easy": (8, 8), "hard": (0, 8)}))
    assert rule.plan(["easy", "hard"], [0, 0]).tolist() == [0, 100]


def test_plain_episodes_count_as_reveals_of_nothing() -> None:
    told, untold = ItemResponse(length=50, max_length=100), ItemResponse(length=50, max_length=100)
    told.update(visit({"a": (4, 8)}, guided=False))
    untold.update(visit({"a": (4, 8)}))
    assert told.plan(["a"], [0])[0] < untold.plan(["a"], [0])[0]
    assert math.isnan(told.history[0]["reward"])  # no guided episode: the history has none, the fit has eight


def test_newcomers_borrow_from_all() -> None:
    rule = ItemResponse(length=50, max_length=100)
    for _ in range(6):
        rule.update(visit({"a": (0, 8), "b": (0, 8)}))
    assert rule.length > 80 and rule.plan(["new"], [0]).tolist() == [rule.length]


def test_a_mean_alone_leaves_the_length() -> None:
    assert ItemResponse(length=50, max_length=120).update(reward=0.1) == 50


def test_it_holds_its_target_for_a_modelled_learner() -> None:
    model = LearnerModel(ability=-4, spread=1, help=8, rate=0)
    seen = simulate_controller(ItemResponse(length=12, max_length=120), [model] * 4, updates=40)
    assert seen.guided[:, -10:].mean() == pytest.approx(0.5, abs=0.1)


# -- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PerProblem, ItemResponse])
def test_a_state_survives_json_and_continues_exactly(make: type[Controller]) -> None:
    random = np.random.default_rng(0)
    visits = [visit({p: (int(random.integers(5)), 4) for p in "abcd"[i % 3 :]}) for i in range(12)]
    whole, first, second = (make(length=20, max_length=120) for _ in range(3))  # type: ignore[call-arg]
    for one in visits:
        whole.update(one)
    for one in visits[:5]:
        first.update(one)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for one in visits[5:]:
        second.update(one)
    assert second.history == whole.history
    assert second.plan(list("abcde"), [0] * 5).tolist() == whole.plan(list("abcde"), [0] * 5).tolist()


@pytest.mark.parametrize(
    "options,words",
    [
        ({"max_length": None}, "max_length=None"),
        ({"target": 1.0}, "target=1.0"),
        ({"memory": 1.5}, "memory=1.5"),
        ({"borrowed": -1}, "borrowed=-1"),
        ({"min_length": 50, "max_length": 40}, "min_length=50"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ItemResponse(**options)  # type: ignore[arg-type]


def test_a_fixed_rule_needs_no_bounds() -> None:
    rule = PerProblem(length=7, rule=FixedGuidance())
    rule.update(visit({"a": (0, 4)}))
    assert rule.plan(["a", "b"], [0, 1]).tolist() == [7, 7]
