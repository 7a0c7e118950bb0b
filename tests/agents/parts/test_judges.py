"""Judges: what the rules say of scripted completions, and which answers of a judge are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents.parts.judges import (
    Judged,
    StatedResult,
    StepMatch,
    ask_answers,
    ask_progress,
    check_judge,
    is_consistent,
    is_corrected,
    match_steps,
)
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.chain import ChainSource
from g2rpo_env.envs.countdown import CountdownSource
from g2rpo_env.envs.linear_equation import LinearEquationSource
from g2rpo_env.envs.multiplication import MultiplicationSource
from g2rpo_env.envs.word_problem import WordProblemSource
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem

STEPS = ("8+7+0=15\n", "5+6+1=12\n")
PROBLEM = Problem("58+67", "58+67=", STEPS, "#125", "125")
RUNNING = Problem("58+67", "58+67=", ("8+7+0=15,5\n", "5+6+1=12,125\n"), "#125", "125")


def returning(value: Any) -> Any:
    """A judge that returns the same whatever it is asked."""

    class Mine:
        def __call__(self, problem: Problem, completions: Any) -> Any:
            return value

    return Mine()


# -- progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "share"),
    [
        ("8+7+0=15\n5+6+1=11\n#115", 9 / 22),  # 9 characters of 22: the second step is wrong
        ("8+7+0=15\n5+6+1=12\n#126", 18 / 22),
        ("5+6+1=12\n8+7+0=15\n#125", 0),  # the order counts
        ("8+7+0=15", 0),  # no whole step: its end is missing
        ("8+7+0=15\n", 1),
        ("", 0),
        ("#125", 0),
    ],
)
def test_progress_is_the_share_of_whole_steps(completion: str, share: float) -> None:
    assert match_steps(STEPS, completion) == pytest.approx(share)
    assert StepMatch()(PROBLEM, [completion, completion]) == pytest.approx([share, share])


@given(st.text(alphabet="0123456789+=\n#", max_size=30), st.integers(0, 2))
def test_progress_lies_between_0_and_1_and_grows_with_right_steps(rest: str, steps: int) -> None:
    shares = [match_steps(STEPS, "".join(STEPS[:n]) + "x" + rest) for n in range(3)]
    assert 0 == shares[0] < shares[1] < shares[2] < 1
    assert match_steps(STEPS, "".join(STEPS[:steps]) + rest) <= 1


# -- consistency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "consistent"),
    [
        ("8+7+0=15,5\n5+6+1=12,125\n#125", True),
        ("8+7+0=15,5\n5+6+0=11,115\n#115", True),  # wrong, and what its steps say
        ("8+7+0=15,5\n5+6+0=11,115\n#125", False),  # right, against its steps
        ("8+7+0=15,5\n5+6+1=12,125\n#1\n25", False),  # an answer ends with its line
        ("8+7+0=15,5\n5+6+1=12,125\n", None),
        ("8+7+0=15,5\n5+6+1=12,125\n#", None),
        ("#125", None),
        ("", None),
    ],
)
def test_the_last_step_must_end_in_the_answer(completion: str, consistent: bool | None) -> None:
    assert StatedResult()(RUNNING, [completion])[0].consistent is consistent


def test_a_rule_that_does_not_fit_the_ground_truth_says_nothing() -> None:
    # Column sums without running results: the last step of the solution ends in 12 and the answer is 125.
    assert StatedResult()(PROBLEM, [PROBLEM.solution, "8+7+0=15\n#15"]) == [Judged(None, False), Judged(None, False)]
    no_mark = Problem("1", "1", ("1=1\n",), "1", "1")
    assert StatedResult()(no_mark, ["1=1\n1"]) == [Judged(None, False)]


@pytest.mark.parametrize(
    "source",
    [
        AdditionSource(4, running=True),
        AdditionSource(1),
        ChainSource(),
        LinearEquationSource(),
        MultiplicationSource(),
        WordProblemSource(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_ground_truth_is_consistent_where_the_rule_fits(source: Any) -> None:
    problems = [source.get(source.draw(0, index)) for index in range(40)]
    found = [StatedResult()(problem, [problem.solution])[0].consistent for problem in problems]
    assert found == [True] * 40


def test_a_solution_that_ends_in_an_expression_is_not_judged() -> None:
    source = CountdownSource()
    problems = [source.get(source.draw(0, index)) for index in range(10)]
    assert {StatedResult()(problem, [problem.solution])[0].consistent for problem in problems} == {None}


def test_a_number_may_have_zeros_before_it_and_a_sentence_its_stop() -> None:
    assert is_consistent("3+4+0=07\n#7", "#") is True
    assert is_consistent("He has 17-2=15.\n#### 15", "####") is True
    assert is_consistent("x+2=9\nx=7\n#x", "#") is False


@pytest.mark.parametrize(
    ("completion", "corrected"),
    [
        ("5+6+1=11,1\n5+6+1=12,12\n#12", True),
        ("5+6+1=12,2\n5+6+1=12,122\n", False),  # the same step at two places
        ("2x=4\n2x=4\n", False),
        ("#12", None),
        ("a=1\nb=2\nc=3\nb=4", True),
    ],
)
def test_an_answer_reflects_where_it_gives_a_step_another_value(completion: str, corrected: bool | None) -> None:
    assert is_corrected(completion) is corrected
    assert StatedResult()(RUNNING, [completion])[0].reflects is corrected


# -- asking -----------------------------------------------------------------------------------------------------------


def test_what_a_judge_says_is_an_array() -> None:
    for value in ([0, 0.5], (0.0, 0.5), np.array([0, 0.5], np.float32)):
        found = ask_progress(returning(value), PROBLEM, ["a", "b"])
        assert found.dtype == np.float64 and found.tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0.5], "it returned 1 for 2 of problem '58\\+67'"),
        ([0.5] * 3, "it returned 3 for 2"),
        ([0.5, float("nan")], "it returned nan for problem '58\\+67'"),
        ([0.5, 1.5], "it returned 1.5"),
        ([-0.1, 0.5], "it returned -0.1"),
        ([0.5, float("inf")], "it returned inf"),
        ([0.5, None], "it returned None"),
        ([0.5, "1"], "it returned '1'"),
        (None, "it returned None"),
        (0.5, "it returned 0.5"),
    ],
)
def test_a_judge_that_says_something_else_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^judge=Mine must return one number in \[0, 1\] per .*{words}"):
        ask_progress(returning(value), PROBLEM, ["a", "b"])


@pytest.mark.parametrize(
    ("value", "words"),
    [([Judged()], "it returned 1 for 2"), ([Judged(), True], "it returned True"), (7, "it returned 7")],
)
def test_a_judge_of_answers_that_says_something_else_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^judge=Mine must return one Judged per completion; {words}"):
        ask_answers(returning(value), PROBLEM, ["a", "b"])


@pytest.mark.parametrize("judge", [None, StepMatch, "steps"])
def test_a_judge_is_an_object_that_can_be_called(judge: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"judge=.* must be an object that is called with \(problem, compl"):
        check_judge(judge)
    check_judge(StepMatch())


def test_a_judge_that_raises_is_named_with_the_problem() -> None:
    def judge(problem: Problem, completions: Any) -> Any:
        raise TimeoutError("no reply")

    words = r"^judge=function must return one number in \[0, 1\] per completion; it raises TimeoutError for problem "
    with pytest.raises(ConfigurationError, match=words + r"'58\+67': no reply$"):
        ask_progress(judge, PROBLEM, ["a"])
