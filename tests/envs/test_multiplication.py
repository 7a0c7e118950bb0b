"""Multiplication: steps by hand; their digits make up the product."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.multiplication import MultiplicationSource, long_multiplication
from g2rpo_env.errors import UnknownProblemError

NUMBERS = st.integers(0, 10**9 - 1)


def test_steps_by_hand() -> None:
    # 47*36: row of 6: 42, keep 2; 24+4 = 28 -> 282. Row of 3: 21+8 = 29, keep 9; 12+2+2 = 16 -> 1692.
    assert long_multiplication(47, 36) == ("7*6+0+0=42\n", "4*6+0+4=28,282\n", "7*3+8+0=29\n", "4*3+2+2=16,1692\n")
    assert long_multiplication(0, 0) == ("0*0+0+0=00,0\n",)
    assert long_multiplication(9, 9) == ("9*9+0+0=81,81\n",)


@given(a=NUMBERS, b=NUMBERS)
def test_each_step_is_right_and_each_row_ends_with_the_total(a: int, b: int) -> None:
    steps = long_multiplication(a, b)
    assert len(steps) == len(str(a)) * len(str(b))
    totals = []
    for step in steps:
        equation, _, total = step.rstrip("\n").partition(",")
        left, right = equation.split("=")
        product, known, carry = left.split("+")
        x, y = product.split("*")
        assert int(x) * int(y) + int(known) + int(carry) == int(right) and len(right) == 2
        totals += [int(total)] if total else []
    assert totals == [a * int(str(b)[-places:]) for places in range(1, len(str(b)) + 1)]


@pytest.mark.parametrize("problem_id", ["12*3", "1*2*3", "01*12", "12+34", "12*34 ", "12345*12345"])
def test_what_is_no_problem_of_these_digits_is_unknown(problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="must be 'a.b', both numbers of 2 to 4 digits"):
        MultiplicationSource((2, 4)).get(problem_id)
