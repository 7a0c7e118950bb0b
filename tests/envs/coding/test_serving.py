"""The program's side of a trial, called here on honest programs only."""

import json
import sys
import types
from typing import Any

import pytest

from g2rpo_env.envs.coding.serving import Server, Turns, describe_failure, make_proxy, signature_of, state_of

SOURCE = """
class P:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
def make(x): return P(x)
def both(g): return g(1) + g(2)
count = 0
"""


def server(ask: Any = None) -> Server:
    module = types.ModuleType("solution")
    exec(SOURCE, vars(module))
    return Server(vars(module), ask)


def asked(box: Server, *request: Any) -> list[Any]:
    found: list[Any] = json.loads(box.answer(json.dumps(request).encode()))
    return found


def test_objects_stay_and_get_numbers_and_their_class_is_told_once() -> None:
    box = server()
    kind, tag, more = asked(box, "call", "make", [5], {"dict": []})
    number = tag["object"][0]
    (told,) = more["classes"]
    assert (kind, told[1], told[2]) == ("ok", "P", [["builtins", "object"]])
    assert asked(box, "get", {"ref": number}, ["x"], {"dict": []}) == ["ok", 5]
    assert len(asked(box, "call", "make", [5], {"dict": []})) == 2  # nothing new about P


def test_functions_of_the_tests_are_asked_back() -> None:
    messages = []

    def ask(data: bytes) -> bytes:
        messages.append(json.loads(data))
        return json.dumps(["return", 10 * messages[-1][2][0]]).encode()

    found = asked(server(ask), "call", "both", [{"callback": [4, "g", [["x", 1, False]]]}], {"dict": []})
    assert found == ["ok", 30] and [message[:3] for message in messages] == [["callback", 4, [1]], ["callback", 4, [2]]]


def test_comparisons_tell_states_and_see_through_what_equals_anything() -> None:
    box = server()
    p = box.namespace["P"]
    assert box.compare(p(1), p(1)) == (True, ("P", [("x", 1)]), ("P", [("x", 1)]))
    yes = type("Yes", (), {"__eq__": lambda self, other: True, "__hash__": None})
    assert box.compare(yes(), yes())[0] is False


def test_states_follow_what_objects_hold() -> None:
    slots = type("S", (), {"__slots__": ("a",)})()
    slots.a = [1, {2}]
    assert state_of(slots, {}, 0) == ("S", [("a", ("list", [1, ("set", [2])]))])
    loop = types.SimpleNamespace()
    loop.me = loop
    assert state_of(loop, {}, 0) == ("SimpleNamespace", [("me", ("seen", 0))])


def test_proxies_have_the_parameters_of_their_function() -> None:
    calls = []
    parameters = [["a", 1, False], ["b", 1, True], ["c", 2, False], ["d", 3, True], ["e", 4, False]]
    proxy = make_proxy(lambda *a, **k: calls.append((a, k)), "g", parameters)
    proxy(1)
    proxy(1, 2, 3, d=4, z=5)
    assert calls == [((1,), {}), ((1, 2, 3), {"d": 4, "z": 5})] and proxy.__name__ == "g"
    assert [name for name, *_ in signature_of(proxy)] == ["a", "b", "c", "d", "e"]


def test_failures_name_the_nearest_builtin_class() -> None:
    own = type("Own", (KeyError,), {"__module__": "solution"})
    assert describe_failure(own(1)) == ["error", "Own", "KeyError", "1"]


def test_only_one_side_has_the_word() -> None:
    sent: list[bytes] = []
    incoming = [b"AAAAAAAAquestion", b"BBBBBBBB" + b'["return",5]']
    turns = Turns(lambda: incoming.pop(0), sent.append, 8)
    assert turns.take() == b"question"
    assert turns.ask(b"back") == b'["return",5]'
    turns.give(b"answer")
    assert sent == [b"AAAAAAAAback", b"BBBBBBBBanswer"]


def test_what_is_printed_is_kept_for_tests_that_capture_it() -> None:
    box, before = server(), sys.stdout
    box.namespace["say"] = lambda: print("hi")
    *_, more = asked(box, "call", "say", [], {"dict": []}, {"output": True})
    assert more["printed"] == ["hi\n", ""] and sys.stdout is before
    with pytest.raises(RuntimeError, match="cannot be asked"):
        box.call_back(1, (), {})
