"""Extraction: each rule, their order, and what may not fool them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.extraction import RULES, Extraction, extract

CASES = [
    (r"first \boxed{1} but wait, actually \boxed{460}", "boxed", "460"),
    (r"\boxed{1}, \boxed{2} and \boxed{3}", "boxed", "1, 2, 3"),
    (r"\boxed{\frac{1}{\sqrt{2}}} holds", "boxed", r"\frac{1}{\sqrt{2}}"),
    ("so <answer> 160 </answer>", "tag", "160"),
    ("3*4=12\n#### 12\nbye", "hashes", "12"),
    ("**Answer: 70000**", "phrase", "70000"),
    ("The final answer is $45$. I hope it is correct.", "phrase", "45"),
    ("5/6", "whole", "5/6"),
    ("We conclude that $x=2$ holds", "formula", "x=2"),
    ("<answer>The answer is 18.</answer>", "tag", "18"),
    ("The solutions are $x = 2$ and $x = 3$.", "phrase", "x = 2 and x = 3"),
    ("$x < -1$ or $x > 3$", "formula", "x < -1 or x > 3"),
    ("Since $n > 3$ and $x = 5$ the rest follows", "formula", "x = 5"),
    ("It sold for $200,000 and cost $130,000. So he made $70,000.", "number", "70,000"),
    ("They pay $5 each and $2 more, so $x = 7$", "formula", "x = 7"),
    ("no solution", "whole", "no solution"),
    ("The correct option is B", "phrase", "B"),
    ("### Answer\n18", "phrase", "18"),
    ("The answer is 7, since 3 + 4 = 7.", "phrase", "7"),
    ("The answer is 12</s>", "phrase", "12"),
    ("From $2x=7$ it follows. Therefore the length grows by 100%.", "number", "100%"),
    ("The train arrives at 3:45.", "number", "3:45"),
    ("So x equals \u22124.", "number", "-4"),
    ("Therefore she makes $1,234 every day", "number", "1,234"),
]


@pytest.mark.parametrize(("text", "rule", "answer"), CASES)
def test_each_rule_finds_its_answer(text: str, rule: str, answer: str) -> None:
    assert extract(text, tuple(RULES)) == Extraction(rule, answer)


def test_a_rule_that_is_not_asked_does_not_fire() -> None:
    assert extract("#### 12", ("boxed", "tag")) is None


def test_padding_does_not_hide_a_box() -> None:
    assert extract(r"\boxed{" + " " * 100_000 + "5}", ("boxed",)) == Extraction("boxed", "5")


@given(st.text(max_size=300))
def test_any_text_is_taken(text: str) -> None:
    found = extract(text, tuple(RULES))
    assert found is None or found.rule in RULES
