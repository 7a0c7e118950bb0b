"""Formulas at random points: what is the same function, what is not, and what is left to others."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.formulas import constant, read, same, same_equation

SAME = [
    ("xy", "yx"),
    ("x^2-1", "(x-1)(x+1)"),
    ("x**2", "x*x"),
    (r"\frac\pi{2x}", r"\frac1x\frac{\pi}{2}"),
    (r"\frac{n!}{(n-1)!}", "n"),
    (r"{5 \choose 2}", "10"),
    (r"\cos 2x", r"1-2\sin^2 x"),
    (r"\sin^{-1} x", r"\arcsin x"),
    (r"\sin 30 degrees", r"\frac{1}{2}"),
    (r"\ln(ab)", r"\ln a+\ln b"),  # where both are real
    (r"\log 100", "2"),  # a logarithm without base is read both ways
    (r"\log 2", r"\ln 2"),
    (r"\sqrt{x^2}", "|x|"),
    (r"\sqrt[3]{-8}", "-2"),
    ("i^2", "-1"),
    (r"e^{i\pi}", "-1"),
    (r"\sqrt{-4}", "2i"),
    (r"\sum_{k=1}^{5} k", "15"),
    (r"\sum_{k=0}^{n-1} F_k F_{n-k-1}", r"\sum_{k=0}^{n-1} F_{n-k-1} F_k"),
    ("|x-1|", "|1-x|"),
    (r"\lfloor 3.7 \rfloor", "3"),
    ("x^{10^{2}}", "x^{100}"),
]
DIFFERENT = [
    ("x^2-1", "(x+1)^2"),
    ("2x", "2y"),
    ("|x|", "x"),
    ("i", "-i"),
    (r"1-\frac{1}{e}", r"1+\frac{1}{e}"),
    (r"\sqrt{2}", "1.41421356237309504880168872420969807857"),
    (r"\pi", r"\pi+10^{-25}"),
    ("x_1", "x_2"),
    ("n!", "n"),
    (r"\sum_{k=0}^{n-1} F_k F_{n-k-1}", r"\sum_{k=0}^{n-2} F_k F_{n-k-2}"),
]
LEFT_TO_OTHERS = ["", "1,2", r"\int x", "f(x)", "(1", "2^3^4", "1 2", r"3\frac{1}{2}", "9" * 500, "(" * 100 + "x", "x'"]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_the_same_function(gold: str, answer: str) -> None:
    assert same(gold, answer) is True and same(answer, gold) is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_another_function(gold: str, answer: str) -> None:
    assert same(gold, answer) is False and same(answer, gold) is False


@pytest.mark.parametrize("text", LEFT_TO_OTHERS)
def test_what_is_not_read(text: str) -> None:
    assert read(text) is None and same(text, "x") is None


def test_a_quotient_before_a_product_is_trusted_only_where_it_agrees() -> None:
    assert same(r"\frac{x}{2}", "1/2x") is True
    assert same(r"\frac{1}{2x}", "1/2x") is None


@pytest.mark.parametrize(
    "text",
    ["9^{9^{9}}", "e^{e^{e^{e^{e}}}}", r"\tan(10^{50})", "x!!!!!!!!", "(x+y+z+w+u+v)^{40}", r"\cos(\cos(x^{50}+1))"],
)
def test_what_grows_is_settled_or_left_in_no_time(text: str) -> None:
    started = time.process_time()
    assert same("5", text) in (False, None)
    assert time.process_time() - started < 0.5


def test_a_tolerance_holds_for_numbers() -> None:
    assert same(r"\pi", "3.1416", tolerance=1e-4) and not same(r"\pi", "3.1416", tolerance=1e-7)


def test_constants() -> None:
    assert constant(r"\frac{1}{2}") == 0.5 and constant("x") is None and constant("i") is None


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("y=2x+1", "2x-y+1=0", True),
        ("x^2/4+y^2/3=1", "x^2/16+y^2/12=1/4", True),
        ("x=2y", "y=x/2", True),
        ("x=5", "x=6", False),
        ("x=5", "y=5", False),
        ("x^2+y^2=4", "x^2+y^2=2", False),
        ("x=5", "x^{50}+x^{49}-x^{13}+7x-3=0", False),
        ("x=2", "(x-2)^2=0", None),  # the same solutions, but not the same up to a factor
        ("x=2", "x^2=4", False),  # -2 solves one alone
        ("a=b=c", "a=c", None),
    ],
)
def test_equations(gold: str, answer: str, equal: bool | None) -> None:
    assert same_equation(gold, answer) is equal


def test_threads_keep_their_precision() -> None:
    found: list[bool | None] = []

    def work() -> None:
        found.extend(same(r"\frac{\Gamma n!}{(n-1)!}", r"n\Gamma") for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 80


@given(st.integers(-30, 30), st.integers(-30, 30), st.integers(-30, 30))
def test_products_multiplied_out(a: int, b: int, c: int) -> None:
    product = f"(x+({a}))(({b})x+({c}))"
    assert same(product, f"({b})x^2+({a * b + c})x+({a * c})") is True
    assert same(product, f"({b})x^2+({a * b + c + 1})x+({a * c})") is False


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="x2i!|()^_{}+-*/=\\ ", max_size=30), st.text(max_size=20))
def test_any_text_is_taken(gold: str, answer: str) -> None:
    assert same(gold, answer) in (True, False, None) and same_equation(gold, answer) in (True, False, None)
