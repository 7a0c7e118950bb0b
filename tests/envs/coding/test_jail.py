"""The part of a jail that answers requests, called here on honest programs only."""

import json
import os
import sys

import pytest

from g2rpo_env.envs.coding import jail, wire


def answer(namespace: dict, *request: object) -> list:
    return wire.loads(jail.answer_to(wire.dumps(list(request)), namespace))


def test_requests_are_answered_in_the_programs_namespace() -> None:
    names = jail.load(b"def add(a, b=1): return a + b\nx = 5\n", "solution_of_a_test")
    assert answer(names, "call", "add", [1], {"b": 2}) == ["ok", 3]
    assert answer(names, "eval", "x + 1") == ["ok", 6]
    assert answer(names, "exec", "x = 7") == ["ok", None]
    assert answer(names, "eval", "x") == ["ok", 7]


def test_warming_up_leaves_nothing_behind() -> None:
    before = set(sys.modules)
    jail.warm_up(2)
    assert set(sys.modules) == before


def test_failures_are_answers_too() -> None:
    source = b"class Own(KeyError): pass\ndef f(n): raise Own(n)\ndef g(): raise SystemExit(0)\n"
    names = jail.load(source, "solution_2")
    assert answer(names, "call", "f", [1], {}) == ["error", "Own", "KeyError", "1"]
    assert answer(names, "call", "g", [], {})[:3] == ["error", "SystemExit", "SystemExit"]
    assert answer(names, "call", "h", [], {})[:2] == ["error", "NameError"]
    assert answer(names, "eval", "'x' * 10**7")[0] == "refused"
    assert answer(names, "eval", "1 +")[1] == "SyntaxError"


def test_a_message_that_cannot_be_made_is_empty() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert json.loads(jail.failure(Mute())) == ["error", "Mute", "Exception", ""]


def test_tasks_of_a_user_count_this_process() -> None:
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("no /proc")
    assert jail.tasks_of(os.getuid()) >= 1
    assert jail.tasks_of(2_000_000_011) == 0


def test_ending_what_never_started_says_so() -> None:
    assert jail.STATUS.unpack(jail.end(0)) == (-1, 0.0, 0)
