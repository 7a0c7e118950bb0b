"""Splits: what the data name, what a hash takes out of the training rows, and questions in two of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env import Problem
from g2rpo_env.envs.splits import Shares, key_share, pick_split, question_key
from g2rpo_env.errors import ConfigurationError


def keyed(*questions: str) -> list[tuple[Problem, bytes]]:
    return [(Problem(f"{n} {q}", q, (), "#", ""), question_key(q)) for n, q in enumerate(questions)]


def prompts(splits: dict[str, list[Problem]]) -> dict[str, list[str]]:
    return {split: [problem.prompt for problem in problems] for split, problems in splits.items()}


def test_named_splits_are_served_and_a_question_is_in_one_of_them() -> None:
    named = {"train": keyed("a", "b", "c", "c"), "validation": keyed("C ", "d"), "test": keyed("D", "A")}
    splits, left_out = Shares(0.5, 0.5).apply(named)
    assert prompts(splits) == {"train": ["b"], "validation": ["C "], "test": ["D", "A"]} and left_out == 4


@given(validation=st.floats(0, 0.5), test=st.floats(0, 0.5), named=st.sets(st.sampled_from(["validation", "test"])))
def test_what_is_not_named_is_taken_by_the_hash_of_the_question(
    validation: float, test: float, named: set[str]
) -> None:
    questions = [f"question {n}" for n in range(60)]
    splits, _ = Shares(validation, test).apply({"train": keyed(*questions), **{s: keyed(f"{s}?") for s in named}})
    found = prompts(splits)
    shares = {q: key_share(question_key(q)) for q in questions}
    lowest = 0.0 if "test" in named else test
    assert found["test"] == (["test?"] if "test" in named else [q for q in questions if shares[q] < test])
    upper = lowest + (0.0 if "validation" in named else validation)
    assert found["train"] == [q for q in questions if shares[q] >= upper]


def test_all_rows_are_divided_anew_on_request() -> None:
    splits, _ = Shares(0.0, 1.0, divide=True).apply({"train": keyed("a"), "test": keyed("b")})
    assert prompts(splits) == {"train": [], "validation": [], "test": ["a", "b"]}


def test_a_split_that_is_empty_says_what_there_is_and_what_to_do() -> None:
    splits, _ = Shares().apply({"train": keyed("a", "b")})
    assert pick_split(splits, "warmstart", "d", "") == pick_split(splits, "train", "d", "") == splits["train"]
    with pytest.raises(ConfigurationError, match=r"split='test' of data='d' is empty; there are train \(2\)\. Do so"):
        pick_split(splits, "test", "d", "Do so")
    with pytest.raises(ConfigurationError, match="split='dev' must be one of train"):
        pick_split(splits, "dev", "d", "")


@pytest.mark.parametrize("shares", [(-0.1, 0.5), (0.6, 0.5), (0.0, 1.1), (float("nan"), 0.0)])
def test_shares_that_cannot_be_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError, match="must be at least 0 and together at most 1"):
        Shares(*shares)
