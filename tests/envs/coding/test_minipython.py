"""MiniPython: problems by hand, counts, splits by structure, and what the hidden tests catch."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import opened

from g2rpo_env.envs.coding import minipython
from g2rpo_env.envs.coding.minipython import (
    OPERATIONS,
    MiniPython,
    MiniPythonSource,
    compile_solution,
    count_problems,
    fill,
    name_of,
    parse,
    split_of,
    trace_and_code,
)
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import SPLITS
from g2rpo_env.verdict import Outcome


def some(count: int, operations: Any = (1, 3), split: str = "train") -> list[Any]:
    source = MiniPythonSource(operations, split)
    return [source.get(source.draw(0, index)) for index in range(count)]


def hidden(problem: Any) -> list[tuple[Any, Any]]:
    """Return argument and value of every hidden assert."""
    return [eval(f"({a}, {b})") for a, b in re.findall(r"assert candidate\((.*)\) == (.*)\n", problem.test)]


def test_a_problem_by_hand() -> None:
    problem = MiniPythonSource(2).get("int x: add 3, times 2")
    first, *examples, signature = problem.prompt.splitlines()
    assert (first, signature, problem.head) == ("int x: add 3, times 2", "def f(x):", "def f(x):\n")
    assert problem.steps == (" # add 3: x+3\n", " # times 2: x*2\n", " x=x+3\n")
    assert problem.final == " return x*2"
    for x, y in (re.fullmatch(r"f\((.*)\)=(.*)", line).groups() for line in examples):  # type: ignore[union-attr]
        assert int(y) == (int(x) + 3) * 2
    assert len(hidden(problem)) == 8 and all(y == (x + 3) * 2 for x, y in hidden(problem))


def test_loops_and_conditions_by_hand() -> None:
    trace, code = trace_and_code("n", parse("list n: multiply all, if over 5 subtract 2")[2])
    assert trace == [" # multiply all: loop\n", " # if over 5 subtract 2: n-2 if n>5 else n\n"]
    assert code == [" t=1\n", " for i in n:t=t*i\n", " n=t\n", " return n-2 if n>5 else n"]
    function = compile_solution("def f(n):\n" + "".join(code))
    assert [function(x) for x in ([2, 3], [1, 5], [])] == [4, 5, 1]


def test_there_are_enough_problems_and_structures() -> None:
    assert count_problems(1) == (56, 7 * sum(minipython_ways(o) for o in OPERATIONS))
    structures, problems = count_problems(3)
    assert structures >= 10_000 and problems >= 10**6
    drawn = {name for i in range(500) for name in [MiniPythonSource(3).draw(0, i)]}
    assert len(drawn) >= 499


def minipython_ways(operation: Any) -> int:
    return int(np.prod([len(minipython.CONSTANTS[p]) for p in operation.places]))


def test_structures_are_counted_right() -> None:
    pairs = sum(a.codomain == b.domain for a in OPERATIONS for b in OPERATIONS)
    assert count_problems(2)[0] == pairs


@settings(deadline=None, max_examples=60)
@given(
    operations=st.integers(1, 6), split=st.sampled_from(SPLITS), seed=st.integers(0, 99), index=st.integers(0, 10**6)
)
def test_drawn_problems_are_of_their_split_and_within_the_longest(
    operations: int, split: str, seed: int, index: int
) -> None:
    source = MiniPythonSource(operations, split)
    problem_id = source.draw(seed, index)
    assert problem_id == source.draw(seed, index)
    domain, variable, steps = parse(problem_id)
    assert split_of(domain, steps) == split and name_of(domain, variable, steps) == problem_id
    assert len(steps) == operations
    problem = source.get(problem_id)
    (longest,) = source.longest()
    assert len(problem.prompt) <= len(longest.prompt) and len(problem.steps) <= len(longest.steps)
    assert len("".join(problem.steps)) <= len("".join(longest.steps)) and len(problem.final) <= len(longest.final)
    function = compile_solution(problem.head + problem.answer)
    assert 1 <= len(hidden(problem)) <= 8 and all(function(x) == y for x, y in hidden(problem))
    assert (problem.prompt + problem.solution).isascii()


def test_names_and_constants_move_no_problem_to_another_split() -> None:
    ids = ("int x: add 3, times 2", "int y: add 9, times 5")
    assert len({split_of(*parse(i)[::2]) for i in ids}) == 1


def test_words_are_read_in_one_way() -> None:
    for operation in OPERATIONS:
        constants = tuple(minipython.CONSTANTS[p][-1] for p in operation.places)
        text = fill(operation.words, (operation, constants), "x")
        assert parse(f"{operation.domain} x: {text}")[2] == [(operation, constants)]
        alike = [o for o in OPERATIONS if o.domain == operation.domain]
        assert [o for o in alike if re.fullmatch(minipython._pattern(o), text)] == [operation]


@pytest.mark.parametrize("split", SPLITS)
def test_no_split_is_empty_for_one_operation(split: str) -> None:
    assert MiniPythonSource(1, split).draw(0, 0)


def test_the_lowest_difficulty_is_short() -> None:
    sizes = [len(p.prompt) + len(p.solution) for p in some(300, 1)]
    assert np.mean(sizes) < 120 and max(sizes) < 200
    assert len({c for p in some(1000) for c in p.prompt + p.solution}) <= 80


def test_hidden_tests_tell_most_other_operations_apart() -> None:
    """Replace the last operation by another on the same type; another constant counts as another operation."""
    caught = total = 0
    for problem in some(150):
        domain, variable, steps = parse(problem.problem_id)
        last, constants = steps[-1]
        for other in OPERATIONS:
            if other.domain != last.domain or other is last:
                continue
            filled = tuple(minipython.CONSTANTS[p][0] for p in other.places)
            _, code = trace_and_code(variable, [*steps[:-1], (other, filled)])
            function = compile_solution(problem.head + "".join(code))
            total += 1
            caught += any(function(x) != y for x, y in hidden(problem))
    assert total > 1500 and caught / total > 0.9


def test_solutions_verify_in_the_sandbox_with_and_without_the_trace_and_mutants_do_not() -> None:
    opened().close()
    verify = MiniPython().verifier
    problems = some(60, (1, 6))
    assert all(v.correct for v in verify(problems, [p.solution for p in problems]))
    assert all(v.correct for v in verify(problems, [p.answer for p in problems]))  # without the trace
    mutants = [p.solution.rstrip("\n") + ",\n" for p in problems]  # a tuple of one
    assert {v.outcome for v in verify(problems, mutants)} == {Outcome.WRONG}
    assert {v.outcome for v in verify(problems, ["".join(p.steps) or " pass" for p in problems])} == {Outcome.WRONG}


def test_without_the_trace_the_steps_are_code_alone() -> None:
    problem = MiniPythonSource(2, trace=False).get("int x: add 3, times 2")
    assert problem.steps == (" x=x+3\n",)
    other = MiniPythonSource((2, 3), examples=3, trace=False).with_split("test")
    assert (other.low, other.high, other.examples, other.trace, other.split) == (2, 3, 3, False, "test")


@pytest.mark.parametrize(
    "problem_id",
    ["", "int x: ", "int x: add 0, negate", "int i: add 3, negate", "int x: add 3", "float x: add 3, negate",
     "int x: add 3, upper", "int x: is even, negate", "int x: add 3,negate", "int x: add 3, negate\n"],
)  # fmt: skip
def test_what_is_no_problem_is_unknown(problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="is none of MiniPython"):
        MiniPythonSource(2).get(problem_id)


@pytest.mark.parametrize("operations", [0, 7, (3, 2), (1, 2, 3), "2", None, 1.5])
def test_bad_numbers_of_operations_are_named(operations: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"operations=.* must be an int or an inclusive range"):
        MiniPythonSource(operations)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ConfigurationError, match="split='dev' must be one of"):
        MiniPython(split="dev")
    with pytest.raises(ConfigurationError, match="examples=4 must be 2 or 3"):
        MiniPython(examples=4)
