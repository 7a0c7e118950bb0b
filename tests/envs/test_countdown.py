"""Countdown: any expression on the numbers with the value is right, nothing else is."""

import pytest

from g2rpo_env import Outcome
from g2rpo_env.envs.countdown import CountdownSource, CountdownVerifier
from g2rpo_env.errors import ConfigurationError, UnknownProblemError

PROBLEM = CountdownSource().get("3*5+7-9")


def test_a_problem_by_hand() -> None:
    assert PROBLEM.prompt == "3 5 7 9 make 13:"
    assert PROBLEM.steps == ("3*5=15\n", "15+7=22\n", "22-9=13\n", "3*5+7-9=13\n")
    assert (PROBLEM.final, PROBLEM.answer) == ("#3*5+7-9", "3*5+7-9")


@pytest.mark.parametrize(
    "answer", ["3*5+7-9", "7-9+5*3", "(7+3*5)-9", " 5*3 - (9-7) ", "3*5/1+7-9".replace("/1", ""), "5*3-(9-7)"]
)
def test_every_right_expression_is_right(answer: str) -> None:
    assert CountdownVerifier()([PROBLEM], [f"steps\n#{answer}"])[0].correct


@pytest.mark.parametrize(
    "answer,message",
    [
        ("13", "numbers"),
        ("3*5+7", "numbers"),
        ("3*5+7-9+0", "numbers"),
        ("3*5+7+9-9-9", "numbers"),
        ("3+5+7-9", "the value is 6"),
        ("35+7-9", "numbers"),
        ("3*5+7-", "no expression"),
        ("", "no expression"),
        ("(" * 5000, "no expression"),
        ("9**9**9", "no expression"),
        ("3/(5-5)", "numbers"),
        ("3*5+7-9=13", "no expression"),
    ],
)
def test_everything_else_is_wrong(answer: str, message: str) -> None:
    verdict = CountdownVerifier()([PROBLEM], [f"#{answer}"])[0]
    assert verdict.outcome is Outcome.WRONG and message in verdict.message


def test_a_division_by_zero_is_wrong() -> None:
    problem = CountdownSource(3).get("3+3-5")
    assert CountdownVerifier()([problem], ["#5/(3-3)"])[0].outcome is Outcome.WRONG


def test_fractions_on_the_way_are_allowed() -> None:
    problem = CountdownSource(3).get("6-3+4")  # 7
    assert not CountdownVerifier()([problem], ["#6/4*3"])[0].correct  # 4.5
    four = CountdownSource(4).get("8*3+1-1")  # 24 from 1, 1, 3, 8
    assert CountdownVerifier()([four], ["#8/(1/3)*1"])[0].correct


def test_the_problem_is_its_numbers_and_its_target() -> None:
    source = CountdownSource()
    assert source.structure("3*5+7-9") == source.structure("7+5*3-9") == PROBLEM.prompt


@pytest.mark.parametrize("problem_id", ["1+2", "5-7+9*1", "31+1+1+1", "7/2+3+1", "30*30+1+1", "(3*5)+7-9"])
def test_what_breaks_a_rule_is_unknown(problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="whose results are whole"):
        CountdownSource().get(problem_id)


@pytest.mark.parametrize("largest", [8, 100])
def test_a_bad_largest_number_is_named(largest: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"largest={largest} must lie in \[9, 99\]"):
        CountdownSource(largest=largest)
