"""Normalisation: one spelling for the same answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.normalisation import Answer, normalise


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,234,567", "1234567"),
        ("12{,}000", "12000"),
        (r"12\,000", "12000"),
        (r"12,\!000", "12000"),
        ("５", "5"),
        ("٣", "3"),
        ("−5", "-5"),
        ("½", r"\frac{1}{2}"),
        ("x²", "x^{2}"),
        (r"\dfrac34", r"\frac{3}{4}"),
        (r"\mathbf{5}", "5"),
        (r"3\sqrt{13} \approx 10.8 \text{ cm}", r"3\sqrt{13}"),
        (r"x \approx 3.14", r"x \approx 3.14"),
        ("{{{5}}}", "5"),
        ("6.02E23", r"6.02\cdot 10^{23}"),
    ],
)
def test_spellings(text: str, wanted: str) -> None:
    assert normalise(text) == Answer(wanted)


def test_units_and_percent_are_cut_and_named() -> None:
    assert normalise(r"25 \text{ square units}") == Answer("25", "square units")
    assert normalise("18 dollars") == Answer("18", "dollars")
    assert normalise(r"\$18") == normalise("18 $") == Answer("18", "dollar") and normalise("€18") == Answer(
        "18", "euro"
    )
    assert normalise("$18$") == Answer("18")  # LaTeX
    assert normalise("28 percent") == Answer("28", "", True)
    assert normalise("3 or 4").unit == ""


@given(st.text(alphabet=st.characters(codec=None), max_size=200))
def test_any_text_is_taken_lone_surrogates_too(text: str) -> None:
    assert isinstance(normalise(text).text, str)
