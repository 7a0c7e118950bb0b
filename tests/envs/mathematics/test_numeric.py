"""Answers as numbers: what is one, what is not, and which of a completion counts."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Outcome, Problem, Verdict
from g2rpo_env.envs.mathematics.numeric import MAX_ANSWER, NumberVerifier, final_answer, parse_number


def problem(answer: str = "72") -> Problem:
    return Problem("p", "Q\n", (), f"#### {answer}", answer)


@pytest.mark.parametrize(
    "text,number",
    [
        ("72", 72),
        ("072", 72),
        (" 72 ", 72),
        ("72.", 72),  # a sentence ends there
        ("-3", -3),
        ("- 3", -3),
        ("+3", 3),
        ("\u22123", -3),  # the minus sign of typesetting
        ("1,234", 1234),
        ("1,234,567.50", Fraction(2469135, 2)),
        ("-1,234", -1234),
        ("5.0", 5),
        ("5.", 5),
        (".5", Fraction(1, 2)),
        ("-.5", Fraction(-1, 2)),
        ("0.1", Fraction(1, 10)),  # exactly, not the nearest binary number
        ("$5", 5),
        ("-$5", -5),
        ("$-5", -5),
        ("$ 1,000.00", 1000),
        ("£5", 5),
        ("€5.50", Fraction(11, 2)),
        ("50%", 50),
        ("50 %.", 50),
        ("1/2", Fraction(1, 2)),
        ("-6/4", Fraction(-3, 2)),
        ("1,000/3", Fraction(1000, 3)),
    ],
)
def test_numbers_by_hand(text: str, number: Fraction) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "-", "$", "twelve", "12 apples", "1 2", "1.2.3", "1e3", "0x10", "inf", "nan", "1_000", "1/0", "1//2"]
    + ["1,23", "12,34,567", ",123", "1,2345", "--3", "5$", "½", "٣", "１２", "3 = 3", "1/2/3", "9" * (MAX_ANSWER + 1)],
)
def test_what_is_no_number(text: str) -> None:
    assert parse_number(text) is None


@settings(deadline=None)
@given(value=st.integers(-(10**15), 10**15), places=st.integers(0, 4))
def test_every_way_of_writing_a_number_gives_its_exact_value(value: int, places: int) -> None:
    number = Fraction(value, 10**places)
    sign, whole = "-" if value < 0 else "", abs(value) // 10**places
    decimals = f".{abs(value) % 10**places:0{places}d}" if places else ""
    for text in (f"{sign}{whole}{decimals}", f"{sign}{whole:,}{decimals}", f"{sign}${whole:,}{decimals}", f"{number}"):
        assert parse_number(text) == number
        assert parse_number(f" {text}. ") == number


@settings(deadline=None)
@given(text=st.text(max_size=70) | st.text(st.sampled_from("0123456789.,-+/$% "), max_size=20))
def test_any_text_is_a_number_or_none(text: str) -> None:
    assert isinstance(parse_number(text), Fraction | None)


@pytest.mark.parametrize(
    "completion,answer",
    [
        ("48/2=24\n#### 72", "72"),
        ("####72", "72"),
        ("#### 72\nand so on", "72"),
        ("#### 5\nno:\n#### 72", "72"),  # the last one counts
        ("#### ", ""),
        ("####", ""),
        ("##### 72", "72"),
        ("### 72", None),
        ("72", None),
        ("", None),
    ],
)
def test_final_answers_by_hand(completion: str, answer: str | None) -> None:
    assert final_answer(completion) == answer


@pytest.mark.parametrize(
    "completion,verdict",
    [
        ("48/2=24\n#### 72", Verdict(Outcome.CORRECT, "72")),
        ("#### $72.00", Verdict(Outcome.CORRECT, "$72.00")),
        ("#### 144/2", Verdict(Outcome.CORRECT, "144/2")),
        ("#### 71", Verdict(Outcome.WRONG, "71")),
        ("#### 72 clips", Verdict(Outcome.WRONG, "72 clips")),
        ("#### -72", Verdict(Outcome.WRONG, "-72")),
        ("####", Verdict(Outcome.WRONG, "")),
        ("It is 72.", Verdict(Outcome.NO_ANSWER)),
        ("#### " + "7" * 1000, Verdict(Outcome.WRONG, "7" * MAX_ANSWER)),
    ],
)
def test_verdicts_by_hand(completion: str, verdict: Verdict) -> None:
    assert NumberVerifier()([problem()], [completion]) == [verdict]


def test_a_ground_truth_that_is_no_number_is_an_error_and_not_the_policys_fault() -> None:
    verdicts = NumberVerifier()([problem("many"), problem("1,234")], ["#### many", "#### 1234"])
    assert verdicts[0] == Verdict(Outcome.ERROR, message="ground truth 'many' is no number") and not verdicts[0].valid
    assert verdicts[1].correct
