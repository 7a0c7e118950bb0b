"""Curricula: easy before hard, every problem once per epoch, a pure function of seed and index."""

import json

import numpy as np
import pytest

from g2rpo_env import (
    Curriculum,
    Feedback,
    FixedGuidance,
    Measured,
    Problem,
    Ramp,
    Readmitting,
    TokenEnv,
    TokenVectorEnv,
    VectorGuidanceWrapper,
    Without,
    check_vector_env,
)
from g2rpo_env.curriculum import solution_length
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.guidance import give_feedback


class Rows(RowSource):
    """Ten problems whose solutions grow; another split has three."""

    splits = ("train", "test")

    def __init__(self, split: str = "train") -> None:
        count = {"train": 10, "test": 3}[split]
        super().__init__([Problem(f"p{i}", "Q", ("x" * (i + 1),), "#", "1") for i in range(count)], split)

    def with_split(self, split: str) -> "Rows":
        """Return another split."""
        return Rows(split)


def epoch(source: Curriculum, number: int = 0, seed: int = 3) -> list[str]:
    size = source.num_problems
    return [source.draw(seed, number * size + i) for i in range(size)]


def test_as_many_tiers_as_problems_sort_them() -> None:
    assert epoch(Curriculum(Rows(), tiers=10)) == [f"p{i}" for i in range(10)]


def test_tiers_rise_and_are_shuffled_inside() -> None:
    source = Curriculum(Rows(), tiers=2)
    first, second = epoch(source), epoch(source, 1)
    for order in (first, second):
        assert {int(name[1:]) for name in order[:5]} == set(range(5)) and len(set(order)) == 10
    assert first != second and first == epoch(source) and first != epoch(source, seed=4)


def test_tiers_of_unequal_size_cover_every_position_once() -> None:
    # 10 problems in 3 tiers: [0, 3), [3, 6), [6, 10)
    source = Curriculum(Rows(), tiers=3)
    assert [source.tier(position)[0] for position in range(10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert {source.tier(position)[1:] for position in range(10)} == {(0, 3), (3, 6), (6, 10)}
    assert sorted(epoch(source)) == [f"p{i}" for i in range(10)]


def test_one_tier_is_a_random_order() -> None:
    assert sorted(epoch(Curriculum(Rows(), tiers=1))) == [f"p{i}" for i in range(10)]
    assert epoch(Curriculum(Rows(), tiers=1)) != [f"p{i}" for i in range(10)]


def test_measured_success_orders_from_often_to_seldom_right() -> None:
    success = {f"p{i}": i / 10 for i in range(10) if i != 5}  # p5 is unknown, 1/2 is assumed
    assert epoch(Curriculum(Rows(), Measured(success), tiers=10)) == [f"p{i}" for i in range(9, -1, -1)]


def test_everything_else_is_that_of_the_source() -> None:
    source = Curriculum(Rows(), tiers=5)
    assert source.split == "train" and source.splits == ("train", "test") and len(list(source.longest())) == 10
    assert source.get("p3") == Rows().get("p3")
    with pytest.raises(UnknownProblemError):
        source.get("p99")
    other = source.with_split("test")
    assert other.split == "test" and other.tiers == 3 and other.num_problems == 3


def test_a_ramp_goes_from_the_easiest_to_the_hardest_candidate() -> None:
    source = Ramp(AdditionSource((1, 6)), candidates=4, span=100)

    def mean(start: int) -> float:
        drawn = [source.draw(0, index) for index in range(start, start + 25)]
        return sum(solution_length(source.get(name)) for name in drawn) / 25

    quarters = [mean(start) for start in (0, 25, 50, 75, 500)]
    assert quarters[:4] == sorted(quarters[:4]) and quarters[4] > 2 * quarters[0]
    assert source.draw(0, 7) == source.draw(0, 7) and source.num_problems is None
    assert source.with_split("test").split == "test"


def test_environments_with_a_curriculum_keep_the_contract() -> None:
    task = Addition(digits=(1, 3))
    task.source = Ramp(task.source, candidates=3, span=50)
    envs = TokenVectorEnv(task, 4, group_size=2)
    check_vector_env(envs)
    assert len(set(envs.reset(seed=0)[1]["problem_id"])) == 2


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: Curriculum(AdditionSource(18)), "AdditionSource does not know its number of problems .* use Ramp"),
        (lambda: Curriculum(Rows(), tiers=0), r"tiers=0 must lie in \[1, 10\]"),
        (lambda: Curriculum(Rows(), tiers=11), "tiers=11"),
        (lambda: Ramp(Rows(), candidates=1), "candidates=1"),
        (lambda: Ramp(Rows(), span=0), "span=0"),
        (lambda: Measured({"p": 1.5}), "success of 'p' is 1.5"),
        (lambda: Measured({}, unknown=-1), "success of 'unknown' is -1"),
    ],
)
def test_bad_arguments_are_named(make: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()  # type: ignore[operator]


# -- hopeless problems, set aside and taken back ----------------------------------------------------------------------


def visit(problems: str, right: str = "", reveal: int = 0, valid: bool = True) -> Feedback:
    """Two episodes of each problem "p0", "p1", ... named by a digit; those of ``right`` have a right answer."""
    names = [f"p{digit}" for digit in problems for _ in range(2)]
    count = len(names)
    correct = np.array([name[1:] in right and i % 2 == 0 for i, name in enumerate(names)], bool)
    ones = np.ones(count, bool)
    guided, shown, known = ones * (reveal > 0), ones * reveal, ones * valid
    return Feedback(np.array(names, object), np.arange(count) % 2, guided, shown, correct, known)


def tell(source: Readmitting, *visits: Feedback, shown: int = 0) -> None:
    """Give a source visits, one update each, as a training loop does; guidance would show so many tokens."""
    for one in visits:
        source.learn(one)
        source.take_plan(dict.fromkeys(source.set_aside, shown))


def test_while_nobody_is_set_aside_the_order_is_that_of_the_source() -> None:
    source = Readmitting(Rows())
    assert [source.draw(3, i) for i in range(40)] == [Rows().draw(3, i) for i in range(40)]
    tell(source, visit("0123456789", right="0123456789"), visit("01", right=""))  # one failure is not two
    assert [source.draw(3, i) for i in range(40)] == [Rows().draw(3, i) for i in range(40)]


def test_a_problem_that_nobody_solves_is_passed_over_and_its_place_taken() -> None:
    source = Readmitting(Rows(), patience=2, rest=5)
    tell(source, visit("48", right="8"), visit("48", right="8"))
    assert not source.admits("p4") and source.admits("p8")
    drawn = [source.draw(3, i) for i in range(60)]
    assert "p4" not in drawn and drawn == [source.draw(3, i) for i in range(60)]
    plain = [Rows().draw(3, i) for i in range(60)]
    assert [(a, b) for a, b in zip(drawn, plain, strict=True) if a != b and b != "p4"] == []


def test_it_comes_back_after_a_rest_that_doubles_with_every_failure() -> None:
    source = Readmitting(Rows(), patience=1, rest=2)
    tell(source, visit("4"))  # update 1: set aside until update 3
    away = []
    for _ in range(8):
        away.append(not source.admits("p4"))
        tell(source, visit("4" if source.admits("p4") else "8", right="8"))
    # seen before updates 2..9: away at 2; back for update 4, fails, away for 4 updates
    assert away == [True, True, False, True, True, True, True, False]


def test_guidance_that_shows_more_takes_it_back_at_once() -> None:
    source = Readmitting(Rows(), patience=2, rest=50, more=3)
    tell(source, visit("4", reveal=5), visit("4", reveal=4), shown=7)
    assert not source.admits("p4")  # 7 < 5 + 3
    tell(source, visit("8", right="8"), shown=8)
    assert source.admits("p4")
    tell(source, visit("4", reveal=8), shown=8)  # tried with 8: aside until it would be shown 11
    assert not source.admits("p4")
    tell(source, visit("4", right="4", reveal=8), shown=8)
    assert source.admits("p4") and source.records == {}


def test_if_all_are_set_aside_the_order_goes_on() -> None:
    source = Readmitting(Rows(), patience=1)
    tell(source, visit("0123456789"))
    assert [source.draw(3, i) for i in range(10)] == [Rows().draw(3, i) for i in range(10)]


def test_episodes_without_a_verdict_say_nothing() -> None:
    source = Readmitting(Rows(), patience=1)
    tell(source, visit("4", valid=False), visit("", valid=False))
    assert source.records == {} and source.updates == 2


def test_its_state_survives_json_and_goes_on() -> None:
    source = Readmitting(Rows(), patience=1, rest=3)
    tell(source, visit("45"), visit("8", right="8"))
    again = Readmitting(Rows(), patience=1, rest=3)
    again.load_state_dict(json.loads(json.dumps(source.state_dict())))
    for one in (source, again):
        tell(one, visit("9"))
    assert again.state_dict() == source.state_dict()
    assert [again.draw(1, i) for i in range(30)] == [source.draw(1, i) for i in range(30)]
    shown = Readmitting(Rows(), patience=1, rest=9)
    tell(shown, visit("4"), shown=1)
    again.load_state_dict(json.loads(json.dumps(shown.state_dict())))
    assert again.admits("p4") and again.set_aside == ["p4"]  # the plan is a part of the state
    assert isinstance(source.with_split("test"), Rows) and source.num_problems == 10


def test_a_loop_gives_feedback_and_the_environment_keeps_the_state() -> None:
    def make() -> VectorGuidanceWrapper:
        task = Addition(digits=2)
        task.source = Readmitting(task.source, patience=1, rest=50)
        return VectorGuidanceWrapper(TokenVectorEnv(task, 4, group_size=2), 2, ratio=1.0)

    envs, controller = make(), FixedGuidance(length=2)
    _, info = envs.reset(seed=0)
    ids, ones = info["problem_id"], np.ones(4, bool)
    give_feedback(envs, Feedback(ids, info["member"], ones, info["reveal_length"], ~ones, ones), controller)
    source = envs.unwrapped.task.source
    assert not any(source.admits(name) for name in ids) and {r.shown for r in source.records.values()} == {2}
    other = make()
    other.unwrapped.load_state_dict(json.loads(json.dumps(envs.unwrapped.state_dict())))
    other.follow(controller)
    assert other.unwrapped.task.source.state_dict() == source.state_dict()
    assert list(other.reset()[1]["problem_id"]) == list(envs.reset()[1]["problem_id"])
    controller.length = 3.0
    nothing = Feedback.from_episodes([])
    give_feedback(envs, nothing, controller)
    assert all(source.admits(name) for name in ids)  # the rule would show 3 now
    give_feedback(other.unwrapped, nothing, None)
    assert not any(other.unwrapped.task.source.admits(name) for name in ids)  # without guidance nothing is shown
    single = TokenEnv(envs.unwrapped.task)
    single.reset(seed=0)
    assert single.state_dict()["source"] == source.state_dict()


def test_a_source_below_a_ramp_learns_admits_and_is_saved() -> None:
    def make() -> VectorGuidanceWrapper:
        task = Addition(digits=2)
        task.source = Ramp(Readmitting(task.source, patience=1, rest=50), candidates=2, span=100)
        return VectorGuidanceWrapper(TokenVectorEnv(task, 4, group_size=2), 2, ratio=1.0)

    envs, controller = make(), FixedGuidance(length=2)
    ramp = envs.unwrapped.task.source
    before = [ramp.draw(0, i) for i in range(200)]
    _, info = envs.reset(seed=0)
    ids, ones = info["problem_id"], np.ones(4, bool)
    failed = Feedback(ids, info["member"], ones, info["reveal_length"], ~ones, ones)
    give_feedback(envs, failed, controller)
    assert sorted(ramp.source.set_aside) == sorted(set(ids)) and ramp.source.updates == 1
    assert set(ids) <= set(before) and not set(ids) & {ramp.draw(0, i) for i in range(200)}
    other = make()
    other.unwrapped.load_state_dict(json.loads(json.dumps(envs.unwrapped.state_dict())))
    again = other.unwrapped.task.source
    assert again.source.state_dict() == ramp.source.state_dict()
    assert list(other.reset()[1]["problem_id"]) == list(envs.reset()[1]["problem_id"])
    controller.length = 3.0
    for one in (envs, other):
        give_feedback(one, Feedback.from_episodes([]), controller)
    assert all(ramp.source.admits(name) and again.source.admits(name) for name in ids)  # the rule would show 3 now
    assert [ramp.draw(0, i) for i in range(200)] == before


@pytest.mark.parametrize("name", ["patience", "rest", "more", "candidates"])
def test_numbers_below_one_are_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=0"):
        Readmitting(Rows(), **{name: 0})


# -- dropped problems --------------------------------------------------------------------------------------------------


def test_dropped_problems_are_replaced_and_the_others_stay_where_they_were() -> None:
    plain, dropped = Rows(), {"p0", "p3", "p7"}
    source = Without(plain, dropped)
    before, after = ([one.draw(5, i) for i in range(200)] for one in (plain, source))
    assert not set(after) & dropped and set(after) == set(before) - dropped
    assert [b for b in before if b not in dropped] == [a for b, a in zip(before, after, strict=True) if a == b]
    assert after == [Without(Rows(), sorted(dropped)).draw(5, i) for i in range(200)]  # a pure function of both
    assert [Without(plain).draw(5, i) for i in range(20)] == before[:20]
    assert [source.draw([5, 1], i) for i in range(9)] != [source.draw([5, 2], i) for i in range(9)]


def test_what_was_dropped_is_still_known_and_other_splits_have_it() -> None:
    source = Without(Rows(), ["p0"])
    assert source.get("p0").problem_id == "p0" and source.num_problems == 10 and source.split == "train"
    assert isinstance(source.with_split("test"), Rows) and len(list(source.longest())) == len(list(Rows().longest()))
    assert Without(Rows(), [f"p{i}" for i in range(10)]).draw(5, 3) == Rows().draw(5, 3)  # nothing is left: as it comes


def test_arguments_of_without_are_named() -> None:
    with pytest.raises(ConfigurationError, match="dropped='p1' must be a collection of problem ids"):
        Without(Rows(), "p1")
    with pytest.raises(ConfigurationError, match="candidates=0 must be at least 1"):
        Without(Rows(), candidates=0)
