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
