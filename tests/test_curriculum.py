"""Curricula: easy before hard, every problem once per epoch, a pure function of seed and index."""

import pytest

from g2rpo_env import Curriculum, Measured, Problem, Ramp, TokenVectorEnv, check_vector_env
from g2rpo_env.curriculum import solution_length
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import ConfigurationError, UnknownProblemError


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
