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
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from g2rpo_env.envs.generated import MARK, GeneratedSource, MarkVerifier, default_budget, level_range
from g2rpo_env.errors import UnknownProblemError
from g2rpo_env.grading import STRICT, Grading, with_grading
from g2rpo_env.problem import Problem
from g2rpo_env.task import Task
from g2rpo_env.traces import AS_THEY_COME, Traces, with_traces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_DIGITS = 18


def random_pair(random: np.random.Generator, digits: int) -> tuple[int, int]:
    """Return two random numbers of that many digits."""
    floor = 10 ** (digits - 1) if digits > 1 else 0
    return int(random.integers(floor, 10**digits)), int(random.integers(floor, 10**digits))


def unordered(problem_id: str, sign: str) -> str:
    """Return ``"a+b"`` with the lesser number first, so that two orders of one pair are one structure."""
    return sign.join(map(str, sorted(map(int, problem_id.split(sign)))))


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
    width = max(len(str(a)), len(str(b)))
    steps, carry, known = [], 0, ""
    for place, (x, y) in enumerate(zip(reversed(str(a).zfill(width)), reversed(str(b).zfill(width)), strict=True), 1):
        total = int(x) + int(y) + carry
        known = (str(total) if place == width else str(total % 10)) + known
        steps.append(f"{x}+{y}+{carry}={total:02d}" + (f",{known}" if running else "") + "\n")
        carry = total // 10 if carries else 0
    return tuple(steps)


class AdditionSource(GeneratedSource):
    """Sums of two numbers of the same number of digits; the id of a problem is its text, such as ``"358+467"``.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high) drawn uniformly, within [1, 18].
        split: One of :data:`g2rpo_env.problem.SPLITS`; 3+5 and 5+3 are never apart.
        running: Each step also states the digits of the sum known so far.
    """

    def __init__(self, digits: int | Sequence[int] = 3, split: str = "train", running: bool = False) -> None:
        super().__init__(level_range("digits", digits, 1, MAX_DIGITS), split)
        self.running = running

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random sum of two numbers of ``level`` digits."""
        return "+".join(str(number) for number in random_pair(random, level))

    def structure(self, problem_id: str) -> str:
        """Return the sum with its lesser number first."""
        return unordered(problem_id, "+")

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

    def mistaken(self, problem: Problem) -> Problem:
        """Return the problem, solved by someone who never carries."""
        a, b = map(int, problem.problem_id.split("+"))
        total = column_steps(a, b, running=True, carries=False)[-1].rpartition(",")[2]
        return replace(problem, steps=column_steps(a, b, self.running, carries=False), final=f"{MARK}{int(total)}")

    def longest(self) -> Iterable[Problem]:
        """Return the sum of the greatest numbers."""
        nines = "9" * self.high
        return [self.get(f"{nines}+{nines}")]


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
        traces: What the solutions of the training problems are like; see :class:`g2rpo_env.traces.Traces`.
        grading: Which wrong answers to training problems pass; see :class:`g2rpo_env.grading.Grading`.

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
        traces: Traces = AS_THEY_COME,
        grading: Grading = STRICT,
    ) -> None:
        source = with_traces(AdditionSource(digits, split, running), traces)
        super().__init__(
            source,
            with_grading(MarkVerifier(), grading, split),
            tokenizer=tokenizer,
            max_new_tokens=default_budget(source, max_new_tokens),
            max_length=max_length,
            stop_strings=stop_strings,
        )
