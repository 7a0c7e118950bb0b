"""Chain: steps by hand, the longest text is reached, the number of structures."""

import pytest

from g2rpo_env.envs.chain import SIGNS, ChainSource, reduction_steps
from g2rpo_env.envs.expressions import Expression, Operation, parse, render
from g2rpo_env.errors import ConfigurationError, UnknownProblemError


def test_steps_by_hand() -> None:
    # (8+2)*(9-3)-7: both brackets from left to right, then the product, then the difference
    assert reduction_steps(parse("(8+2)*(9-3)-7")) == (
        "8+2=10,10*(9-3)-7\n",
        "9-3=6,10*6-7\n",
        "10*6=60,60-7\n",
        "60-7=53\n",
    )
    problem = ChainSource().get("(8+2)*(9-3)-7")
    assert (problem.prompt, problem.final, problem.answer) == ("(8+2)*(9-3)-7=", "#53", "53")


def structures(operations: int) -> list[Expression]:
    if not operations:
        return [0]
    return [
        Operation(sign, left, right)
        for count in range(operations)
        for left in structures(count)
        for right in structures(operations - 1 - count)
        for sign in SIGNS
    ]


def test_there_are_over_ten_thousand_structures_each_with_a_text_of_its_own() -> None:
    texts = {render(structure) for operations in (3, 4, 5) for structure in structures(operations)}
    # Catalan(n) * 3^n for n = 3, 4, 5: 5 * 27 + 14 * 81 + 42 * 243
    assert len(texts) == 135 + 1134 + 10206 == 11475


def test_every_number_of_operations_is_drawn_about_as_often() -> None:
    source = ChainSource((3, 5), "test")
    counts = [sum(source.draw(0, i).count(sign) for sign in SIGNS) for i in range(900)]
    assert all(abs(counts.count(n) / 900 - 1 / 3) < 0.063 for n in (3, 4, 5))  # four standard errors


@pytest.mark.parametrize("problem_id", ["1+2", "1+2+3-9", "9*9*9+1", "0+1+2+3", "1+2+3+10", "(1+2)+3+4", "8/2+3+1"])
def test_what_breaks_a_rule_is_unknown(problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="3 to 5 operations"):
        ChainSource().get(problem_id)


def test_too_few_operations_would_leave_splits_empty() -> None:
    with pytest.raises(ConfigurationError, match=r"operations=2 must be .* within \[3, 12\]"):
        ChainSource(2)
    assert {len({ChainSource(3, split).draw(0, i) for i in range(20)}) > 5 for split in ChainSource.splits} == {True}


def test_larger_results_and_fewer_signs() -> None:
    source = ChainSource(4, largest=999, signs="+-")
    problems = [source.get(source.draw(0, index)) for index in range(200)]
    assert all(0 <= int(p.answer) <= 999 and "*" not in p.prompt for p in problems)
    assert any(int(p.answer) > 99 for p in problems)
    assert ChainSource(3).structure("12+3-4*5") == "n+n-n*n"
    budget = max(len(p.solution) for p in source.longest())
    assert all(len(p.solution) <= budget for p in problems)
    for unknown in ("3*4+5-6+7", "100+3-4-5-6"):
        with pytest.raises(UnknownProblemError, match="1 to 99"):
            source.get(unknown)


@pytest.mark.parametrize(
    "options", [{"largest": 98}, {"largest": 10_000}, {"signs": ""}, {"signs": "+/"}, {"signs": "++"}]
)
def test_chain_refuses_other_sizes_and_signs(options) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ChainSource(4, **options)
