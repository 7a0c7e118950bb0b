"""Stand-ins ask their session for everything and hold nothing themselves; with real programs: test_references."""

import copy
import pickle
from typing import Any

import pytest

from g2rpo_env.envs.coding.exceptions import Obstacle
from g2rpo_env.envs.coding.stand_ins import (
    Absent,
    Comparing,
    Doubt,
    Named,
    RemoteType,
    forward,
    has_ours,
    is_forwarded,
    is_of_data,
    is_stand_in,
    number_of,
)


class Asked:
    """A session that keeps its questions and answers each with the last word of it."""

    reading = False
    ended = None

    def __init__(self) -> None:
        self.questions: list[tuple[Any, ...]] = []
        self.doubts: list[Doubt] = []

    def ask(self, operation: str, target: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.questions.append((operation, *args))
        return args[-1] if args else operation

    def call(self, target: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        return self.ask("call", target, (target,))

    def call_method(self, target: Any, name: str, args: tuple[Any, ...], kwargs: Any) -> Any:
        return self.ask("method", target, (name, *args))

    def get(self, target: Any, name: str) -> Any:
        return self.ask("get", target, (name,))

    def special(self, target: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return self.ask("special", target, (name, *args))

    def judge(self, target: Any, name: str, *args: Any) -> Any:
        return self.ask("judge", target, (name, *args))


@pytest.fixture
def session() -> Asked:
    return Asked()


@pytest.fixture
def value(session: Asked) -> Any:
    """A stand-in for an object of a class with a method, an attribute and two special methods."""
    own = {"push": "method", "limit": "other", "__len__": "method", "__eq__": "method"}
    body: dict[str, Any] = {name: forward(name, what) for name, what in own.items() if name != "__eq__"}
    body |= {"_g2rpo_session": session, "_g2rpo_number": 1, "_g2rpo_own": frozenset(own)}
    kind = RemoteType("Stack", (Comparing,), body, made_here=True)
    found = object.__new__(kind)
    object.__setattr__(found, "_g2rpo_number", 7)
    return found


def test_attributes_and_methods_are_questions(value: Any, session: Asked) -> None:
    assert (value.push(3), value.limit, value.other) == (3, "limit", "other")
    value.limit = 9
    del value.limit
    asked = [("method", "push", 3), ("get", "limit"), ("get", "other"), ("set", "limit", 9), ("delete", "limit")]
    assert session.questions == asked


def test_an_own_equality_with_data_of_the_tests_is_judged(value: Any, session: Asked) -> None:
    assert value == 5 and session.questions == [("judge", "__eq__", 5)]
    session.questions.clear()
    assert value == value and session.questions == []


def test_what_would_take_an_object_apart_is_an_obstacle(value: Any) -> None:
    with pytest.raises(Obstacle, match="pickled"):
        pickle.dumps(value)
    assert copy.copy(value) is copy.copy  # asked for, like all else


def test_names_of_this_side_are_never_asked_for(value: Any, session: Asked) -> None:
    for name in ("_g2rpo_secret", "__secret__"):
        with pytest.raises(AttributeError):
            getattr(value, name)
    assert session.questions == []
    assert not is_forwarded("_g2rpo_number") and not is_forwarded("__init_subclass__")
    assert is_forwarded("push") and is_forwarded("__add__") and is_forwarded("__len__")


def test_values_of_both_sides_are_told_apart(value: Any, session: Asked) -> None:
    assert is_stand_in(value) and not is_stand_in(5) and not is_stand_in(type(value))
    assert has_ours([value, 5]) and not has_ours([value])
    assert number_of(value) == 7 and number_of(type(value)) == 1
    assert is_of_data("append") and is_of_data("real") and not is_of_data("push")


def test_a_name_of_the_program_is_called_there(session: Asked) -> None:
    assert Named(session, "solve")(1, 2) == "solve" and session.questions == [("call", "solve")]


def test_an_absent_method_is_one_of_objects_only() -> None:
    class Kind:
        method = Absent()

    assert Kind.method is None and not hasattr(Kind(), "method")
