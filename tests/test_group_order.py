"""GroupOrder: numbers, problems drawn ahead or one by one, open groups, states."""

import copy
import json

import pytest

from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.group_order import GroupOrder

TASK = Addition(digits=2)


def taken(count: int, **ranks: int) -> tuple[GroupOrder, list[int]]:
    order = GroupOrder(2, **ranks)
    order.reseed(7)
    return order, [order.take() for _ in range(count)]


def test_processes_take_every_third_number_each() -> None:
    assert taken(3)[1] == [0, 1, 2]
    assert [taken(2, rank=rank, world_size=3)[1] for rank in range(3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ConfigurationError, match=r"rank=3 must lie in \[0, world_size=3\)"):
        GroupOrder(2, 3, 3)


def test_problems_are_those_that_the_source_draws_whether_it_draws_many_or_one() -> None:
    class OneByOne:
        """A source without ``draw_many``."""

        def draw(self, seed: int, index: int) -> str:
            """Return the problem of the order."""
            return TASK.source.draw(seed, index)

    slow = copy.copy(TASK)
    slow.source = OneByOne()  # type: ignore[assignment]
    order, numbers = taken(5, rank=1, world_size=2)
    expected = [TASK.source.draw(7, number) for number in [*numbers, numbers[0]]]
    assert order.problems(TASK, [*numbers, numbers[0]]) == order.problems(slow, [*numbers, numbers[0]]) == expected


def test_numbers_of_others_and_numbers_to_come_are_named() -> None:
    order, numbers = taken(2, rank=1, world_size=2)
    order.check_taken(numbers, "numbers")
    for wrong in (-1, 0, 2, 5):
        with pytest.raises(ConfigurationError, match=f"numbers={wrong} must be a number that take_groups"):
            order.check_taken([1, wrong], "numbers")


def test_members_join_the_newest_group_that_lacks_them() -> None:
    order, _ = taken(0)
    assert [order.join("a", 0), order.join("a", 0), order.join("a", 1), order.join("a", 1)] == [0, 1, 1, 0]
    assert order.state_dict()["open"] == {}  # both are complete
    assert order.join("a", 1) == 2
    order.close_all()
    assert order.join("a", 0) == 3


def test_its_state_is_plain_data_and_goes_on() -> None:
    order, _ = taken(3)
    order.join("a", 1)
    state = json.loads(json.dumps(order.state_dict()))
    assert state == {"root": 7, "counter": 4, "open": {"a": [[3, [1]]]}}
    other = GroupOrder(2)
    other.load_state_dict(state)
    assert other.join("a", 0) == order.join("a", 0) == 3
    assert other.take() == order.take() == 4 and other.root == 7


def test_a_negative_seed_is_refused_and_a_missing_one_made() -> None:
    order = GroupOrder(2)
    with pytest.raises(ConfigurationError, match="seed=-1 must be at least 0"):
        order.reseed(-1)
    assert order.root is None
    order.reseed(None)
    assert order.root >= 0
