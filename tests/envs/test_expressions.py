"""Expressions: reading is the inverse of writing, values are Python's, and nothing else is read."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.envs.expressions import Expression, Operation, numbers, parse, reduce, render, value, whole_value

TREES = st.recursive(
    st.integers(0, 99), lambda inner: st.builds(Operation, st.sampled_from("+-*/"), inner, inner), max_leaves=8
)


@given(tree=TREES)
def test_reading_is_the_inverse_of_writing(tree: Expression) -> None:
    assert parse(render(tree)) == tree
    assert parse(f" ( {render(tree)} ) ") == tree


@given(tree=TREES)
def test_values_are_those_of_python(tree: Expression) -> None:
    text = "".join(f"Fraction({c})" if c.isdigit() else c for c in _words(render(tree)))
    try:
        expected = eval(text)  # of an expression made here
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            value(tree)
    else:
        assert value(tree) == expected


def _words(text: str) -> list[str]:
    import re

    return re.findall(r"\d+|.", text)


@settings(deadline=None)
@given(tree=TREES)
def test_reducing_carries_out_one_operation_and_keeps_the_value(tree: Expression) -> None:
    known = whole_value(tree, 0, 10**6)
    if known is None:
        return
    assert known == value(tree)
    while isinstance(tree, Operation):
        count = len(list(numbers(tree)))
        first, tree = reduce(tree)
        assert isinstance(first.left, int) and isinstance(first.right, int)
        assert value(tree) == known and len(list(numbers(tree))) == count - 1


def test_brackets_stand_where_they_are_needed_by_hand() -> None:
    for text in ("1-(2-3)", "1-2-3", "(1+2)*3", "1+2*3", "8/(4/2)", "8/4/2", "2*(3*4)", "1+(2+3)"):
        assert render(parse(text)) == text
    assert render(parse("((1)+(2*3))")) == "1+2*3"


def test_bounds_of_whole_values() -> None:
    assert whole_value(parse("9*9"), 0, 81) == 81 and whole_value(parse("9*9"), 0, 80) is None
    assert whole_value(parse("3-4+5"), 0, 99) is None  # -1 on the way
    assert whole_value(parse("5/(3-3)"), 0, 99) is None and whole_value(parse("6/3"), 0, 99) == 2


def test_division_is_exact() -> None:
    assert value(parse("1/3+1/6")) == Fraction(1, 2)


@pytest.mark.parametrize(
    "text",
    ["", " ", "+", "1+", "-1", "(1", "1)", "()", "1 2", "1..2", "2**3", "1e5", "x", "__import__('os')", "1\0", "１",
     "9" * 10, "(" * 5000, "1+" * 100 + "1", "\ud800", "1//2", "1;2", "1,2"],
)  # fmt: skip
def test_nothing_else_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="no expression"):
        parse(text)
