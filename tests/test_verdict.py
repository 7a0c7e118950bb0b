"""Verdicts: what follows from an outcome, and equality without the clock."""

import dataclasses

import pytest

from g2rpo_env import Outcome, Verdict


@pytest.mark.parametrize(
    "outcome,correct,valid,reward",
    [
        (Outcome.CORRECT, True, True, 1.0),
        (Outcome.WRONG, False, True, 0.0),
        (Outcome.NO_ANSWER, False, True, 0.0),
        (Outcome.ERROR, False, False, 0.0),
    ],
)
def test_what_follows_from_each_outcome(outcome: Outcome, correct: bool, valid: bool, reward: float) -> None:
    verdict = Verdict(outcome)
    assert (verdict.correct, verdict.valid, verdict.reward) == (correct, valid, reward)
    assert isinstance(verdict.reward, float)


def test_every_outcome_is_in_the_table_above() -> None:
    assert {outcome.value for outcome in Outcome} == {"correct", "wrong", "no_answer", "error"}


def test_a_score_is_the_reward_and_changes_nothing_else() -> None:
    assert Verdict(Outcome.WRONG, score=0.25).reward == 0.25 and not Verdict(Outcome.WRONG, score=0.25).correct
    assert Verdict(Outcome.CORRECT, score=0.0).reward == 0.0 and Verdict(Outcome.CORRECT, score=0.0).correct


def test_equality_ignores_the_clock_and_nothing_else() -> None:
    verdict = Verdict(Outcome.WRONG, "3", "off by one", 0.5, seconds=1.0)
    assert verdict == dataclasses.replace(verdict, seconds=2.0)
    assert hash(verdict) == hash(dataclasses.replace(verdict, seconds=2.0))
    for change in ({"outcome": Outcome.CORRECT}, {"answer": "4"}, {"message": ""}, {"score": None}):
        assert verdict != dataclasses.replace(verdict, **change)
