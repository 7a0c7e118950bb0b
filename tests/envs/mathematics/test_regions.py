"""Sets of numbers in several notations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.regions import read, same_region


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("(1,5)", "1<x<5", True),
        ("[1,5)", r"5 > x \ge 1", True),
        (r"[3,\infty)", r"3\le x", True),
        (r"(-\infty,3)", r"x\le 3", False),
        ("x > 5", "x < 5", False),
        ("x>2", "y>2", False),
        (r"(-\infty,1)\cup(2,\infty)", "x>2 or x<1", True),
        (r"x\in[0,1)\cup(1,2]", r"[0,1)\cup (1,2]", True),
        (r"[0,1)\cup[1,2]", r"x\in[0,2]", True),
        (r"[0,1)\cup(1,2]", r"x\in[0,2]", False),
        (r"x\ne 2", r"\mathbb{R}\setminus\{2\}", True),
        (r"(-\infty,\infty)", r"\mathbb{R}", True),
        (r"(0,\infty)", r"\mathbb{R}^+", True),
        ("1<x<2", "x>1 and x<2", True),
        ("1<x<2", "x>1 and y<2", None),
        (r"x\ne\pm 1", r"x\ne 1,-1", True),
        ("(2,4)", "]2,4[", True),
        (r"[-\frac{1}{2},\sqrt{2}]", r"-0.5\le t\le 2^{1/2}", True),
        ("(1,2)", "(1,2)", None),  # may be a point
        ("x>a", "(a,5)", None),
        ("|x|<2", "(-2,2)", True),
        (r"|x|\le 2", "(-2,2)", False),
        ("|x|>1", r"(-\infty,-1)\cup(1,\infty)", True),
        ("|x|<-1", "(-1,1)", None),
        ("x<0, x>3", "x<0 or x>3", True),
        ("x>0, x<3", "(0,3)", True),
        ("[0;1[", "[0,1)", True),
        (r"(-\infty;0,5]", r"x\le\frac{1}{2}", True),
        ("x>2", "5", None),
    ],
)
def test_regions(gold: str, answer: str, equal: bool | None) -> None:
    assert same_region(gold, answer) is equal and same_region(answer, gold) is equal


@given(st.integers(-9, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_an_interval_is_its_inequality(low: int, length: int, left: bool, right: bool) -> None:
    high = low + length
    interval = f"{'[' if left else '('}{low},{high}{']' if right else ')'}"
    chain = rf"{low}{chr(92) + 'le' if left else '<'} x{chr(92) + 'le' if right else '<'} {high}"
    assert same_region(interval, chain) is True
    assert same_region(interval, f"x<{high}") is False


@given(st.text(alphabet="[]()<>,x12 \\leinftycup", max_size=30))
def test_any_text_is_taken(text: str) -> None:
    region = read(text)
    assert region is None or all(interval.low < interval.high for interval in region.intervals)
