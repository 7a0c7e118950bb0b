"""Parts of a reward: the format of tags, values by hand, bounds for any text, their sum around a verifier."""

import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Problem, Verdict
from g2rpo_env.envs.mathematics.equality import MathVerifier
from g2rpo_env.envs.rewards import Accuracy, Part, Repetition, Rewards, SoftOverlong, ThinkFormat, is_tagged
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import char_tokenizer
from g2rpo_env.verdict import Outcome

PROBLEM = Problem("p", "2+2?\n", (), "#### 4", "4")
RIGHT, WRONG = Verdict(Outcome.CORRECT), Verdict(Outcome.WRONG)
PARTS: list[Part] = [
    Accuracy(), ThinkFormat(), SoftOverlong(10, 4), SoftOverlong(10, 10, char_tokenizer()), Repetition(2),
]  # fmt: skip


@pytest.mark.parametrize(
    "completion,has",
    [
        ("<think>\nr\n</think>\n<answer>4</answer>", True),
        ("<think>r</think><answer>4</answer>", True),  # no line breaks
        (" r </think>\n\n<answer> 4 </answer>\n", True),  # the prompt held the opening tag; a line break at the end
        ("<think></think><answer>4</answer>", True),
        ("<think>r</think> so <answer>4</answer>", False),
        ("<think>r</think><answer> </answer>", False),
        ("<think>r</think><answer>4</answer> done", False),
        ("<think>r</think><answer>4", False),
        ("r <think>r</think><answer>4</answer>", False),
        ("<answer>4</answer><think>r</think>", False),
        ("<think>r</think><answer>4</answer><answer>4</answer>", False),
        ("<think><think>r</think><answer>4</answer>", False),
        ("", False),
    ],
)
def test_the_format_of_tags(completion: str, has: bool) -> None:
    assert is_tagged(completion) is has


@pytest.mark.parametrize("unit", ["<think>", "</think>", "<answer>", " ", "</think> "])
def test_the_format_of_long_texts_takes_little_time(unit: str) -> None:
    assert not is_tagged(unit * 20_000)


@pytest.mark.parametrize("length,value", [(0, 0), (6, 0), (7, -0.25), (8, -0.5), (10, -1), (50, -1)])
def test_soft_overlong_falls_over_its_buffer(length: int, value: float) -> None:
    # limit 10, buffer 4: 0 up to 6, then -(length - 6) / 4
    assert SoftOverlong(10, 4)(PROBLEM, "x" * length, WRONG) == value


def test_soft_overlong_counts_tokens_with_a_tokenizer() -> None:
    # "é" is two bytes, so two tokens: 8 of them
    assert SoftOverlong(10, 4, char_tokenizer())(PROBLEM, "é" * 4, WRONG) == -0.5


@pytest.mark.parametrize(
    "text,value",
    [
        ("a b c d", 0.0),  # ab bc cd
        ("a b a b", -1 / 3),  # ab ba ab: two of three
        ("a a a a a", -3 / 4),  # aa four times
        ("a", 0.0),
        ("", 0.0),
    ],
)
def test_repetition_is_the_share_of_pairs_that_came_before(text: str, value: float) -> None:
    assert Repetition(2)(PROBLEM, text, WRONG) == pytest.approx(value)


def test_accuracy_and_format() -> None:
    assert [Accuracy()(PROBLEM, "", v) for v in (RIGHT, WRONG, Verdict(Outcome.WRONG, score=7.0))] == [1.0, 0.0, 1.0]
    assert ThinkFormat()(PROBLEM, "r</think><answer>4</answer>", WRONG) == 1.0
    assert ThinkFormat()(PROBLEM, "4", RIGHT) == 0.0


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=60), verdict=st.sampled_from([RIGHT, WRONG, Verdict(Outcome.WRONG, score=-3.0)]))
def test_every_part_keeps_its_bounds(part: Part, text: str, verdict: Verdict) -> None:
    low, high = part.bounds
    assert low <= part(PROBLEM, text, verdict) <= high
    assert f"[{low:.0f}, {high:.0f}]" in str(type(part).__doc__)  # and states them


def test_the_sum_is_the_score_and_the_verdict_stays() -> None:
    rewards = Rewards(MathVerifier(("tag",)), {Accuracy(): 1.0, ThinkFormat(): 0.5, SoftOverlong(40, 20): 2.0})
    assert rewards.bounds == (-2.0, 1.5)
    texts = ["<think>a</think><answer>4</answer>", "<answer>4</answer>", "<think>a</think><answer>5</answer>"]
    verdicts = rewards([PROBLEM] * 3, texts)
    assert [v.correct for v in verdicts] == [True, True, False] and verdicts[2].answer == "5"
    # lengths 34, 18, 34: punished by 14/20 * 2 = 1.4, by nothing, by 1.4
    assert [v.reward for v in verdicts] == pytest.approx([1.5 - 1.4, 1.0, 0.5 - 1.4])
    again = pickle.loads(pickle.dumps(rewards))
    assert again([PROBLEM] * 3, texts) == verdicts


def test_a_verdict_that_is_not_valid_gets_no_score() -> None:
    rewards = Rewards(MathVerifier(), {ThinkFormat(): 1.0})
    [verdict] = rewards([Problem("p", "Q\n", (), "x", "\\text{}")], ["r</think><answer>4</answer>"])
    assert not verdict.valid and verdict.score is None


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: SoftOverlong(4, 5), r"buffer=5 must lie in \[1, limit=4\]"),
        (lambda: SoftOverlong(4, 0), "buffer=0"),
        (lambda: Repetition(0), "words=0 must be at least 1"),
        (lambda: Rewards(MathVerifier(), {}), "must hold at least one part"),
        (lambda: Rewards(MathVerifier(), {Accuracy(): math.nan}), "finite weight"),
        (lambda: Rewards(MathVerifier(), {Accuracy(): math.inf}), "finite weight"),
    ],
)
def test_bad_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()
