"""Answers compared as numbers, exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

MARK = "####"
MAX_ANSWER = 64  # characters; a longer one is no number anybody meant, and big ones cost time to convert

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?")


def parse_number(text: str) -> Fraction | None:
    """Return the number a text states, or None.

    Takes thousands separators, a currency or percent sign, a fraction, and one sentence mark at the end; nothing is
    rounded.

    >>> parse_number(" $1,234.50."), parse_number("3/4"), parse_number("12 apples"), parse_number("1/0")
    (Fraction(2469, 2), Fraction(3, 4), None, None)
    """
    text = text.strip()
    if not text or len(text) > MAX_ANSWER:
        return None
    text = text.rstrip(".").strip().removesuffix("%").strip().replace("\u2212", "-")  # the minus sign of typesetting
    text = re.sub(r"^([+-]?)\s*[$£€]?\s*", r"\1", text)
    if re.fullmatch(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?(?:/\d+)?", text):
        text = text.replace(",", "")
    # str.isascii: \d also matches the digits of other scripts, which Fraction would take too.
    if not text.isascii() or not _NUMBER.fullmatch(text):
        return None
    try:
        return Fraction(text.rstrip(".")) if "/" in text or not text.startswith(".") else Fraction("0" + text)
    except (ValueError, ZeroDivisionError):
        return None


def final_answer(completion: str) -> str | None:
    """Return the text after the last ``####`` up to the end of its line, or None."""
    _, mark, rest = completion.rpartition(MARK)
    return rest.split("\n", 1)[0].strip() if mark else None


class NumberVerifier:
    """Correct if the last ``#### x`` of the completion is the same number as the ground truth."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion; a ground truth that is no number gives an ERROR verdict."""
        return [self._grade(p, c) for p, c in zip(problems, completions, strict=True)]

    @staticmethod
    def _grade(problem: Problem, completion: str) -> Verdict:
        gold = parse_number(problem.answer)
        if gold is None:
            return Verdict(Outcome.ERROR, message=f"ground truth {problem.answer!r} is no number")
        answer = final_answer(completion)
        if answer is None:
            return Verdict(Outcome.NO_ANSWER)
        value = parse_number(answer)
        return Verdict(Outcome.CORRECT if value == gold else Outcome.WRONG, answer[:MAX_ANSWER])
