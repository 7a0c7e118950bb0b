"""How much is revealed, and to whom: by hand, and the promise that the final answer never is."""

import dataclasses
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Problem, RevealPlan, char_tokenizer
from g2rpo_env.encoding import EncodedProblem, encode_problem
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal.assignment import count_guided
from g2rpo_env.reveal.plan import CAPS, UNITS, reveal_tokens
from g2rpo_env.tokenizer import decode

SUM = AdditionSource(2).get("58+67")  # "8+7+0=15\n" "5+6+1=12\n" "#125"


def encoded() -> EncodedProblem:
    """Two steps of 10 and 5 tokens, the answer first stands at token 12, the final part has 4."""
    problem = Problem("p", "ask", ("0123456789", "AB7CD"), "last", "7")
    return EncodedProblem(problem, np.arange(3), np.arange(19), np.arange(1, 20), (10, 15))


# -- amounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount,unit,cap,expected",
    [
        (0, "tokens", "final_answer", 0),
        (7, "tokens", "final_answer", 7),
        (2.5, "tokens", "final_answer", 3),  # halves go up
        (3.5, "tokens", "final_answer", 4),
        (2.49, "tokens", "final_answer", 2),
        (15, "tokens", "final_answer", 15),
        (16, "tokens", "final_answer", 15),  # never into the final part
        (float("inf"), "tokens", "final_answer", 15),
        (1, "steps", "final_answer", 10),
        (0.4, "steps", "final_answer", 0),
        (0.5, "steps", "final_answer", 10),
        (1.5, "steps", "final_answer", 15),
        (99, "steps", "final_answer", 15),
        (0.5, "fraction", "final_answer", 8),  # 7.5
        (1.0, "fraction", "final_answer", 15),
        (14, "tokens", "before_answer", 12),
        (2, "steps", "before_answer", 12),
        (1, "steps", "before_answer", 10),
        (0.5, "fraction", "before_answer", 6),  # of the 12 that may be shown
        (1.0, "fraction", "before_answer", 12),
    ],
)
def test_amounts_by_hand(amount: float, unit: str, cap: str, expected: int) -> None:
    assert reveal_tokens(encoded(), amount, unit, cap) == expected


def test_without_steps_nothing_is_revealed() -> None:
    empty = EncodedProblem(Problem("p", "ask", (), "abcd", "7"), np.arange(3), np.arange(4), np.arange(1, 5), ())
    for unit in UNITS:
        for cap in CAPS:
            assert reveal_tokens(empty, 1, unit, cap) == 0


@settings(deadline=None, max_examples=100)
@given(
    amounts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    unit=st.sampled_from(list(UNITS)),
    cap=st.sampled_from(list(CAPS)),
)
def test_more_never_reveals_less(amounts: tuple[float, float], unit: str, cap: str) -> None:
    scale = 1 if unit == "fraction" else 20
    less, more = (reveal_tokens(encoded(), scale * amount, unit, cap) for amount in sorted(amounts))
    assert 0 <= less <= more <= 15


@pytest.mark.parametrize("amount,unit", [(-1, "tokens"), (-0.1, "fraction"), (float("nan"), "steps")])
def test_a_negative_amount_is_refused(amount: float, unit: str) -> None:
    with pytest.raises(ConfigurationError, match=f"reveal={amount} must be a length of at least 0 {unit}"):
        reveal_tokens(encoded(), amount, unit)


def test_a_fraction_above_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"reveal=3 must lie in \[0, 1\] for unit='fraction'"):
        reveal_tokens(encoded(), 3, "fraction")


def stands_in(answer: str, text: str) -> bool:
    """Whether a number of the text is the answer: an independent reading, number by number."""
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", text)
    return Fraction(answer) in {Fraction(number.replace(",", "")) for number in numbers}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Worked sums whose steps may name the answer in any spelling."""
    answer = draw(st.integers(0, 3000))
    others = st.integers(0, 3000).map(str)
    spelled = st.sampled_from([str(answer), f"{answer:,}", f"{answer}.00", f"0{answer}", f"${answer}."])
    words = st.one_of(others, spelled, st.sampled_from(["plus", "é", "数", "=", "8+7", "is"]))
    steps = draw(st.lists(st.lists(words, max_size=5).map(lambda ws: " ".join(ws) + "\n"), max_size=4))
    return Problem("p", "How many?\n", tuple(steps), f"#### {answer}", str(answer))


@settings(deadline=None, max_examples=100)
@given(
    problem=problems(),
    unit=st.sampled_from(list(UNITS)),
    cap=st.sampled_from(list(CAPS)),
    amount=st.floats(0, 1),
    merging=st.booleans(),
)
def test_the_final_answer_is_never_revealed(
    problem: Problem, unit: str, cap: str, amount: float, merging: bool, merging_tokenizer: Any
) -> None:
    tokenizer = merging_tokenizer if merging else char_tokenizer()
    tokens = encode_problem(tokenizer, problem)
    count = reveal_tokens(tokens, amount if unit == "fraction" else 200 * amount, unit, cap)
    shown = decode(tokenizer, tokens.solution_T[:count]).rstrip("\ufffd")  # half a character may be shown
    assert "".join(problem.steps).startswith(shown)
    assert "####" not in shown
    if cap == "before_answer":
        assert not stands_in(problem.answer, shown)


def test_before_answer_stops_before_an_alias_as_well() -> None:
    problem = Problem("p", "Q\n", ("It is 905, so B.\n",), "#B", "B")
    for aliases, shown in (((), "It is 905, so "), (("$905", "905"), "It is "), (("7",), "It is 905, so ")):
        tokens = encode_problem(char_tokenizer(), dataclasses.replace(problem, aliases=aliases))
        assert reveal_tokens(tokens, 99, "tokens", "before_answer") == len(shown)


def test_before_answer_leaves_out_the_answer_and_nothing_before_it() -> None:
    problem = Problem("p", "", ("2*3=6\n", "It is 6*2=12 pens.\n"), "#### 12", "12")
    tokens = encode_problem(char_tokenizer(), problem)
    count = reveal_tokens(tokens, 99, "tokens", "before_answer")
    assert decode(char_tokenizer(), tokens.solution_T[:count]) == "2*3=6\nIt is 6*2="


# -- who is guided --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ratio,size,expected",
    [(0, 8, 0), (1, 8, 8), (0.25, 8, 2), (0.01, 8, 1), (0.26, 8, 3), (0.1, 10, 1), (0.28, 25, 7)],
)
def test_the_number_of_guided_members_is_the_ceiling_of_their_share(ratio: float, size: int, expected: int) -> None:
    # 0.28 * 25 is 7.000000000000001 in floating point, and still 7 members
    assert count_guided(ratio, size) == expected


def test_the_first_members_of_every_group_are_guided() -> None:
    plan = RevealPlan(length=3, ratio=0.25)
    assert [plan.is_guided(0, group=5, member=m, group_size=8) for m in range(8)] == [True] * 2 + [False] * 6


def test_groups_of_one_are_guided_with_a_probability() -> None:
    plan = RevealPlan(length=3, ratio=0.3)
    share = np.mean([plan.is_guided(0, group, 0, 1) for group in range(2000)])
    assert abs(share - 0.3) < 0.04  # four standard errors of sqrt(0.3*0.7/2000) = 0.0102
    assert not any(RevealPlan(ratio=0).is_guided(0, group, 0, 1) for group in range(50))
    assert all(RevealPlan(ratio=1).is_guided(0, group, 0, 1) for group in range(50))


# -- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,words",
    [
        ({"length": -1}, "length=-1 must be finite and at least 0 tokens"),
        ({"length": float("inf")}, "length=inf must be finite"),
        ({"length": float("nan")}, "length=nan"),
        ({"unit": "words"}, "unit='words' must be one of tokens, steps, fraction"),
        ({"length": 1.5, "unit": "fraction"}, r"length=1.5 must lie in \[0, 1\] for unit='fraction'"),
        ({"ratio": -0.1}, r"ratio=-0.1 must lie in \[0, 1\]"),
        ({"ratio": 1.1}, r"ratio=1.1 must lie in \[0, 1\]"),
        ({"ratio": float("nan")}, "ratio=nan"),
        ({"cap": "all"}, "reveal_cap='all' must be one of final_answer, before_answer"),
    ],
)
def test_bad_plans_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        RevealPlan(**options)


def test_a_rule_gives_one_length_per_episode() -> None:
    plan = RevealPlan(length=3, rule=lambda ids, members: [len(i) + m for i, m in zip(ids, members, strict=True)])
    assert plan.lengths(["a", "bcd"], [0, 1]).tolist() == [1, 4]
    plan.rule = lambda ids, members: 5.0
    with pytest.raises(ConfigurationError, match=r"returned shape \(\); it must give one length per episode, \(2,\)"):
        plan.lengths(["a", "bcd"], [0, 1])
