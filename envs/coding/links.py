"""Containers that tests and program both hold: changes that one side makes reach the other at the next crossing.

A list that a test passes to the program, and looks at afterwards, has a twin where the program is; so has a list that
the program returns and keeps. Such a pair is a link, and has a number. What only one side can still reach is no link:
the counts of references tell, so that plain calls cost nothing. Standard library only: both processes load this module.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any

from g2rpo_env.envs.coding.wire import Peer, WireError, container_of, new_budget, value_of

_KINDS: dict[type, Any] = {
    list: list, dict: dict, set: set, bytearray: bytearray, deque: deque, OrderedDict: OrderedDict,
    Counter: Counter, defaultdict: defaultdict,
}  # fmt: skip
"""Containers that can be changed in place."""
_ATOMS = frozenset({int, str, float, bool, type(None), bytes, complex})
_BASES = (OrderedDict, dict, list, set, deque, bytearray)
MAX_LINKS = 20_000


def is_array(kind: type) -> bool:
    """Return whether a type is that of numpy's arrays, without importing it."""
    return type(kind) is type and kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def base_of(kind: type) -> type | None:
    """Return the builtin container that a type is or derives from, None if it is no container that can change."""
    return next((base for base in _BASES if issubclass(kind, base)), None)


def content_of(value: Any) -> Any:
    """Return a container as one of its builtin type, by the methods of that type alone."""
    kind: Any = type(value)
    if kind in _KINDS or is_array(kind):
        return value
    kind = base_of(kind)
    if kind is dict or kind is OrderedDict:
        bare = kind(kind.items(value))
        if isinstance(value, defaultdict):
            return defaultdict(value.default_factory, bare)
        return Counter(bare) if isinstance(value, Counter) else bare
    return bytearray(value) if kind is bytearray else kind(kind.__iter__(value))


def fill(value: Any, content: Any) -> None:
    """Give a container the content of another one, in place, by the methods of its builtin type alone."""
    base: Any = base_of(type(value))
    if is_array(type(value)) and is_array(type(content)) and value.shape == content.shape:
        value[...] = content
        return
    if base is None or base != base_of(type(content)):
        raise WireError("a container that became one of another type")
    if base is list or base is bytearray:
        base.__setitem__(value, slice(None), content)
        return
    base.clear(value)
    if base is deque:
        deque.extend(value, content)
    elif base is set:
        set.update(value, content)
    else:
        base.update(value, content)
        if isinstance(value, defaultdict) and isinstance(content, defaultdict):
            value.default_factory = content.default_factory


class Links:
    """The links of one trial, as one side sees them.

    Args:
        first: 0 or 1: one side gives even numbers, the other odd ones.
        enabled: False links nothing that this side gives away: the other side gets copies.
    """

    def __init__(self, first: int, enabled: bool = True) -> None:
        self.first, self.enabled = first, enabled
        self.next = first
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        """By ``id`` of the object."""
        self.texts: dict[int, str] = {}
        """What the other side knows of each."""
        self.unsettled: list[int] = []

    def add(self, value: Any, number: int | None = None) -> int:
        """Link a container; the number is that of the other side, or a new one."""
        if number is None:
            number, self.next = self.next, self.next + 2
        if len(self.objects) >= MAX_LINKS:
            raise WireError(f"more than {MAX_LINKS} shared containers")
        self.objects[number], self.numbers[id(value)] = value, number
        return number

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget links."""
        for number in numbers:
            value = self.objects.pop(number, None)
            self.numbers.pop(id(value), None)
            self.texts.pop(number, None)

    def survey(self, items: Iterable[Any]) -> list[int]:
        """Link containers in ``items`` that something else refers to as well; ``items`` alone holds the others.

        Returns the numbers of links that nothing else here refers to any more: they may be dropped after a last look.
        """
        if not self.objects and _ATOMS.issuperset(map(type, items)):
            return []
        found, edges = _walk([*items, *(part for value in self.objects.values() for part in _children(value))])
        held: set[int] = set()
        for key in found:
            kind = type(found[key])
            if (kind in _KINDS or is_array(kind)) and key not in self.numbers or issubclass(kind, tuple):
                # Beside the table and the argument; or it stands in two places of what is sent.
                if sys.getrefcount(found[key]) - edges[key] > 2 or edges[key] > 1:
                    self._hold(found[key], held)
        return [
            number
            for number in self.objects
            if id(self.objects[number]) not in held
            and sys.getrefcount(self.objects[number]) - edges.get(id(self.objects[number]), 0)
            <= 2 + (id(self.objects[number]) in found)
        ]

    def _hold(self, value: Any, held: set[int]) -> None:
        """Link a container that something else refers to, or those in such a tuple, which cannot change itself."""
        held.add(id(value))
        if issubclass(type(value), tuple):
            for part in tuple.__iter__(value):
                self._hold(part, held)
        elif (type(value) in _KINDS or is_array(type(value))) and self.enabled and id(value) not in self.numbers:
            self.add(value)

    def news(self, items: Iterable[Any], budget: list[Any]) -> dict[str, Any]:
        """Return what the other side must know when it gets ``items``: changes of links, and those that end here.

        The latter are dropped here, by ``drop``, once ``items`` are written.
        """
        if not self.objects and _ATOMS.issuperset(map(type, items)):
            return {}
        lost = self.survey(items)
        changed = self._changes(budget)
        return {key: part for key, part in (("changes", changed), ("dropped", lost)) if part}

    def _changes(self, budget: list[Any]) -> list[Any]:
        """Return number and tree of each link that the other side knows otherwise."""
        changed = []
        for number in list(self.texts):
            tree = self._tree(self.objects[number], budget)
            text = json.dumps(tree)
            if text != self.texts[number]:
                self.texts[number] = text
                changed.append([number, tree])
        return changed

    def write(self, value: Any, depth: int, budget: list[Any]) -> Any:
        """Return the tag of a linked container: its number, and what it holds if the other side does not know it."""
        number = self.numbers[id(value)]
        return (
            {"link": [number]} if number in self.texts else {"link": [number, self.first_tree(number, depth, budget)]}
        )

    def first_tree(self, number: int, depth: int, budget: list[Any]) -> Any:
        """Return what a link holds, which the other side knows from now on."""
        self.texts[number] = ""  # it may hold itself
        tree = self._tree(self.objects[number], budget, depth)
        self.texts[number] = json.dumps(tree)
        return tree

    def _tree(self, value: Any, budget: list[Any], depth: int = 0) -> Any:
        content = content_of(value)
        return container_of(content, type(content), depth, budget)

    def read(self, inner: Any, depth: int, budget: list[Any]) -> Any:
        """Return the container of a tag, a new one if the other side sends its content."""
        number, *trees = inner
        if type(number) is not int:
            raise WireError("a link whose number is none")
        if not trees:
            return self.objects[number]
        self._check_new(number)
        (tree,) = trees
        kind: Any = list if type(tree) is list else dict if type(tree) is dict and "dict" in tree else None
        if kind is not None:
            value = kind()
            self.learn(number, value, tree, depth, budget)
            return value
        value = value_of(tree, depth + 1, budget)
        if base_of(type(value)) is None and not is_array(type(value)):
            raise WireError("a link to what cannot change")
        self.add(value, number)
        self._set(number)
        return value

    def _check_new(self, number: int) -> None:
        if number % 2 == self.first or number in self.objects:
            raise WireError("a link whose number is taken")

    def learn(self, number: int, value: Any, tree: Any, depth: int, budget: list[Any]) -> None:
        """Link an empty container to a new number of the other side, and fill it."""
        self._check_new(number)
        self.add(value, number)
        self._set(number)
        fill(value, value_of(tree, depth + 1, budget))

    def read_changes(self, changes: Any, budget: list[Any]) -> list[int]:
        """Make the changes of the other side here, and return their numbers."""
        numbers = []
        for number, tree in changes:
            value = self.objects[number]
            content = value_of(tree, 0, budget)
            if type(value) in _KINDS and type(content) is not type(value):
                raise WireError("a container that became one of another type")
            fill(value, content)
            self._set(number)
            numbers.append(number)
        return numbers

    def _set(self, number: int) -> None:
        self.texts[number] = ""
        self.unsettled.append(number)

    def settle(self, peer: Peer) -> None:
        """Note what the other side knows of the links that were read: the form that this side would write."""
        if not self.unsettled:
            return
        budget = new_budget(peer)
        for number in filter(self.objects.__contains__, self.unsettled):
            self.texts[number] = json.dumps(self._tree(self.objects[number], budget))
        self.unsettled.clear()


def _children(value: Any) -> Iterable[Any]:
    """Return the parts of a container that may hold containers."""
    kind = type(value)
    if issubclass(kind, dict):
        return dict.values(value)
    if issubclass(kind, list):
        return list.__iter__(value)
    if issubclass(kind, tuple):
        return tuple.__iter__(value)
    return deque.__iter__(value) if issubclass(kind, deque) else ()


def _walk(stack: list[Any]) -> tuple[dict[int, Any], dict[int, int]]:
    """Return the containers below a stack of values, which it empties, and how many references it followed to each."""
    found: dict[int, Any] = {}
    edges: dict[int, int] = {}
    while stack:
        if type(stack[-1]) in _ATOMS:
            stack.pop()
            continue
        value = stack.pop()
        key = id(value)
        edges[key] = edges.get(key, 0) + 1
        if key not in found:
            found[key] = value
            if not set(map(type, _children(value))) <= _ATOMS:
                stack.extend(_children(value))
        del value
    return found, edges
