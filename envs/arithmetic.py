"""Addition: generated sums with column-by-column steps; learnable on a CPU in a minute, no download.

    prompt     "358+467="
    steps      "8+7+0=15\\n" "5+6+1=12\\n" "3+4+1=08\\n"  one column each, least significant first: a+b+carry=total
    final      "#825"
    answer     "825"

With ``running=True`` each step also states the digits known so far, so that, as in most word problems, the last step
names the answer: "8+7+0=15,5\\n" "5+6+1=12,25\\n" "3+4+1=08,825\\n".
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from g2rpo_env.envs.generated import MARK, GeneratedSource, GeneratedTask, MarkVerifier, level_range, split_of
from g2rpo_env.envs.options import GeneratedOptions, accept_options
from g2rpo_env.errors import UnknownProblemError
from g2rpo_env.problem import Problem
from g2rpo_env.streams import Seed, bound_raw, raw_numbers

MAX_DIGITS = 18
DIGITS = "0123456789"

MANY_DIGITS = 7
"""Numbers of more digits are drawn one by one: a generator that draws from a wide range passes over some numbers."""

PAIRS = 6
"""So many pairs are looked at to find one of the split; the chance that a train problem needs more is 0.004."""

PAIR = re.compile(r"(0|[1-9][0-9]*)([+*])(0|[1-9][0-9]*)")

COLUMNS = tuple(
    {
        (x, y): (f"{x}+{y}+{carry}={int(x) + int(y) + carry:02d}\n", (int(x) + int(y) + carry) // 10)
        for x in DIGITS
        for y in DIGITS
    }
    for carry in (0, 1)
)
"""For each carry: the two digits of a column -> its step, and the carry to the next one."""


def random_pair(random: np.random.Generator, digits: int) -> tuple[int, int]:
    """Return two random numbers of that many digits."""
    floor = 10 ** (digits - 1) if digits > 1 else 0
    return int(random.integers(floor, 10**digits)), int(random.integers(floor, 10**digits))


def sort_problem(problem_id: str, sign: str) -> str:
    """Return ``"a+b"`` with the lesser number first, so that two orders of one pair are one structure."""
    a, b = problem_id.split(sign)
    return sort_pair(int(a), int(b), sign)


def sort_pair(a: int, b: int, sign: str) -> str:
    """Return ``"a+b"`` with the lesser number first."""
    return f"{a}{sign}{b}" if a <= b else f"{b}{sign}{a}"


def column_steps(a: int, b: int, running: bool = False, carries: bool = True) -> tuple[str, ...]:
    """Return the column-by-column steps of a + b, least significant digit first.

    Args:
        a: First number, >= 0.
        b: Second number, >= 0.
        running: Each step also states the digits of the sum known so far, the last one all of them.
        carries: Whether to carry; forgetting it is the typical mistake.

    >>> column_steps(58, 67)
    ('8+7+0=15\\n', '5+6+1=12\\n')
    >>> column_steps(58, 67, running=True)
    ('8+7+0=15,5\\n', '5+6+1=12,125\\n')
    >>> column_steps(58, 67, running=True, carries=False)
    ('8+7+0=15,5\\n', '5+6+0=11,115\\n')
    """
    digits_a, digits_b = str(a), str(b)
    width = max(len(digits_a), len(digits_b))
    columns = list(zip(digits_a.zfill(width)[::-1], digits_b.zfill(width)[::-1], strict=True))
    steps, carry = [], 0
    for column in columns:
        step, carried = COLUMNS[carry][column]
        steps.append(step)
        carry = carried if carries else 0
    if running:
        known = str(a + b) if carries else without_carries(columns)
        steps = [f"{step[:-1]},{known[-place:] if place < width else known}\n" for place, step in enumerate(steps, 1)]
    return tuple(steps)


def without_carries(columns: Sequence[tuple[str, str]]) -> str:
    """Return the sum that comes out if nothing is ever carried, from columns least significant first.

    >>> without_carries([("8", "7"), ("5", "6")])
    '115'
    """
    totals = [int(x) + int(y) for x, y in columns]
    return str(totals[-1]) + "".join(str(total % 10) for total in reversed(totals[:-1]))


class PairSource(GeneratedSource):
    """Problems about two numbers of the same number of digits; the id of a problem is ``"a+b"`` with its sign."""

    sign = "+"

    @abstractmethod
    def solve(self, problem_id: str, a: int, b: int) -> Problem:
        """Return the problem of that id, on the numbers a and b, with its solution."""

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        match = PAIR.fullmatch(problem_id)
        a, sign, b = match.groups() if match else ("", "", "")
        if sign != self.sign or len(a) != len(b) or not self.low <= len(a) <= self.high:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be 'a{self.sign}b', both numbers of {self.low} to {self.high} digits"
            )
        return self.solve(problem_id, int(a), int(b))

    def longest(self) -> Iterable[Problem]:
        """Return the problem on the greatest numbers."""
        nines = "9" * self.high
        return [self.get(f"{nines}{self.sign}{nines}")]

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random problem on two numbers of ``level`` digits."""
        a, b = random_pair(random, level)
        return f"{a}{self.sign}{b}"

    def structure(self, problem_id: str) -> str:
        """Return the problem with its lesser number first."""
        return sort_problem(problem_id, self.sign)

    def draw_many(self, seed: Seed, indices: Sequence[int]) -> list[str]:
        """Return the problem of ``draw`` for each index: the numbers of all of them in a few array operations."""
        if self.high > MANY_DIGITS or not self._draws_as(PairSource):
            return super().draw_many(seed, indices)
        texts = [self._first(pairs) for pairs in self._pairs(raw_numbers(seed, "problem", indices, 2 * PAIRS))]
        return [self.draw(seed, i) if text is None else text for i, text in zip(indices, texts, strict=True)]

    def _pairs(self, raw: np.ndarray) -> list[list[int]]:
        """Return the numbers that come first in each stream, a, b, a, b, ...; none where the first will not do."""
        level = np.full((len(raw), 1), self.low)
        used = np.ones((len(raw), 1), bool)
        if self.low < self.high:
            level, used = bound_raw(raw[:, :1], self.high - self.low + 1)
            level, raw = level + self.low, raw[:, 1:-1]
        floor = np.where(level > 1, 10 ** (level - 1), 0)
        values, all_used = bound_raw(raw, 10**level - floor)
        rows = (values + floor).tolist()
        return [row if fits else [] for row, fits in zip(rows, used[:, 0] & all_used.all(axis=1), strict=True)]

    def _first(self, numbers: list[int]) -> str | None:
        """Return the first problem of this split, if there is one among these pairs."""
        for a, b in zip(numbers[::2], numbers[1::2], strict=True):
            if split_of(sort_pair(a, b, self.sign)) == self.split:
                return f"{a}{self.sign}{b}"
        return None


class AdditionSource(PairSource):
    """Sums of two numbers of the same number of digits; the id of a problem is its text, such as ``"358+467"``.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high) drawn uniformly, within [1, 18].
        split: One of :data:`g2rpo_env.problem.SPLITS`; 3+5 and 5+3 are never apart.
        running: Each step also states the digits of the sum known so far.
    """

    def __init__(self, digits: int | Sequence[int] = 4, split: str = "train", running: bool = False) -> None:
        super().__init__(level_range("digits", digits, 1, MAX_DIGITS), split)
        self.running = running

    def solve(self, problem_id: str, a: int, b: int) -> Problem:
        """Return the problem of that id with its solution."""
        answer = str(a + b)
        return Problem(problem_id, f"{problem_id}=", column_steps(a, b, self.running), MARK + answer, answer)

    def mistaken(self, problem: Problem) -> Problem:
        """Return the problem, solved by someone who never carries."""
        a, b = map(int, problem.problem_id.split("+"))
        total = column_steps(a, b, running=True, carries=False)[-1].rpartition(",")[2]
        return replace(problem, steps=column_steps(a, b, self.running, carries=False), final=f"{MARK}{int(total)}")


class Addition(GeneratedTask):
    """The task of ``g2rpo_env/Addition-v0``: column addition, one step per digit.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high), within [1, 18].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by a hash of the problem.
        running: Each step also states the digits of the sum known so far, the last one all of them; the final answer
            is then a copy, and what has to be learnt lies in the steps, where guidance can show it.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(
        self,
        digits: int | Sequence[int] = 4,
        split: str = "train",
        *,
        running: bool = False,
        **options: Unpack[GeneratedOptions],
    ) -> None:
        super().__init__(AdditionSource(digits, split, running), MarkVerifier(), **options)
