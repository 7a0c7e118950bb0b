"""Tests against a program that lives in this process: what is local, what is asked of the program, what is counted."""

import ast
import json
import types

import pytest

from g2rpo_env.envs.coding.references import Session
from g2rpo_env.envs.coding.serving import Server
from g2rpo_env.envs.coding.trial import (
    Score,
    TestError,
    compile_check,
    free_names,
    run_asserts,
    run_check,
    unreached,
    walk,
)


class Near(Session):
    """A program that is not far away, but speaks through the wire; remembers what it was asked."""

    def __init__(self, source: str) -> None:
        module = types.ModuleType("solution")
        exec(source, vars(module))
        self.server = Server(vars(module), lambda message: self.callback(message))
        self.asked: list[str] = []
        super().__init__(self.listen)

    def listen(self, message: bytes) -> bytes:
        self.asked.append(json.loads(message)[0])
        return self.server.answer(message)

    def callback(self, message: bytes) -> bytes:
        return self._call_back(message)


ADD = "def add(a, b): return a + b"
CHECK = """
def check(candidate):
    assert candidate(1, 2) == 3
    assert candidate(2, 2) == 4, "message"
    assert candidate(0, 1) == 1
"""


def checked(source: str, test: str = CHECK, setup: str = "", entry_point: str = "add") -> Score:
    score = Score()
    run_check(Near(source), entry_point, test, setup, score)
    return score


def asserted(source: str, asserts: list[str], setup: str = "") -> tuple[Score, list[str]]:
    score, program = Score(), Near(source)
    run_asserts(program, asserts, setup, score)
    return score, program.asked


def test_each_assert_of_check_is_a_case() -> None:
    assert (checked(ADD).passed, checked(ADD).failed) == (3, 0)
    # 1 * 2 is wrong, 2 * 2 is right by chance, 0 * 1 is wrong
    score = checked("def add(a, b): return a * b")
    assert (score.passed, score.failed, score.share) == (1, 2, 1 / 3)
    assert score.message == "assert candidate(1, 2) == 3"


def test_an_exception_is_a_failed_case() -> None:
    score = checked("def add(a, b): return a // b")  # 0, then 1, then 0
    assert (score.passed, score.failed) == (0, 3)
    # Division by zero; then 1 // 1 + 2 + 2 - 1 = 4; then 1 // -1 + 0 + 1 - 1 = -1.
    score = checked("def add(a, b): return 1 // (a - 1) + a + b - 1")
    assert (score.passed, score.failed) == (1, 2) and score.message.startswith("ZeroDivisionError: assert")


def test_asserts_that_tests_catch_or_that_helpers_make_still_raise() -> None:
    test = (
        "def same(a, b):\n    assert a == b\n    return True\n"
        "def check(candidate):\n"
        "    try:\n        assert candidate(1, 1) == 3\n    except AssertionError:\n        pass\n"
        "    same(candidate(1, 1), 2)\n    same(candidate(1, 1), 5)\n    assert False, 'never reached'\n"
    )
    score = checked(ADD, test)
    assert (score.passed, score.failed) == (0, 1)


def test_helpers_of_the_setup_are_trusted_and_its_head_of_the_function_is_not() -> None:
    setup = "def double(x): return 2 * x\ndef add(a, b):\n    '''Add.'''\n"
    test = "def check(candidate):\n    assert candidate(2, 2) == double(2) == add(2, 2)\n"
    assert checked(ADD, test, setup).passed == 1
    liar = "def double(x): return 0\ndef add(a, b): return 0"
    assert checked(liar, test, setup).failed == 1


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("def check(candidate:", "do not compile: SyntaxError"),
        ("def check(c): pass\n\x00", "do not compile"),
        ("x = 1", "define no check"),
        ("1 / 0\ndef check(c): pass", "cannot be loaded: ZeroDivisionError"),
    ],
)
def test_broken_tests_are_no_verdict_on_the_program(test: str, message: str) -> None:
    with pytest.raises(TestError, match=message):
        checked(ADD, test)


def test_asserts_run_here_and_ask_only_for_calls() -> None:
    asserts = ["assert add(1, 2) == 3", "assert math.isclose(add(0.1, 0.2), 0.3)", "assert set([add(1, 1)]) == {2}"]
    score, asked = asserted(ADD, asserts)
    assert (score.passed, score.failed, asked) == (3, 0, ["call"] * 3)


def test_a_builtin_name_is_the_programs_only_where_nothing_else_is_tested() -> None:
    score, _ = asserted("def sum(a, b): return a * b", ["assert sum(2, 5) == 10"])
    assert score.passed == 1
    # It answers for `set` as well, which would make any answer right.
    liar = "def add(a, b): return 0\ndef set(x): return 0"
    assert asserted(liar, ["assert set([add(1, 1)]) == set([2])"])[0].failed == 1


def test_what_an_assert_defines_is_the_tests_own_in_the_next() -> None:
    asserts = ["def both(a):\n    return add(a, a)\nassert both(1) == 2", "assert both(2) == 4"]
    assert asserted(ADD, asserts)[0].passed == 2
    assert asserted("def add(a, b): return 0\ndef both(a): return 2 * a", asserts)[0].failed == 2


def test_objects_of_the_program_stay_there_and_plain_results_come_here() -> None:
    source = "class P:\n    x = 3\n    def __init__(s, x): s.x = x\ndef total(ps): return sum(p.x for p in ps)"
    score, asked = asserted(source, ["assert total([P(1), P(2)]) == 3", "p = P(4)\np.x += 1\nassert p.x == 5"])
    assert (score.passed, score.failed) == (2, 0)
    assert asked == ["name", "call", "name", "call", "call", "name", "call", "get", "set", "get"]


def test_results_that_are_no_plain_data_can_be_used() -> None:
    source = "class P:\n    x = 3\ndef make(): return P()\ndef adder(n): return lambda x: x + n"
    score, _ = asserted(source, ["assert make().x == 3", "assert adder(1)(2) == 3", "assert adder(1)(2) == 4"])
    assert (score.passed, score.failed) == (2, 1)
    assert asserted(source, ["assert make() == 3"])[0].failed == 1


def test_a_setup_may_use_the_programs_classes() -> None:
    source = "class P:\n    def __init__(s, x): s.x = x\ndef get(p): return p.x"
    score, _ = asserted(source, ["assert get(p) == 5", "assert get(p) != 6"], setup="p = P(5)")
    assert score.passed == 2
    with pytest.raises(TestError, match="setup cannot be run: ZeroDivisionError"):
        asserted(source, ["assert get(P(1)) == 1"], setup="1 / 0")


def test_a_check_without_asserts_of_its_own_is_one_case() -> None:
    helper = "def same(a, b):\n    assert a == b\n"
    helper += "def check(candidate):\n    same(candidate(1, 2), 3)\n    same(candidate(0, 1), 1)\n"
    for test in (helper, "def check(c):\n    if c(1, 2) != 3:\n        raise AssertionError('no')\n"):
        score = checked(ADD, test)
        assert (score.passed, score.failed, score.share) == (1, 0, 1.0)
        assert checked("def add(a, b): return a * b", test).failed == 1


def test_a_function_of_the_program_may_be_called_check() -> None:
    test = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    assert checked("def check(a, b): return a + b", test, entry_point="check").share == 1.0


def test_asserts_that_with_catches_are_part_of_the_test() -> None:
    test = (
        "import unittest\ndef check(candidate):\n    with unittest.TestCase().assertRaises(AssertionError):\n"
        "        assert candidate(1, 1) == 3\n    assert candidate(1, 1) == 2\n"
    )
    assert checked(ADD, test).share == 1.0


@pytest.mark.parametrize("ending", ["unittest.main(argv=['x'])", "unittest.main(argv=['x'], exit=False)"])
def test_unittest_finds_the_tests_of_the_module(ending: str) -> None:
    case = "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(add(1, 2), 3)\n"
    program = Near(ADD)
    score = Score()
    run_check(program, "add", f"{case}def check(candidate):\n    {ending}\n", "", score)
    assert (score.passed, score.failed, program.answers) == (1, 0, 1)
    assert (
        checked("def add(a, b): return 0", f"{case}def check(candidate):\n    unittest.main(argv=['x'])\n").failed == 1
    )


def test_a_class_of_the_test_that_derives_from_one_of_the_program_is_made_there() -> None:
    source = "class P:\n    def x(s): return 1"
    body = "class Q(P):\n    def y(s): return s.x() + K\nassert Q().y() == 3"
    assert asserted(source, [body], setup="K = 2")[0].passed == 1


def test_what_tests_do_to_their_process_is_noticed_where_the_program_would_see_it() -> None:
    test = "import random\nrandom.seed(1)\ndef check(c): pass"
    assert unreached(test, "", [], b"import random") == "seed"
    assert unreached("with warnings.catch_warnings(): pass", "", [], b"import warnings") == "catch_warnings"
    assert unreached(test, "", [], b"def f(): pass") == "" == unreached("x = 'seed'", "", [], b"random")


def test_packages_of_tests_are_found() -> None:
    text = "import numpy as np, math\nfrom scipy.stats import norm\nfrom . import x"
    assert compile_check(text, "").packages == {"numpy", "scipy"}


def test_asserts_in_branches_are_cases_and_those_in_blocks_that_catch_are_not() -> None:
    test = """
def check(candidate):
    for n in (1, 2):
        if n == 1:
            assert candidate(n, 0) == 1
        else:
            assert candidate(n, 0) == 5, "no"
    match n:
        case 2:
            assert candidate(1, 1) == 2
    try:
        assert candidate(1, 1) == 3
    except AssertionError:
        pass
    assert candidate(1, None) == 1
"""
    score = checked(ADD, test)
    assert (score.passed, score.failed) == (2, 2)
    assert score.message == "assert candidate(n, 0) == 5, 'no'"
    assert checked("def add(a, b): return a + (b or 0) + (a == 2) * 3", test).failed == 0


def test_an_assert_that_raises_is_told_by_its_exception() -> None:
    score = checked("def add(a, b): raise KeyError(a)")
    assert (score.failed, score.message) == (3, "KeyError: assert candidate(1, 2) == 3")


def test_statements_that_stand_nowhere_are_no_verdict() -> None:
    for text in ("return 1", "break"):
        with pytest.raises(TestError, match="do not compile"):
            checked(ADD, CHECK, setup=text)
        with pytest.raises(TestError, match="do not compile"):
            asserted(ADD, ["assert add(1, 2) == 3", text])


def test_all_nodes_are_walked() -> None:
    tree = ast.parse("class A(B, k=1):\n    def f(self, x=[*y], **z): return {**z, 'a': (x[1:], not x)}")
    wanted = [node for node in ast.walk(tree) if not isinstance(node, ast.Load)]
    assert len(walk(tree)) == len(wanted) and set(map(id, walk(tree))) >= {id(n) for n in wanted if n.__dict__}


def test_asserts_that_do_not_compile_are_no_verdict() -> None:
    with pytest.raises(TestError, match="do not compile"):
        asserted(ADD, ["assert add(1, 2) == 3", "assert add(1,"])


def test_share_counts_what_was_never_reached() -> None:
    assert Score(passed=1, planned=4).share == 0.25
    assert Score().share == 0.0


def test_free_names_are_what_nobody_defines() -> None:
    text = "import os as o\ndef f(x, *y):\n    try: z = g(x)\n    except E as e: print(e, o, y, z)\n[h for h in k]"
    assert free_names(ast.parse(text)) == {"g", "E", "k"}
