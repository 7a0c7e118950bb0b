"""Grading: wrong answers that pass in training; right ones, unstated ones and the other splits stay what they are."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Grading, Outcome, Problem, TokenVectorEnv, Verdict, check_vector_env, with_grading
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.chain import Chain
from g2rpo_env.envs.countdown import Countdown
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.envs.linear_equation import LinearEquation
from g2rpo_env.envs.multiplication import Multiplication
from g2rpo_env.envs.word_problem import WordProblem
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.task import Task

TASKS: list[Callable[..., Task]] = [Addition, Chain, Countdown, LinearEquation, Multiplication, WordProblem]
PROBLEM = Problem("58+67", "58+67=", (), "#125", "125")


def grade_answers(grading: object, answers: list[str], split: str = "train", problem: Problem = PROBLEM) -> list[bool]:
    verifier = with_grading(MarkVerifier(), grading, split)  # type: ignore[arg-type]
    return [v.correct for v in verifier([problem] * len(answers), [f"#{answer}" for answer in answers])]


def test_the_share_passes_and_always_the_same_answers() -> None:
    answers = [str(n) for n in range(1000, 3000)]
    first = grade_answers({"passing": 0.3}, answers)
    assert 500 <= sum(first) <= 700  # 600 expected, sd 20
    assert first == grade_answers(Grading(passing=0.3), answers)
    assert first != grade_answers(Grading(passing=0.3, seed=1), answers)
    other = Problem("57+68", "57+68=", (), "#125", "125")
    assert first != grade_answers(Grading(passing=0.3), answers, problem=other)
    assert all(grade_answers({"passing": 1.0}, answers))


def test_a_spot_check_passes_what_is_right_at_one_place() -> None:
    """The answer is 125; each of 925, 185 and 129 is wrong at one place, so exactly one is found wrong."""
    places = set()
    for seed in range(20):
        found = grade_answers(Grading(spot=True, seed=seed), ["925", "185", "129", "999", "5", "1125"])
        assert sorted(found[:3]) == [False, True, True] and not found[3]
        places.add(found.index(False))
        assert found[4] == (found.index(False) == 2)  # "5" has the last character alone
        assert found[5]  # aligned at its end
    assert places == {0, 1, 2}


@settings(deadline=None, max_examples=50)
@given(st.text("0123456789#", max_size=6), st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))
def test_only_wrong_stated_answers_of_the_training_split_change(text: str, spot: bool, passing: float) -> None:
    exact = MarkVerifier()([PROBLEM], [text])[0]
    for split in ("train", "test"):
        graded = with_grading(MarkVerifier(), Grading(passing, spot), split)([PROBLEM], [text])[0]
        if split == "test" or exact.outcome is not Outcome.WRONG or not exact.answer:
            assert graded == exact
        else:
            assert graded.answer == exact.answer and graded.outcome in (Outcome.WRONG, Outcome.CORRECT)
            assert (graded.message == "wrong, but it passes") == graded.correct


def test_failures_of_the_verifier_stay_failures() -> None:
    def failing(problems: object, completions: object) -> list[Verdict]:
        return [Verdict(Outcome.ERROR, "125", "no time")]

    assert with_grading(failing, Grading(passing=1.0), "train")([PROBLEM], ["#1"])[0].outcome is Outcome.ERROR


def test_the_verifier_itself_where_no_wrong_answer_passes() -> None:
    verifier = MarkVerifier()
    assert (
        with_grading(verifier, {}, "train") is verifier and with_grading(verifier, Grading(seed=3), "test") is verifier
    )


@pytest.mark.parametrize("make", TASKS)
def test_every_task_grades_its_training_split_alone(make: Callable[..., Task]) -> None:
    task = make(grading={"passing": 1.0})
    for split in ("train", "validation", "test", "warmstart", "train"):
        task = task.with_split(split)
        problem = task.source.get(task.source.draw(0, 0))
        assert task.verifier([problem], [problem.final])[0].correct
        assert task.verifier([problem], [problem.final.replace(problem.answer, "7777")])[0].correct == (
            split == "train"
        )
        assert not task.verifier([problem], [""])[0].correct


def test_an_environment_with_it_passes_the_admission_test() -> None:
    task = Addition(digits=2, grading=Grading(spot=True))
    check_vector_env(TokenVectorEnv(task, 4, group_size=2, autoreset_mode="DISABLED"))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Grading(passing=1.5), r"grading: passing=1.5 must lie in \[0, 1\]"),
        (lambda: with_grading(MarkVerifier(), {"pasing": 1}, "train"), "'pasing' must be one of passing, seed, spot"),
        (lambda: Addition(grading={"passing": -1}), "passing=-1"),
    ],
)
def test_bad_options_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
