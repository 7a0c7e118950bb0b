"""Traces: few, wrong and long solutions; problems, answers and the other splits stay what they are."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Problem, TokenVectorEnv, Traces, VectorGuidanceWrapper, check_vector_env, with_traces
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.envs.chain import Chain, ChainSource, left_to_right
from g2rpo_env.envs.countdown import Countdown
from g2rpo_env.envs.expressions import parse
from g2rpo_env.envs.linear_equation import LinearEquation
from g2rpo_env.envs.multiplication import Multiplication, MultiplicationSource
from g2rpo_env.envs.word_problem import WordProblem
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import stream
from g2rpo_env.task import Task
from g2rpo_env.traces import with_wrong_digit

TASKS: list[Callable[..., Task]] = [Addition, Chain, Countdown, LinearEquation, Multiplication, WordProblem]
MISTAKEN: list[Callable[..., Task]] = [Addition, Chain, Multiplication]


def drawn(task: Task, count: int = 300, seed: int = 0) -> list[Problem]:
    return [task.source.get(task.source.draw(seed, index)) for index in range(count)]


def correct(task: Task, problem: Problem) -> bool:
    return task.verifier([problem], [problem.solution])[0].correct


@pytest.mark.parametrize("make", TASKS)
def test_only_the_solutions_of_the_training_split_change(make: Callable[..., Task]) -> None:
    plain, traced = make(), make(traces={"wrong_steps": 1.0, "repeats": 2})
    for split in ("validation", "test", "warmstart"):
        assert drawn(traced.with_split(split), 20) == drawn(plain.with_split(split), 20)
    for before, after in zip(drawn(plain, 20), drawn(traced, 20), strict=True):
        assert (before.problem_id, before.prompt, before.answer) == (after.problem_id, after.prompt, after.answer)
        assert len(after.steps) == 2 * len(before.steps) and after.steps != before.steps
    assert traced.with_split("test").with_split("train").source.get(before.problem_id) == after


@pytest.mark.parametrize("make", TASKS)
def test_every_task_passes_the_admission_test_with_them(make: Callable[..., Task]) -> None:
    task = make(traces=Traces(pool=8, fresh=0.5, wrong_steps=0.3, repeats=2))
    check_vector_env(TokenVectorEnv(task, 4, group_size=2, autoreset_mode="DISABLED"))


def test_a_pool_comes_epoch_after_epoch() -> None:
    source = Addition(digits=3, traces={"pool": 16}).source
    first, second = [[source.draw(5, index) for index in range(start, start + 16)] for start in (0, 16)]
    assert source.num_problems == 16 and sorted(first) == sorted(second) and first != second
    assert len(set(first)) == 16
    other = Addition(digits=3, traces={"pool": 16, "seed": 1}).source
    assert set(first) != {other.draw(5, index) for index in range(16)}


def test_fresh_problems_have_no_solution_but_an_answer() -> None:
    task = Addition(digits=4, traces={"pool": 16, "fresh": 0.75})
    problems = drawn(task, 400)
    solved = [p for p in problems if p.steps]
    assert len({p.problem_id for p in solved}) == 16 and 70 <= len(solved) <= 130  # 100 expected, sd 8.7
    assert task.source.num_problems is None
    assert all(correct(task, p) for p in problems)


def test_problems_without_a_solution_are_not_guided() -> None:
    envs = TokenVectorEnv(
        Addition(digits=4, traces={"pool": 4, "fresh": 0.5}), 64, group_size=2, autoreset_mode="DISABLED"
    )
    guided = VectorGuidanceWrapper(envs, ratio=1, length=5, unit="tokens")
    _, info = guided.reset(seed=0)
    task = envs.task
    solved = [bool(task.source.get(p).steps) for p in info["problem_id"]]
    assert 0 < sum(solved) < 64 and ((info["reveal_length"] == 5) == solved).all()


@pytest.mark.parametrize("make", MISTAKEN)
def test_mistaken_solutions_are_consistent_and_mostly_wrong(make: Callable[..., Task]) -> None:
    task = make(traces={"wrong_traces": 1.0}, **({"running": True} if make is Addition else {}))
    problems = drawn(task)
    right = [correct(task, p) for p in problems]
    assert sum(right) < 0.7 * len(right)
    for problem, is_right in zip(problems, right, strict=True):
        assert problem.final == f"#{int(re.split('[=,]', problem.steps[-1].strip())[-1])}"  # what the last step says
        assert is_right == (problem.final == f"#{problem.answer}")
        task.start(problem.problem_id, task.encode(problem).revealable)  # fits


def test_addition_without_carries() -> None:
    problem = AdditionSource(2).mistaken(AdditionSource(2).get("58+67"))
    assert (problem.solution, problem.answer) == ("8+7+0=15\n5+6+0=11\n#115", "125")


def test_addition_without_carries_has_no_leading_zero() -> None:
    # 5+5 writes 0 and carries nothing, 0+0 is 0
    assert AdditionSource(1).mistaken(AdditionSource(1).get("0+0")).final == "#0"


def test_multiplication_without_carries() -> None:
    # 7*6=42 keeps 2, 4*6=24 keeps 4: 42; second row from 4: 7*3+4=25 keeps 5, 4*3+0=12 keeps 2: 252
    problem = MultiplicationSource(2).mistaken(MultiplicationSource(2).get("47*36"))
    assert problem.solution == "7*6+0+0=42\n4*6+0+0=24,42\n7*3+4+0=25\n4*3+0+0=12,252\n#252"


def test_chain_from_left_to_right() -> None:
    problem = ChainSource(3).mistaken(ChainSource(3).get("3+(4-1)*2"))
    assert problem.solution == "3+4=7,7-1*2\n7-1=6,6*2\n6*2=12\n#12" and problem.answer == "9"
    assert left_to_right(parse("9+9*9"), 99) is None  # (9+9)*9 is beyond 99
    outside = ChainSource(3).get("3+9*9-1")
    assert ChainSource(3).mistaken(outside) == outside


@settings(deadline=None, max_examples=30)
@given(share=st.sampled_from([0.2, 0.5, 0.8]), seed=st.integers(0, 100))
def test_the_share_of_wrong_traces(share: float, seed: int) -> None:
    source = with_traces(AdditionSource(4), Traces(wrong_traces=share, seed=seed))
    plain = AdditionSource(4)
    ids = [plain.draw(0, index) for index in range(400)]
    carries = [i for i in ids if plain.mistaken(plain.get(i)) != plain.get(i)]
    wrong = sum(source.get(i) != plain.get(i) for i in carries)
    assert abs(wrong / len(carries) - share) < 0.11  # over 4 standard deviations
    assert [source.get(i) for i in ids] == [source.get(i) for i in ids]


@given(step=st.text("01a=\n", max_size=8), seed=st.integers(0, 1000))
def test_a_wrong_digit_is_one_other_digit(step: str, seed: int) -> None:
    wrong = with_wrong_digit(step, stream(seed, "test"))
    changed = [(a, b) for a, b in zip(step, wrong, strict=True) if a != b]
    assert len(changed) == any(c.isdigit() for c in step)
    assert all(a.isdigit() and b.isdigit() for a, b in changed)


def test_nothing_asked_for_is_the_source_itself() -> None:
    source = AdditionSource(3)
    assert with_traces(source, {}) is source and with_traces(source, Traces(seed=3)) is source


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": 0}, "pool=0 must be None or at least 1"),
        ({"fresh": 0.5}, "needs a pool"),
        ({"pool": 2, "fresh": 1.5}, r"fresh=1.5 must lie in \[0, 1\]"),
        ({"wrong_steps": -0.1}, r"wrong_steps=-0.1 must lie in \[0, 1\]"),
        ({"repeats": 0}, "repeats=0 must be at least 1"),
        ({"noise": 1}, "'noise' must be one of fresh, pool"),
    ],
)
def test_options_that_break_a_rule(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Addition(traces=options)  # type: ignore[arg-type]


def test_what_the_source_lacks() -> None:
    with pytest.raises(ConfigurationError, match="WordProblemSource has none"):
        WordProblem(traces=Traces(wrong_traces=0.5))
    with pytest.raises(ConfigurationError, match="pool=1000 must be at most"):
        Addition(digits=1, traces=Traces(pool=1000))
