"""Problems, and picking distinct ones from a source."""

import dataclasses
from typing import Any

import pytest

from g2rpo_env import Problem, Ramp
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.hints import Hinted
from g2rpo_env.problem import WrappedSource, distinct_ids, walk_sources


def rows(count: int) -> RowSource:
    return RowSource([Problem(f"p{i}", "", (), "#", "") for i in range(count)], "train")


def test_a_solution_is_the_steps_and_then_the_final_part() -> None:
    assert Problem("p", "Q\n", ("a\n", "b\n"), "#3", "3").solution == "a\nb\n#3"
    assert Problem("p", "Q\n", (), "#3", "3").solution == "#3"


def test_a_problem_is_frozen_and_equal_by_value() -> None:
    problem = Problem("p", "Q", ("a",), "#", "1")
    assert problem == Problem("p", "Q", ("a",), "#", "1") and hash(problem) == hash(Problem("p", "Q", ("a",), "#", "1"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.prompt = "x"  # type: ignore[misc]


def test_every_problem_has_a_difficulty_its_level_or_its_number_of_steps() -> None:
    assert Problem("p", "Q", ("a", "b"), "#", "1").difficulty == 2.0
    assert Problem("p", "Q", ("a", "b"), "#", "1", level=0.25).difficulty == 0.25
    assert Problem("p", "Q", (), "#", "1", level=0.0).difficulty == 0.0


def test_sources_are_walked_from_the_outermost_to_the_one_that_wraps_no_other() -> None:
    inner: Any = rows(3)
    middle = Hinted(inner)
    outer = Ramp(middle)
    assert list(walk_sources(outer)) == [outer, middle, inner] and list(walk_sources(inner)) == [inner]
    inner.source = "gsm8k"  # a name is no source
    assert list(walk_sources(outer)) == [outer, middle, inner]


@pytest.mark.parametrize("asked,given", [(1, 1), (4, 4), (7, 7), (50, 7)])
def test_distinct_ids_are_distinct_and_at_most_all_there_are(asked: int, given: int) -> None:
    ids = distinct_ids(rows(7), asked, seed=0)
    assert len(ids) == len(set(ids)) == given


def test_distinct_ids_follow_the_seeded_order_without_its_repeats() -> None:
    source = AdditionSource(1)
    drawn = [source.draw(3, index) for index in range(200)]
    assert distinct_ids(source, 10, seed=3) == list(dict.fromkeys(drawn))[:10]
    assert distinct_ids(source, 10, seed=4) != distinct_ids(source, 10, seed=3)


def test_a_generated_split_that_holds_fewer_gives_all_it_has() -> None:
    # Of the 55 unordered pairs of digits 5 hash into the test split, in both orders of their digits.
    source = AdditionSource(1, "test")
    ids = distinct_ids(source, 1000, seed=0)
    swapped = {"+".join(reversed(problem_id.split("+"))) for problem_id in ids}
    assert set(ids) == swapped and len({frozenset(problem_id.split("+")) for problem_id in ids}) == 5


def test_many_distinct_ids_of_a_generated_split_are_all_found() -> None:
    assert len(distinct_ids(AdditionSource(3), 1500, seed=0)) == 1500


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="problems=0 must be at least 1"):
        distinct_ids(rows(3), 0, seed=0)


def test_a_wrapped_source_is_the_one_inside_but_for_the_order() -> None:
    inside = AdditionSource(2, "test")
    source = WrappedSource(inside)
    assert (source.split, source.splits) == ("test", inside.splits)
    name = inside.draw(0, 0)
    assert source.get(name) == inside.get(name) and list(source.longest()) == list(inside.longest())


def test_steps_are_no_text() -> None:
    with pytest.raises(
        ConfigurationError, match=r"steps='one step\\n' of problem 'p' must be a tuple, a text per step"
    ):
        Problem("p", "Q\n", "one step\n", "#1", "1")  # type: ignore[arg-type]
