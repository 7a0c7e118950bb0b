"""Tests and solutions of rows in every spelling, and what is refused."""

import json
from typing import Any

import pytest

from g2rpo_env.envs.coding.rowtests import finish, read_cases, read_programs, read_source, read_tests
from g2rpo_env.errors import DataError


@pytest.mark.parametrize(
    "value",
    [
        {"inputs": ["1"], "outputs": ["2"]},
        {"input": ["1"], "output": ["2"]},
        [{"input": "1", "output": "2"}],
        [{"input": "1", "output": "2", "testtype": "stdin"}],
        [{"input": "1", "output": "2", "type": "stdin_stdout", "fn_name": None}],
        [{"stdin": "1", "stdout": "2"}],
        [["1", "2"]],
    ],
)
def test_cases_are_read_in_every_spelling(value: Any) -> None:
    assert read_cases(value, "here") == read_cases(json.dumps(value), "here") == ((("1", "2"),), None)
    assert read_tests(json.dumps(value), "here") == {"cases": (("1", "2"),)}
    assert read_tests({"language": "python", "test_cases": json.dumps(value)}, "here") == {"cases": (("1", "2"),)}


@pytest.mark.parametrize(
    ("value", "entry_point", "cases"),
    [
        ({"fn_name": "f", "inputs": [[1, [2]]], "outputs": [3]}, None, ([1, [2]], [3])),
        ({"fn_name": "f", "inputs": [[1, [2]]], "outputs": [[3]]}, None, ([1, [2]], [[3], 3])),
        ([{"input": "1\n[2]", "output": "3", "testtype": "functional"}], "f", ([1, [2]], [3])),
        ([{"input": "1\n[2]", "output": "3", "testtype": "functional", "metadata": {"func_name": "f"}}], None,
         ([1, [2]], [3])),
        ([{"input": [1, [2]], "output": 3, "type": "function_call", "fn_name": "f"}], None, ([1, [2]], [3])),
        ([{"input": [1, [2]], "output": [3], "type": "function_call", "fn_name": "f"}], None, ([1, [2]], [[3], 3])),
        ([{"input": "[1, [2]]", "output": "[3]", "type": "function_call", "fn_name": "f"}], None,
         ([1, [2]], [[3], 3])),
    ],
)  # fmt: skip
def test_calls_are_arguments_and_right_results(value: Any, entry_point: str | None, cases: Any) -> None:
    assert read_tests(value, "here", entry_point) == {"calls": (cases,), "entry_point": "f"}
    test = finish([read_tests(json.dumps(value), "here", entry_point)], "here")
    space: dict[str, Any] = {}
    exec(test["test"], space)
    space["check"](lambda a, b: 3)
    with pytest.raises(AssertionError):
        space["check"](lambda a, b: 4)
    assert test["entry_point"] == "f" and "Solution().f" in test["tail"]


def test_results_of_calls_are_compared_as_json_has_them() -> None:
    value = {"fn_name": "f", "inputs": [[1]], "outputs": [{"1": [1, [2.5, None]]}]}
    space: dict[str, Any] = {}
    exec(finish([read_tests(value, "here")], "here")["test"], space)
    space["check"](lambda x: {1: (1, (2.5, None))})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "not valid JSON"),
        (5, "must be a list of cases, got int"),
        ([], "must be pairs of texts, at least one"),
        ([[1, 2]], "must be pairs of texts"),
        ([["1"]], "a case must be an object with input and output"),
        ({"inputs": ["1"], "outputs": []}, "as many 'inputs' as 'outputs'"),
        ({"inputs": [[1]], "outputs": [2]}, "must be pairs of texts, .* calls need 'fn_name'"),
        ({"inputs": [1], "outputs": [2], "fn_name": "f"}, "the input of a call must be the list of its arguments"),
        ({"inputs": [[1]], "outputs": [2], "fn_name": "f()"}, "'fn_name' must be the name of a function"),
        ([{"input": "1", "output": "2", "testtype": "functional"}], "calls a function that it does not name"),
        ([{"input": "1", "output": "2", "testtype": "interactive"}], "a case of type 'interactive'"),
        ([{"input": "1", "output": "2"}, {"input": "1", "output": "2", "fn_name": "f"}], "cases of one kind"),
        (["1", "2"], "must be Python statements"),
        (['{"input": "1"}'], "must be Python statements"),
        ("x = 1", "must be Python statements"),
        ("eJxrYJmayMgABhHR04z8ygOlqQqOiXkpAB3MBUY=", "is packed .* write the tests as JSON"),
    ],
)
def test_tests_that_are_none_are_named(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"here.*{message}"):
        read_tests(value, "here")


def test_source_is_a_check_or_test_functions_or_statements() -> None:
    check = "def check(candidate):\n    assert candidate(1) == 2\n"
    assert read_source(check, "here", "f") == {"test": check, "entry_point": "f"}
    assert read_source(check, "here", "Solution().f")["entry_point"] == "f"
    functions = read_source("from solution import f\nN = 1\ndef test_a():\n    assert f(N) == 2\n", "here")
    assert functions["entry_point"] == "f" and "solution" not in functions["test"]
    space: dict[str, Any] = {"f": lambda x: x + 1}
    exec(functions["test"], space)
    space["check"](space["f"])
    renamed = read_source("from solution import f as g, h\ndef test_a():\n    assert g(1) == 2\n", "here")
    space = {"f": lambda x: x + 1}
    exec(renamed["test"], space)
    space["check"](space["f"])
    assert renamed["entry_point"] == "f"
    assert read_source("x = 1\nassert f(x) == 2\nassert f(2) == 3\n", "here") == {
        "asserts": ("x = 1\nassert f(x) == 2", "assert f(2) == 3")
    }
    for text, message in (
        (check, "needs 'entry_point'"),
        ("def test_a(): assert f(1)", "needs 'entry_point', or an import from 'solution'"),
        ("def test_a(x): assert f(x)", "must take no arguments"),
        ("import pytest\ndef test_a(): assert f(1)", "needs pytest"),
        ("from solution import *\ndef test_a(): assert f(1)", "an import from 'solution' that names what is tested"),
        ("def test_a(): assert f(1)\nclass TestB:\n  def test(self): assert f(2)", "'TestB': classes of tests"),
        ("def test_a(): assert f(1)\nasync def test_b(): assert f(2)", "'test_b': .*asynchronous tests"),
        ("assert f(1) ==", "must be Python statements"),
        ("  ", "tests nothing"),
        ("# nothing", "tests nothing"),
    ):
        with pytest.raises(DataError, match=f"here.*{message}"):
            read_source(text, "here")


def test_tests_of_several_fields_are_joined_or_refused() -> None:
    one, two = {"cases": (("1", "2"),)}, {"cases": (("3", "4"),)}
    assert finish([one, two], "here") == {"cases": (("1", "2"), ("3", "4"))}
    with pytest.raises(DataError, match="must be cases of scripts, or calls of one function"):
        finish([one, {"calls": (([1], [2]),), "entry_point": "f"}], "here")


def test_solutions_are_read_in_every_spelling() -> None:
    program = "print(1)\n"
    for value in (
        program,
        json.dumps(program),
        [program],
        json.dumps([program, ""]),
        [program, " "],
        f"\ufeff{program}",
    ):
        assert read_programs(value, "here") == [program]
    assert read_programs([{"language": 2, "solution": "c"}, {"language": 3, "solution": program}], "here") == [program]
    assert read_programs({"language": [1, 3, 2], "solution": ["a", program, "c"]}, "here") == [program]
    for value in ("", "[]", [], '""', {"language": [2], "solution": ["c"]}):
        assert read_programs(value, "here") == []
    for value, message in (
        ("['a', 'b']", "a list in the spelling of Python"),
        ([1], "must be a text or a list of texts"),
        (5, "must be a text or a list of texts"),
        ({"language": [3], "solution": []}, "as many texts under 'solution' as languages"),
    ):
        with pytest.raises(DataError, match=f"here.*{message}"):
            read_programs(value, "here")
