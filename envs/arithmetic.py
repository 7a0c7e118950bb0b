"""Addition: generated sums with column-by-column steps; learnable on a CPU in a minute, no download.

    prompt     "358+467="
    steps      "8+7+0=15\\n" "5+6+1=12\\n" "3+4+1=08\\n"  one column each, least significant first: a+b+carry=total
    final      "#825"
    answer     "825"

With ``running=True`` each step also states the digits known so far, so that, as in most word problems, the last step
names the answer: "8+7+0=15,5\\n" "5+6+1=12,25\\n" "3+4+1=08,825\\n".
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import SPLITS, Problem
from g2rpo_env.streams import Seed, stream
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MARK = "#"
MAX_DIGITS = 18

# Share of all problems, in percent, by a hash of the unordered pair of numbers: 3+5 and 5+3 are never apart.
_BUCKETS = {"test": range(0, 10), "validation": range(10, 20), "warmstart": range(20, 40), "train": range(40, 100)}


def column_steps(a: int, b: int, running: bool = False) -> tuple[str, ...]:
    """Return the column-by-column steps of a + b, least significant digit first.

    Args:
        a: First number, >= 0.
        b: Second number, >= 0.
        running: Each step also states the digits of the sum known so far, the last one all of them.

    >>> column_steps(58, 67)
    ('8+7+0=15\\n', '5+6+1=12\\n')
    >>> column_steps(58, 67, running=True)
    ('8+7+0=15,5\\n', '5+6+1=12,125\\n')
    """
    width = max(len(str(a)), len(str(b)))
    steps, carry, known = [], 0, ""
    for place, (x, y) in enumerate(zip(reversed(str(a).zfill(width)), reversed(str(b).zfill(width)), strict=True), 1):
        total = int(x) + int(y) + carry
        known = (str(total) if place == width else str(total % 10)) + known
        steps.append(f"{x}+{y}+{carry}={total:02d}" + (f",{known}" if running else "") + "\n")
        carry = total // 10
    return tuple(steps)


class AdditionSource:
    """Sums of two numbers of the same number of digits; the id of a problem is its text, such as ``"358+467"``.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high) drawn uniformly, within [1, 18].
        split: One of :data:`g2rpo_env.problem.SPLITS`; the splits are disjoint.
        running: Each step also states the digits of the sum known so far.
    """

    splits: tuple[str, ...] = SPLITS
    num_problems = None

    def __init__(self, digits: int | Sequence[int] = 3, split: str = "train", running: bool = False) -> None:
        low, high = _digit_range(digits)
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        self.low, self.high, self.split, self.running = low, high, split, running

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        match = re.fullmatch(r"(0|[1-9][0-9]*)\+(0|[1-9][0-9]*)", problem_id)
        a, b = match.groups() if match else ("", "")
        if len(a) != len(b) or not self.low <= len(a) <= self.high:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be 'a+b', both numbers of {self.low} to {self.high} digits"
            )
        answer = str(int(a) + int(b))
        steps = column_steps(int(a), int(b), self.running)
        return Problem(problem_id, f"{problem_id}=", steps, MARK + answer, answer)

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem of the seeded order; never one of another split."""
        random = stream(seed, "problem", index)
        digits = int(random.integers(self.low, self.high + 1))
        floor = 10 ** (digits - 1) if digits > 1 else 0
        while True:
            a, b = int(random.integers(floor, 10**digits)), int(random.integers(floor, 10**digits))
            if split_of(a, b) == self.split:
                return f"{a}+{b}"

    def longest(self) -> Iterable[Problem]:
        """Return the sum of the greatest numbers."""
        nines = "9" * self.high
        return [self.get(f"{nines}+{nines}")]

    def with_split(self, split: str) -> AdditionSource:
        """Return the same source on another split."""
        return AdditionSource((self.low, self.high), split, self.running)


def _digit_range(digits: int | Sequence[int]) -> tuple[int, int]:
    try:
        low, high = (operator.index(d) for d in (digits if isinstance(digits, Sequence) else (digits, digits)))
    except (TypeError, ValueError):  # not two, or no ints
        low, high = 0, 0
    if not 1 <= low <= high <= MAX_DIGITS:
        raise ConfigurationError(
            f"digits={digits!r} must be an int or an inclusive range (low, high) within [1, {MAX_DIGITS}]"
        )
    return low, high


def split_of(a: int, b: int) -> str:
    """Return the split that a problem belongs to."""
    key = f"{min(a, b)}+{max(a, b)}".encode()
    bucket = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % 100
    return next(name for name, buckets in _BUCKETS.items() if bucket in buckets)


class AdditionVerifier:
    """Correct if the digits after the last ``#``, up to the end, are the sum."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion."""
        return [self._grade(p.answer, c) for p, c in zip(problems, completions, strict=True)]

    @staticmethod
    def _grade(gold: str, completion: str) -> Verdict:
        _, mark, answer = completion.rpartition(MARK)
        if not mark:
            return Verdict(Outcome.NO_ANSWER)
        return Verdict(Outcome.CORRECT if answer == gold else Outcome.WRONG, answer)


class Addition(Task):
    """The task of ``g2rpo_env/Addition-v0``: column addition, one step per digit.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high), within [1, 18].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by a hash of the problem.
        tokenizer: Fast tokenizer, folder, or None for the built-in character tokenizer.
        max_new_tokens: Budget of sampled tokens; None gives the longest solution, its end token and 4 more.
        max_length: See Task.
        stop_strings: See Task.
        running: Each step also states the digits of the sum known so far, the last one all of them; the final answer
            is then a copy, and what has to be learnt lies in the steps, where guidance can show it.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    def __init__(
        self,
        digits: int | Sequence[int] = 3,
        split: str = "train",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
        running: bool = False,
    ) -> None:
        source = AdditionSource(digits, split, running)
        if max_new_tokens is None:
            max_new_tokens = max(len(p.solution) for p in source.longest()) + 5
        super().__init__(
            source,
            AdditionVerifier(),
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            max_length=max_length,
            stop_strings=stop_strings,
        )
