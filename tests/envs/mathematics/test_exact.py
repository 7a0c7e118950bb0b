"""Rational arithmetic on text: right where it answers, and quick to refuse."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.exact import rational


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-5", Fraction(-5)),
        (".4", Fraction(2, 5)),
        ("3 1/2", Fraction(7, 2)),
        (r"-2\frac{1}{3}", Fraction(-7, 3)),
        ("-2^{2}", Fraction(-4)),  # the sign binds less than the power
        ("2^{-3}", Fraction(1, 8)),
        ("5!", Fraction(120)),
        ("(9+1)", Fraction(10)),
        ("1/2/2", Fraction(1, 4)),
        (r"\sqrt{\frac{1}{4}}", Fraction(1, 2)),
        ("1:2", Fraction(1, 2)),
    ],
)
def test_values(text: str, value: Fraction) -> None:
    assert rational(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "1/0", "9^{9^{9}}", "1000000!", "(" * 5000, "{" * 30 + "1" + "}" * 30, r"\sqrt{2}", "1 2", "10^{5000}"],
)
def test_refused(text: str) -> None:
    assert rational(text) is None


@given(st.fractions())
def test_fractions_are_read_back(value: Fraction) -> None:
    assert rational(str(value)) == value
    assert rational(rf"\frac{{{value.numerator}}}{{{value.denominator}}}") == value


@given(st.text(alphabet="0123456789+-*/^!(){}.:", max_size=40))
def test_any_text_is_taken(text: str) -> None:
    assert rational(text) is None or isinstance(rational(text), Fraction)
