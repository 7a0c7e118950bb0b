"""Containers that two sides hold: found by their references, changed together, dropped when one side lets go."""

from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest

from g2rpo_env.envs.coding import wire
from g2rpo_env.envs.coding.links import Links, base_of, content_of, fill


class Side(wire.Peer):
    """One of two sides that share nothing but plain data and links."""

    def __init__(self, first: int) -> None:
        self.links = Links(first)

    def write(self, value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
        return None

    def read(self, tag: str, inner: Any, depth: int, budget: list[Any]) -> Any:
        return self.links.read(inner, depth, budget)

    def send(self, box: list[Any]) -> tuple[dict[str, Any], bytes]:
        news = self.links.news(box, wire.new_budget(self))
        data = wire.pack(wire.tree_of(box, 0, wire.new_budget(self)))
        self.links.drop(news.get("dropped", ()))
        return news, data

    def receive(self, news: dict[str, Any], data: bytes) -> Any:
        budget = [wire.MAX_NODES, self]
        self.links.read_changes(news.get("changes", ()), budget)
        found = wire.value_of(wire.json.loads(data), 0, budget)
        self.links.drop(news.get("dropped", ()))
        self.links.settle(self)
        return found


def test_only_what_somebody_else_holds_is_linked() -> None:
    links, kept = Links(0), [1]
    assert links.survey([[1, 2], {"a": [3]}, 5]) == [] and links.objects == {}
    links.survey([kept, [kept]])
    assert list(links.objects.values()) == [kept] and list(links.objects) == [0]
    row: list[int] = []
    other = Links(1)
    other.survey([[row, row]])
    assert list(other.objects) == [1]


def test_a_tuple_that_somebody_holds_links_what_it_holds() -> None:
    here, there, kept = Side(0), Side(1), (1, ([],))
    there.receive(*here.send([(1, ([],))]))
    assert here.links.objects == {}
    (twin,) = there.receive(*here.send([kept]))
    twin[1][0].append(5)
    here.receive(*there.send([None]))
    assert kept == (1, ([5],))


def test_changes_reach_the_other_side_and_identity_stays() -> None:
    here, there = Side(0), Side(1)
    rows = [[1], [2]]
    (twin,) = there.receive(*here.send([rows]))
    twin[0].append(5)
    twin.append(3)
    (back,) = here.receive(*there.send([twin]))
    assert back is rows and rows == [[1, 5], [2], 3]


def test_a_link_ends_when_a_side_lets_go() -> None:
    here, there = Side(0), Side(1)
    kept = [1]
    box = there.receive(*here.send([kept]))
    box[0].append(2)
    box.clear()  # nothing holds the twin any more
    here.receive(*there.send([None]))
    assert kept == [1, 2] and here.links.objects == {} == there.links.objects


def test_a_container_may_hold_itself() -> None:
    here, there = Side(0), Side(1)
    loop: list[Any] = [1]
    loop.append(loop)
    (twin,) = there.receive(*here.send([loop]))
    assert twin[1] is twin and twin[0] == 1


FILLED = [
    ([1], [2, 3]), ({1: 2}, {3: 4}), ({1}, {2}), (bytearray(b"a"), bytearray(b"bc")), (deque([1]), deque([2])),
    (OrderedDict(a=1), OrderedDict(b=2)), (Counter("a"), Counter("bb")),
    (defaultdict(list, a=[1]), defaultdict(int, b=2)), (np.array([1, 2]), np.array([3, 4])),
]  # fmt: skip


@pytest.mark.parametrize(("value", "content"), FILLED)
def test_containers_are_filled_in_place(value: Any, content: Any) -> None:
    fill(value, content)
    assert list(value) == list(content) and type(value) is type(content)
    if isinstance(value, dict):
        assert value == content
    if isinstance(value, defaultdict):
        assert value["new"] == 0


@pytest.mark.parametrize(("value", "content"), [([1], {2}), ({}, []), (5, 6), ([], 5), (np.ones(2), np.ones(3))])
def test_a_container_keeps_its_type(value: Any, content: Any) -> None:
    with pytest.raises(wire.WireError):
        fill(value, content)


class Liar(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter([9])


def test_content_is_read_by_the_methods_of_the_builtin_type() -> None:
    assert content_of(Liar([1, 2])) == [1, 2] and base_of(Liar) is list and base_of(int) is None


@pytest.mark.parametrize("tag", [[0, [1]], [7], ["x"], [None, []], [1, 5], [1, {"tuple": []}], [3, []]])
def test_links_that_break_the_rules_are_refused(tag: list[Any]) -> None:
    side = Side(0)
    side.links.add([], 3)
    with pytest.raises((wire.WireError, LookupError)):
        side.links.read(tag, 0, [100, side])
