"""MathVerifier: what is equal, what is not, options, bad input, and that it serves a task."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.equality import Finding, MathVerdict, MathVerifier
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome

ARITHMETIC = MathVerifier(symbolic=False)


def finding(gold: str, answer: str, verifier: MathVerifier = ARITHMETIC) -> Finding:
    """Return the finding of the comparison of two bare answers."""
    verdict = verifier.equal(gold, answer)
    assert isinstance(verdict, MathVerdict)
    return verdict.finding


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{3}{4}", "0.75"),
        ("12000", r"12,\!000"),
        ("x=5", "5"),
        ("2, -3", "x=-3 or x=2"),
        (r"\{1,2,3\}", "1, 2 and 3"),
        ("(1,2)", "(1, 2)"),
        ("50\\%", r"\frac{1}{2}"),
        (r"\text{(B)}", "B) 12"),
        ("1:2", "2:4"),
        (r"\frac{1}{12}", "0.0833333333"),
        ("1:2:3", "2:4:6"),
        ("1,22", "1.22"),
        ("3 1/2", "3.5"),
        (r"0.1\overline{6}", "1/6"),
        ("0.333...", "1/3"),
        ("2500000", "2.5 million"),
        ("20", "USD 20"),
        ("50", "50¢"),
        ("9.8", r"9.8\ \mathrm{m/s^2}"),
        (r"9\pi", r"9\pi \text{ cm}^2"),
        (r"45\text{ minutes}", "45 min"),
        ("7", r"7^{\text{th}}"),
        ("11:30 a.m.", "11:30 AM"),
        ("12:30", "12:30 PM"),
        ("Alice and Bob", "Bob, Alice"),
        ("ellipse", "an ellipse"),
        ("C", "Option C"),
        (r"\begin{pmatrix}3\\4\end{pmatrix}", "(3,4)"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]"),
        ("(a,b)=(3,4)", "a=3, b=4"),
        ("A(1,2)", "(1,2)"),
        ("5", "5=x"),
        ("12", r"3\times4=12"),
        ("f(x)=x+1", "f(t)=t+1"),
        (r"\theta=30^\circ", "30"),
        (r"3\pm\sqrt5", r"3-\sqrt5, 3+\sqrt5"),
        (r"(-\infty,1)\cup(2,\infty)", "x<1 or x>2"),
        (r"\emptyset", r"\text{no solution}"),
        (r"\mathbb{R}", "all real numbers"),
        ("7", r"7 \pmod{11}"),
        ("xy", "yx"),
        ("x^2+C", "x^2+c"),
        ("9", r"\underline{\textbf{9}}"),
        ("9", "**9**"),
        ("5", "“5”"),
        ("x_1", "x₁"),
        ("7", "7\u200b"),
        ("The answer is 8", "8"),
        ("x_{1}=1, x_{2}=-3", r"x = 1 \text{ or } x = -3"),
        (r"\begin{cases} x=1 \\ y=2 \end{cases}", "(1,2)"),
        (r"\left\{\begin{array}{l} x=1 \\ y=2 \end{array}\right.", "x=1, y=2"),
        (r"\frac{\pi}{6}+2k\pi, k\in\mathbb{Z}", r"2k\pi+\frac{\pi}{6}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)^T"),
        (r"\overrightarrow{a}=(1,2)", "(1,2)"),
    ],
)
def test_equal(gold: str, answer: str) -> None:
    assert finding(gold, answer) is Finding.EQUAL


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("0.1", "0.10000001"),
        ("42", "42 or 43"),
        ("12", "1 2"),
        ("3 1/2", "31/2"),
        ("1:2:3", "1:3:2"),
        ("a_3=2, a_5=19", "a_5=2, a_3=19"),
        ("3:45", "1:15"),
        ("x+y=5", "5"),
        ("2x=10", "10"),
        ("2 xy", "2"),
        ("2m", "2"),
        ("a", "A"),
        ("x>5", "x<5"),
        ("1,2", "1.2"),
        ("12:30 PM", "12:30 AM"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "(1,2,3,4)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
        ("(1,2)", "(2,1)"),
        ("[0,1)", "[0,1]"),
        ("101_2", "101_3"),
        ("3:45", "3:54"),
        ("x=5", "y=5"),
        ("5", "9**9**9"),
        ("5", "9^{9^{9}}"),
        ("5", "__import__('os')"),
        ("5", "{" * 3000),
        ("5", "\0"),
        ("5", "\ud800"),
        (r"10\text{ cm}", r"10\text{ m}"),
    ],
)
def test_not_equal(gold: str, answer: str) -> None:
    assert finding(gold, answer) is not Finding.EQUAL


MATRIX = r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"
BY_CASES = r"\begin{cases}x+1&x>0\\0&x\le 0\end{cases}"
ABSOLUTE = r"f(x)=\begin{cases}x & x\ge 0\\-x & x<0\end{cases}"
SAME = {
    "groups of digits": [
        *(("1234567", text) for text in ["1 234 567", "1.234.567", "1'234'567", "1’234’567", "12,34,567", "1_234_567"]),
        *(("1234567", text) for text in [r"1\,234\,567", r"1{,}234{,}567", "1\u2009234\u2009567", "1 234 567.00"]),
        *(("1234.5", text) for text in ["1.234,5", "1 234,5", "1,234.5", "1'234.5"]),
        *(("0.75", text) for text in ["0,75", r"0{,}75"]),
        ("3.14159265", r"3.141\,592\,65"), ("12,5", "12.5"), ("1.5, 2.5", "1,5; 2,5"), ("1,22", "61/50"),
    ],
    "signs": [
        *((r"\pm 3", text) for text in ["+/-3", "+-3", "± 3", "3, -3", "x = +/- 3", "plus or minus 3"]),
        *(("-5", text) for text in ["–5", "—5", "\u20105", "－5", "minus 5", "negative five"]),
        *(("3000", text) for text in ["3x10^3", "3·10^3", "3×10³", "3E+03", "3*10**3"]),
        *((r"\sqrt[3]{2}", text) for text in ["∛2", "cbrt(2)", r"\sqrt[3]2", "2^(1/3)"]),
        *((r"x\le 3", text) for text in ["x<=3", "x ≤ 3", "x ⩽ 3", "x =< 3", "x is at most 3", r"(-\infty,3]"]),
        *(("1/3", text) for text in ["0.(3)", "0.3\u0305", r"0.\dot3", "one third", "0.333..."]),
        (r"2\pm\sqrt5", "2 +- √5"), (r"\theta", "theta"), (r"x^2", "x<sup>2</sup>"), ("x<5", "x &lt; 5"),
        (r"\sqrt3", "sqrt 3"), ("11/4", "2 and 3/4"), (r"\frac38", r"\nicefrac{3}{8}"), ("6/7", "6 out of 7"),
        (r"\binom{10}{3}", "C(10,3)"), (r"\tan x", "tg x"), (r"2^n-1", r"\sum_{k=0}^{n-1}2^k"),
        (r"2\left(\cos\frac{\pi}{4}+i\sin\frac{\pi}{4}\right)", r"2\operatorname{cis}45^\circ"),
    ],
    "matrices": [
        *((MATRIX, MATRIX.replace(r"\\", space)) for space in [r"\\[2pt]", r"\\ [1ex] ", r"\\*", r"\\\hline ",
        r"\cr "]),
        (MATRIX, r"\left(\begin{smallmatrix}1&2\\3&4\end{smallmatrix}\right)"),
        (MATRIX, r"\left(\begin{array}{c|c}1&2\\\hline 3&4\end{array}\right)"),
        (MATRIX, r"\begin{pmatrix*}[r]1&2\\3&4\end{pmatrix*}"), (MATRIX, "[1 2; 3 4]"),
        (BY_CASES, r"\begin{cases}0, & \text{if } x\leq 0,\\[2pt] x+1, & \text{otherwise.}\end{cases}"),
        ("(1,-2,3)", r"\mathbf{i}-2\mathbf{j}+3\mathbf{k}"), ("(1,0,3)", r"\hat{i}+3\hat{k}"),
        (r"\langle 1,2\rangle", "<1, 2>"),
        ("6", r"\begin{aligned}x&=2\cdot3\\&=6\end{aligned}"),
    ],
    "units": [
        *((r"5\text{ cm}^2", text) for text in ["5 cm²", "5 cm2", "5 square centimetres", "5 sq. cm"]),
        *((r"9.8\text{ m/s}^2", text) for text in ["9.8 m s^{-2}", "9.8 m/s²"]),
        *((r"\$12", text) for text in ["12 dollars", "$12.00", "USD 12", "12"]),
        *((r"2\text{ hours }15\text{ minutes}", text) for text in ["135 minutes", "2.25 h", "2 hrs and 15 mins"]),
        *(("1.5 m", text) for text in ["150 cm", "1500 mm", "0.0015 km"]), (r"\$4.20", "420 cents"),
        ("2 L", "2000 cm^3"),
        *((r"\frac{2\pi}{3}", text) for text in [r"120^\circ", "120°", "2pi/3 radians"]), ("10 m/s", "36 km/h"),
        (r"9\pi\text{ cm}^2", r"900\pi mm^2"), ("30 minutes", "half an hour"), ("5 ft 3 in", "63 inches"),
        ("$40/hour", "40 dollars per hour"), ("18", "$18/day"), ("30 mpg", "30 miles per gallon"),
        ("12 sq. units", "12"),
        ("3.0 x 10^8 m/s", "3e8"), (r"1.6\times 10^{-19} C", "1.6e-19"), ("7 m/s", "7 ms^{-1}"),
        ("98", r"98\text{ (pages)}"), ("25", "25 cm, or 0.25 m"),
        (r"20 \frac{m}{s}", "20 m/s"), ("1.2 kW", "1200 W"), (r"5 \Omega", "5 ohms"), ("10 N", "10"), ("300 K", "300"),
        ("98", r"98~\mathrm{kg\cdot m^2}"),
        (r"\arcsin\frac12", r"30^\circ"),
        (r"3\frac12\text{ hours}", "3 hours and 30 minutes"), ("45 minutes", "three quarters of an hour"),
        ("72", "72 minutes per day"), ("8 km/h", "8km/hr"),
        ("60 km/h", "60 kmh"), ("30 N", "30 newtons"), ("2 hours 30 minutes", "2h 30min"), ("30 years", "30 years old"),
    ],
    "bases": [
        *(("1011_2", text) for text in [r"1011_{\text{two}}", "(1011)_2", "1011 (base 2)", "0b1011", "11_{10}"]),
        (r"\text{FF}_{16}", "0xFF"), (r"0.\overline{18}", r"0.1818\ldots"), (r"1/6", r"0.1666\dots"),
        *((r"\sqrt2", text) for text in ["1.414214", "1.4142135624"]), (r"\phi", r"\varphi"),
        ("AB_{16}", "ab_{16}"), (r"0.\overline{27}", "3/11"),
    ],
    "words": [
        *(("12", text) for text in ["twelve", "a dozen", "Twelve people", "**12**", "<b>12</b>", "Answer: 12", "12 ✓",
        "__12__"]),
        ("1000000", "one million"), ("seven", "7"), ("-3", "minus three"), ("Yes", "Yes, it is."), ("no", "NO!"),
        (r"\text{even}", "It is an even function"), (r"\text{divergent}", "diverges"),
        (r"\emptyset", "there are no solutions"),
        (r"\text{DNE}", "The limit does not exist"), ("May 5", "5th of May"), ("March 5, 2020", "5 March 2020"),
        ("March 5, 2020", "2020-03-05"), ("Sept. 4", "September 4"), ("Friday", "Fri"),
        ("3:45 PM", "3:45 in the afternoon"), (r"1:\sqrt3", r"\sqrt3:3"), ("a:b", "2a:2b"), ("1/12", "one twelfth"),
        ("3:45 PM", "15:45"), ("0:15", "12:15 AM"), ("3:4", r"3\colon 4"), ("(B) 12", "12"), ("(B) 12", "(B) 12.0"),
        ("12", r"\textbf{(B)}\ 12"), ("A, C", "AC"), ("12:00 PM", "noon"),
        (r"\text{Option A: }12", "12"), ("150000", "150k"), ("150000", "150k dollars"),
        ("5:00", "5 o'clock"), ("4:30 pm", "4.30 pm"),
        ("(a) 3 (b) 5", "3, 5"), ("3, 5", "(i) 3, (ii) 5"),
    ],
    "styles": [
        *(("12", text) for text in [r"\bf 12", r"{\rm 12}", r"\tag{1} 12", r"\begin{aligned}x&=12\end{aligned}",
        r"\begin{array}{c}12\end{array}", "=> 12", "→ 12", "Ans. 12", "3 x 4", "12 AU",
        r"\begin{array}{|c|}\hline 12 \\ \hline\end{array}", "⌊12.9⌋", "12 mod 20",
        r"\text{about } 12", r"\sim 12",
        r"\text{Amy: } 12", r"x=12 \text{ (rejecting } x=-12)", r"x = 12 \text{ or } 24/2", "12 (or 10+2)"]),
        ("D", r"(D)14\pi"), ("3/7", r"3/7 \approx 42.86\%"), ("a_n", "aₙ"), (r"\frac{\sqrt3}{3}",
        r"\tan 30^\circ = \frac{1}{\sqrt3}"), (r"14\pi", r"(D)14\pi"),
        (r"A\cap B=\{1,2\}", r"\{1,2\}"),
        ("0.75", "0·75"), (r"\binom52", "C(5,2)"), ("BC", r"\overline{BC}"), ("1/2", r"P=\frac12=0.5=50\%"),
        ("20%", "20 percentage points"), ("11^{2024}", r"11\cdot 11^{2023}"), ("0.333333", "1/3"),
        ("1.414214", r"\sqrt2"),
    ],
    "sets": [
        (r"(\pm 1, 2)", "(1,2), (-1,2)"), (r"\{1,2,\ldots,5\}", r"\{1,2,3,4,5\}"), ("[1,2,3]", "1,2,3"),
        (r"\begin{pmatrix}2\\-1\end{pmatrix}", "[2,-1]"),
        ("f(x)=2x", r"f(x)=2x \text{ for all } x"), (r"2\pm\sqrt5", r"2\mp\sqrt5"), (r"\frac{8!}{4!4!}", "70"),
        (r"\binom84", r"\frac{8!}{4!4!}"),
        (r"x=2k\pi, k\in\mathbb{Z}", r"x=2n\pi, n\in\mathbb{Z}"), (r"[0,\infty)", "nonnegative real numbers"),
        (r"\mathbb{Z}", "all integers"),
        (r"(-\infty,1)\cup(2,\infty)", "(-inf,1) U (2,inf)"), ("[0,1)", "[0;1["),
        (r"(-\infty,0)\cup(3,\infty)", "x<0, x>3"),
        (r"(2,\infty)", r"\{x\in\mathbb{R} \mid x>2\}"), (r"x\ne2", "all real numbers except 2"),
        (r"\{1,2\}", r"S=\{2,1\}"),
        (r"\{2k : k\in\mathbb{Z}\}", r"\{2n \mid n\in\mathbb{Z}\}"), ("-3", "x+y=2+(-5)=-3"),
        *((ABSOLUTE, text) for text in ["|x|", "f(x)=|x|", r"\sqrt{x^2}"]),
        ("|x|", ABSOLUTE.replace("x<0", "otherwise")),
        (r"\{a,b\}", r"\{b,a\}"), ("1,2,3", "1, 2, & 3"), (r"1,2,\ldots,10", "1, 2, ..., 10"), ("f(x)=2x+3", "y=2x+3"),
        (r"(2,\pi)", r"(r,\theta)=(2,\pi)"), ("(1,2)", "(A,B)=(1,2)"),
    ],
}  # fmt: skip
OTHER = {
    "groups of digits": [
        ("1234", "1.234"), ("1.234", "1234"), ("12345", "1,2345"), ("1234567", "1.234.568"), ("12", "1 2"),
        ("3,5", "3.5"),
        ("(3,5)", "3.5"), ("3.5", "(3,5)"), ("3.5", "5,3"), ("12345", "1,2,345"), ("1000000", "1,000,00"),
        ("35", "3,5"),
        ("1.5, 2.5", "1,5; 2,25"),
    ],
    "signs": [
        (r"\pm 3", "3"), ("3", "±3"), (r"\pm 3", "3, -2"), ("3000", "3x10^4"), (r"\sqrt5", "∛5"), (r"x\le 3", "x < 3"),
        ("1/3", "0.33"), (r"0.\overline{142857}", "0.142857"), (r"0.\overline{12}", r"0.1\overline{2}"),
        ("0.1", "0.10000001"),
        (r"\frac{n(n+1)}{2}", r"\sum_{k=1}^{n-1}k"), (r"\log_{10}5", r"\log_5 10"), ("x<5", "x &gt; 5"), ("-5", "5"),
    ],
    "matrices": [
        (MATRIX, r"\begin{pmatrix}1&2\\[2pt]3&5\end{pmatrix}"), (MATRIX, r"\begin{vmatrix}1&2\\3&4\end{vmatrix}"),
        (MATRIX, "[1 2 3 4]"), (BY_CASES, r"\begin{cases}x-1&x>0\\0&x\le 0\end{cases}"),
        (BY_CASES, r"\begin{cases}x+1&x\ge 0\\0&x<0\end{cases}"), ("(1,2,3)", r"\mathbf{i}+2\mathbf{j}-3\mathbf{k}"),
    ],
    "units": [
        ("5 cm^2", "5 cm^3"), ("5 cm^2", "5 cm"), ("60 km/h", "60 m/s"), (r"\$12", "€12"), (r"\$12", "12%"),
        ("12 dollars", "12 cents"),
        ("30 m/s", "30 m/s^2"), ("2 hours 30 minutes", "2 hours 20 minutes"), ("30 N", "30 joules"),
        *((r"2\text{ hours }15\text{ minutes}", text) for text in ["2.15 hours", "135 seconds", "135", "2 h 25 min"]),
        ("1.5 m", "15 cm"), ("1.5 m", "150 m"), (r"\$4.20", "42 cents"), (r"60^\circ", r"\frac{\pi}{6}"),
        ("60°", r"60\pi"),
        ("24 cm^2", "0.24 m^2"), ("10 m/s", "10 km/h"), ("60", "v = 3*24 = 72 km/h"),
        ("30 minutes", "half"), ("$40/hour", "40 dollars per day"),
        ("30 mpg", "30 mph"),
        ("7 m/s", "7 ms"), ("1.2 kW", "1.2 W"), ("10N", "10"), ("3.0 x 10^8 m/s", "3e7"),
        (r"3\frac12\text{ hours}", "3 hours 5 minutes"),
    ],
    "bases": [
        (r"\text{FF}_{16}", "FE_{16}"), ("0.18", "0.1818..."), (r"\sqrt2", "1.41421"), (r"\sqrt2", "1.414215"),
        (r"\ln2", "0.693"), ("1011_2", "1011_3"), ("1011_2", "0b1010"), ("2A_{16}", "43_{10}"), ("101_2", "101"),
    ],
    "words": [
        ("12", "eleven"), ("12", "one two"), ("seven", "8"), ("Yes", "No, it is not"),
        (r"\text{increasing}", "not increasing"),
        (r"\text{converges}", "does not converge"), (r"\text{even}", "even or odd"), (r"\text{No}", "none"),
        ("May 5", "March 5"), ("March 5, 2020", "2020-05-03"), ("Saturday", "Sun"),
        ("3:45 PM", "3:45 in the morning"), (r"1:\sqrt3", r"\sqrt3:1"), ("a:b", "b:a"), ("a:b", "a:b:a"),
        ("3:45 PM", "3:45 AM"), ("3:45 AM", "15:45"), ("12", r"\textbf{(B)}\ 14"), ("(B) 12", "(B) 13"), ("A, C", "A"),
        (r"\text{does not exist}", "0"), ("A", "(A) (B) (C) (D)"), ("2k", "2000"), ("1500", "150k"),
        ("noon", "12:00 AM"),
        ("(a) 3 (b) 5", "(a) 5 (b) 3"), ("(a) 3", "(a) 4"), ("3, 5", "(a) 3 (b) 6"),
    ],
    "styles": [
        ("1/2", "0.4=50%"), ("0.333334", "1/3"), ("1.41", r"\sqrt2"), ("10", "0·5"), ("11^{2024}", "11^{2025}"),
        ("12", "1 x 4"), ("12", "12 or 13"), ("3/7", r"4/7 \approx 42.86\%"), (r"\frac{\sqrt3}{3}",
        r"\tan 60^\circ = \frac{1}{\sqrt3}"), ("12",
        "12 (13)"), ("12", r"\text{Amy: } 13"), ("5", "lambda: 5"),
        ("12", r"x=13 \text{ (rejecting } x=12)"), ("12", "13 or 26/2"), ("12", "=> -12"),
    ],
    "sets": [
        ("(1,2)", r"\{1,2\}"), ("(1,2)", "{1,2}"), ("[0,1)", "[0;1]"), (r"(-\infty,0)\cup(3,\infty)", "x<0 and x>3"),
        (r"\{2k : k\in\mathbb{Z}\}", r"\{3n \mid n\in\mathbb{Z}\}"),
        (r"\{2k:k\in\mathbb{Z}\}", r"\{2n:n\in\mathbb{N}\}"),
        *((ABSOLUTE, text) for text in ["x", "-x", "-|x|", "5", "no idea"]), ("5", "x+y=5"),
        (r"(\pm 1, 2)", "(1,2), (1,-2)"), (r"\{1,2,\ldots,5\}", r"\{1,2,3,4\}"), ("[1,2]", "(1,2)"), ("2n+1", "2k+1"),
        (r"x=2k\pi, k\in\mathbb{Z}", r"x=n\pi, n\in\mathbb{Z}"), (r"\frac{3\pm\sqrt5}{2}", r"\frac{3+\sqrt5}{2}"),
        (r"\mathbb{Z}", "even integers"), (r"(0,\infty)", "nonnegative real numbers"),
        (r"\{0\}", r"\emptyset"), ("f(x)=2x+3", "y=2x-3"), (r"x\ne2", "x=2"),
        (r"(2,\pi)", r"(r,\theta)=(\pi,2)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_the_same_in_another_spelling(kind: str) -> None:
    assert [pair for pair in SAME[kind] if finding(*pair) is not Finding.EQUAL] == []


@pytest.mark.parametrize("kind", OTHER)
def test_what_looks_alike_stays_different(kind: str) -> None:
    assert [(pair, finding(*pair)) for pair in OTHER[kind] if finding(*pair) is not Finding.DIFFERENT] == []


def test_outcomes_that_are_not_the_answers_fault_are_not_valid() -> None:
    [no_gold, none, huge] = ARITHMETIC.check([("", "#### 5"), ("5", ""), ("5", r"\boxed{" + "9" * 200_000 + "}")])
    assert no_gold.finding is Finding.UNPARSEABLE_GOLD and not no_gold.valid
    assert none.outcome is Outcome.NO_ANSWER and none.valid
    assert not huge.correct and huge.valid


def test_options_decide_what_graders_decide_differently() -> None:
    assert finding("50\\%", "50", MathVerifier(percent="fraction", symbolic=False)) is Finding.DIFFERENT
    assert finding("50\\%", "50") is Finding.EQUAL
    assert finding("1, 2", "2, 1", MathVerifier(ordered_lists=True, symbolic=False)) is Finding.DIFFERENT
    assert finding("10 cm", "10 m", MathVerifier(units=False, symbolic=False)) is Finding.EQUAL
    assert finding("1/3", "0.3333333", MathVerifier(approximations=None, symbolic=False)) is Finding.DIFFERENT
    assert finding("100", "101", MathVerifier(tolerance=0.02, symbolic=False)) is Finding.EQUAL


@pytest.mark.parametrize("options", [{"rules": ("box",)}, {"percent": "half"}, {"tolerance": -1}, {"seconds": 0}])
def test_bad_options_are_named(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        MathVerifier(**options)


def test_it_grades_the_problems_of_a_task_and_copies() -> None:
    problem = Problem("a", "2+2?\n", (), "#### 4", "4")
    for verifier in (ARITHMETIC, copy.deepcopy(ARITHMETIC), pickle.loads(pickle.dumps(ARITHMETIC))):
        right, wrong = verifier([problem, problem], ["#### 4.0", r"\boxed{5}"])
        assert (right.correct, right.rule) == (True, "hashes") and (wrong.correct, wrong.rule) == (False, "boxed")


def test_without_math_verify_a_pair_that_needs_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = MathVerifier()
    monkeypatch.setattr(verifier.worker, "is_available", lambda: False)
    verdict = verifier.equal(r"\int_0^1 x dx", r"\frac12")
    assert not verdict.valid and "pip install math-verify" in verdict.message
    assert verifier.equal("4", "4.0").correct


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec=None), max_size=200), st.text(max_size=200))
def test_any_pair_gets_a_verdict(gold: str, answer: str) -> None:
    started = time.monotonic()
    [verdict] = ARITHMETIC.check([(gold, answer)])
    assert verdict.outcome in Outcome and time.monotonic() - started < 2.5


@pytest.mark.long
def test_inputs_that_coverage_finds_get_a_verdict_too() -> None:
    pytest.importorskip("atheris", reason="atheris is not installed")
    script = str(Path(__file__).with_name("fuzz_target.py"))
    done = subprocess.run(
        [sys.executable, script, "-max_total_time=20", "-timeout=5"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done" in done.stderr


LONG = ["9" * 200_000, "9^{9^{9}}", "{" * 5000, "(" * 5000, "import os\nos.system('x')", "\0" * 99, "\ud800", ""]


@pytest.mark.parametrize("gold", ["5", "x^2", "(1,2)", "", r"\boxed{}", "9" * 200_000])
def test_bad_answers_are_never_right_and_cost_no_time(gold: str) -> None:
    for answer in LONG:
        started = time.process_time()
        for verdict in (ARITHMETIC.equal(gold, answer), ARITHMETIC.check([(gold, answer)])[0]):
            assert not verdict.correct or gold == answer
            assert verdict.valid or gold in ("", r"\boxed{}") or len(gold) > 4000
        assert time.process_time() - started < 0.5


def test_verdicts_in_the_workers_of_async_vector_env() -> None:
    """They are daemonic, so that a child made by multiprocessing would be refused."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_grade_integral, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=100) == ["equal", "different"]
    process.join(30)


def _grade_integral(queue: Any) -> None:
    verifier = MathVerifier()
    queue.put([str(finding(r"\int_0^2 x dx", answer, verifier)) for answer in ("2", "3")])
    verifier.worker.close()
