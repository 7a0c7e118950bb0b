"""LinearEquation: equations in one unknown, solved by rewriting them; generated, no download.

    prompt     "2(x+3)-4=x+9\\n"
    steps      "2x+6-4=x+9\\n"   one bracket after the other is multiplied out,
               "2x+2=x+9\\n"     then each side is collected,
               "x+2=9\\n" "x=7\\n"  then the unknown goes to the left, the numbers to the right, and both are divided
    final      "#7"
    answer     "7"

Structures (the equation without its numbers) of 3 to 5 terms: 36,096.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from g2rpo_env.envs.generated import MARK, TRIES, GeneratedSource, GeneratedTask, MarkVerifier, level_range
from g2rpo_env.envs.options import GeneratedOptions, accept_options
from g2rpo_env.errors import UnknownProblemError
from g2rpo_env.problem import Problem

MIN_TERMS, MAX_TERMS = 3, 8
LARGEST, LARGEST_SOLUTION = 9, 99
"""Numbers of an equation lie in [1, 9], its solution in [-99, 99]: two drawn at random agree in 2 % of cases."""
NUMBERS_TO_N = str.maketrans("0123456789", "n" * 10)


@dataclass(frozen=True)
class Term:
    """``factor * (x * unknown + constant)``: a number, a multiple of x, or a bracket with a factor.

    Attributes:
        factor: Number in front, with its sign; 1 for what is no bracket.
        unknown: How many x, with sign.
        constant: The number, with sign.
    """

    unknown: int
    constant: int
    factor: int = 1

    @property
    def bracket(self) -> bool:
        """Whether it is written with a bracket."""
        return bool(self.unknown and self.constant)

    def parts(self) -> list[Term]:
        """Return the terms it becomes when its bracket is multiplied out."""
        if not self.bracket:
            return [self]
        return [Term(self.factor * self.unknown, 0), Term(0, self.factor * self.constant)]

    def text(self, first: bool) -> str:
        """Return it with its sign, which a positive first term of a side does not show."""
        if self.bracket:
            inner = _write_number(self.unknown, "x", True) + _write_number(self.constant, "", False)
            return _write_number(self.factor, f"({inner})", first)
        return _write_number(self.unknown, "x", first) if self.unknown else _write_number(self.constant, "", first)


Side = tuple[Term, ...]
Equation = tuple[Side, Side]


def _write_number(number: int, behind: str, first: bool) -> str:
    sign = "-" if number < 0 else "" if first else "+"
    return sign + ("" if abs(number) == 1 and behind else str(abs(number))) + behind


def write(equation: Equation) -> str:
    """Return the text of an equation, ``0`` for an empty side."""
    return "=".join("".join(t.text(i == 0) for i, t in enumerate(side)) or "0" for side in equation)


_TERM = re.compile(r"([+-]?)(?:([2-9]?)\(x([+-])([1-9])\)|([2-9]?)x|([1-9]))")


def read(text: str) -> Equation | None:
    """Return the equation of a text; None if it is none as they are generated."""
    sides = []
    for part in text.split("="):
        terms, position = [], 0
        while position < len(part):
            match = _TERM.match(part, position)
            if match is None:
                return None
            sign, factor, inner, constant, unknown, number = match.groups()
            positive = -1 if sign == "-" else 1
            if inner:
                terms.append(Term(1, int(inner + constant), positive * int(factor or 1)))
            else:
                terms.append(Term(0, positive * int(number)) if number else Term(positive * int(unknown or 1), 0))
            position = match.end()
        sides.append(tuple(terms))
    if len(sides) != 2 or not all(sides) or write((sides[0], sides[1])) != text:
        return None
    return sides[0], sides[1]


def total(side: Side) -> tuple[int, int]:
    """Return how many x a side has, and its number."""
    return sum(t.factor * t.unknown for t in side), sum(t.factor * t.constant for t in side)


def solution(equation: Equation) -> int | None:
    """Return the solution if there is exactly one and it is whole and in [-99, 99]."""
    (a, b), (c, d) = map(total, equation)
    if a == c or (d - b) % (a - c):
        return None
    found = (d - b) // (a - c)
    return found if abs(found) <= LARGEST_SOLUTION else None


def _collect(side: Side) -> Side:
    unknown, constant = total(side)
    return (*([Term(unknown, 0)] if unknown else []), *([Term(0, constant)] if constant else []))


def rewritings(equation: Equation) -> Iterator[Equation]:
    """Yield the forms of an equation with one solution, step by step, down to ``x=...``.

    >>> [write(e) for e in rewritings(read("2(x+3)-4=x+9"))]
    ['2x+6-4=x+9', '2x+2=x+9', 'x+2=9', 'x=7']
    """
    sides = list(equation)
    for number in (0, 1):  # multiply out, bracket by bracket
        position = 0
        while position < len(sides[number]):
            term = sides[number][position]
            if term.bracket:
                sides[number] = (*sides[number][:position], *term.parts(), *sides[number][position + 1 :])
                yield sides[0], sides[1]
            position += 1
    for number in (0, 1):
        collected = _collect(sides[number])
        if collected != sides[number]:
            sides[number] = collected
            yield sides[0], sides[1]
    (a, b), (c, d) = map(total, sides)
    if c:
        yield _collect((Term(a - c, 0), Term(0, b))), _collect((Term(0, d),))
    if b:
        yield (Term(a - c, 0),), _collect((Term(0, d - b),))
    if a - c != 1:
        yield (Term(1, 0),), _collect((Term(0, (d - b) // (a - c)),))


class LinearEquationSource(GeneratedSource):
    """Equations with one whole solution; the id of a problem is its text, such as ``"2(x+3)-4=x+9"``.

    Args:
        terms: Number of terms on both sides together, an int or an inclusive range (low, high) drawn uniformly,
            within [3, 8].
        split: One of :data:`g2rpo_env.problem.SPLITS`; disjoint by the equation without its numbers.
    """

    def __init__(self, terms: int | Sequence[int] = (3, 5), split: str = "train") -> None:
        super().__init__(level_range("terms", terms, MIN_TERMS, MAX_TERMS), split)

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random equation of ``level`` terms that is not solved already."""
        while True:
            left = int(random.integers(1, level))
            kinds = random.integers(4, size=level)  # number, multiple of x, bracket with +, bracket with -
            signs = 1 - 2 * random.integers(2, size=level)
            signs[[0, left]] = 1  # a side begins with a positive term
            for drawn in random.integers(1, LARGEST + 1, (TRIES, 2, level)):
                terms = [_term(*row) for row in zip(kinds.tolist(), signs.tolist(), *drawn.tolist(), strict=True)]
                equation = tuple(terms[:left]), tuple(terms[left:])
                if solution(equation) is not None:
                    return write(equation)

    def structure(self, problem_id: str) -> str:
        """Return the equation without its numbers; a factor of 1 is not written, so other factors go too."""
        return re.sub(r"\d+(?=[x(])", "", problem_id).translate(NUMBERS_TO_N)

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        equation = read(problem_id)
        found = None if equation is None else solution(equation)
        if equation is None or found is None or not self.low <= sum(map(len, equation)) <= self.high:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be an equation of {self.low} to {self.high} terms such as "
                f"'2(x+3)-4=x+9', numbers from 1 to {LARGEST}, with one whole solution from -{LARGEST_SOLUTION} to "
                f"{LARGEST_SOLUTION}"
            )
        steps = tuple(write(step) + "\n" for step in rewritings(equation))
        return Problem(problem_id, f"{problem_id}\n", steps, f"{MARK}{found}", str(found))

    def longest(self) -> Iterable[Problem]:
        """Return texts of the greatest lengths: all brackets, multiplied out one by one."""
        count = self.high
        prompt = "+".join(["9(x-9)"] * count) + "\n"
        # After i brackets: i times "9x-81" and a sign, the others as they were.
        expanded = tuple("+9x-81" * i + "+9(x-9)" * (count - i) + "\n" for i in range(1, count + 1))
        collected = ("-99x-999=" + "+9x-81" * (count - 1) + "\n", "-99x-999=-99x-999\n")
        solved = ("-99x-999=-999\n", "-99x=-999\n", "x=-99\n")
        return [Problem("the longest", prompt, expanded + collected + solved, f"{MARK}-99", "-99")]


def _term(kind: int, sign: int, first: int, second: int) -> Term:
    """Return a term of a kind: number, multiple of x, factor times (x + number), factor times (x - number)."""
    if kind == 0:
        return Term(0, sign * first)
    return Term(sign * first, 0) if kind == 1 else Term(1, second if kind == 2 else -second, sign * first)


class LinearEquation(GeneratedTask):
    """The task of ``g2rpo_env/LinearEquation-v0``: solve for x, one step per rewriting of the equation.

    Args:
        terms: Number of terms on both sides together, an int or an inclusive range (low, high), within [3, 8].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by the equation without its numbers.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(
        self,
        terms: int | Sequence[int] = (3, 5),
        split: str = "train",
        **options: Unpack[GeneratedOptions],
    ) -> None:
        super().__init__(LinearEquationSource(terms, split), MarkVerifier(), **options)
