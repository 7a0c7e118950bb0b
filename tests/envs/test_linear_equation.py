"""LinearEquation: rewritings by hand; every one of them keeps the solution."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.envs.linear_equation import LinearEquationSource, read, rewritings, write
from g2rpo_env.errors import UnknownProblemError


def by_hand(text: str) -> list[str]:
    equation = read(text)
    assert equation is not None
    return [write(step) for step in rewritings(equation)]


def test_rewritings_by_hand() -> None:
    assert by_hand("2(x+3)-4=x+9") == ["2x+6-4=x+9", "2x+2=x+9", "x+2=9", "x=7"]
    assert by_hand("5=2x-3") == ["-2x+5=-3", "-2x=-8", "x=4"]
    assert by_hand("x-(x-4)=2x") == ["x-x+4=2x", "4=2x", "-2x+4=0", "-2x=-4", "x=2"]
    assert by_hand("3(x-2)=x-2x+6-4-2-6") == ["3x-6=x-2x+6-4-2-6", "3x-6=-x-6", "4x-6=-6", "4x=0", "x=0"]


def substituted(side: str, x: int) -> Fraction:
    python = re.sub(r"(\d)(?=[x(])", r"\1*", side).replace("x", f"({x})")
    return Fraction(eval(python))  # of an equation made here


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), terms=st.integers(3, 8))
def test_every_rewriting_holds_for_the_solution_and_for_nothing_else(seed: int, terms: int) -> None:
    source = LinearEquationSource(terms)
    problem = source.get(source.draw(seed, 0))
    x = int(problem.answer)
    for text in (problem.problem_id, *(step.rstrip("\n") for step in problem.steps)):
        left, right = text.split("=")
        assert substituted(left, x) == substituted(right, x)
        assert substituted(left, x + 1) != substituted(right, x + 1)
    assert problem.steps[-1] == f"x={x}\n" and problem.final == f"#{x}"
    assert len(set(problem.steps)) == len(problem.steps)


def test_a_factor_of_one_is_no_structure_of_its_own() -> None:
    source = LinearEquationSource()
    assert source.structure("3(x+4)-x=2") == source.structure("(x+1)-5x=9") == "(x+n)-x=n"
    assert source.structure("3(x-4)-x=2") == "(x-n)-x=n"


@pytest.mark.parametrize(
    "problem_id",
    ["x+1=2x+2x+x+x", "x=7", "x+1=x+2", "2x+1=4", "1x+2=5", "x+10=12", "x+2=5=1", "x+2", "=x+2", "2(x)+1=3", "x+y=2",
     "9x-9=0x+1", "x+1=99"],
)  # fmt: skip
def test_what_breaks_a_rule_is_unknown(problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="3 to 5 terms"):
        LinearEquationSource().get(problem_id)
