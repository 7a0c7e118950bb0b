"""Countdown: reach a target with all the given numbers; many right answers; generated, no download.

    prompt     "3 5 7 9 make 13:"
    steps      "3*5=15\\n" "15+7=22\\n" "22-9=13\\n"  the operations of one solution,
               "3*5+7-9=13\\n"                        then all of it in one line
    final      "#3*5+7-9"
    answer     "3*5+7-9"                              any expression on these numbers with that value is right

As in Countdown-Tasks-3to4 (Jiayi-Pan, Hugging Face; rules as the TinyZero project grades them, read there), each number
is used exactly once. Signs are + - * / and brackets; a division need not come out even, only the result counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Unpack

import numpy as np

from g2rpo_env.envs.chain import random_structure, with_numbers
from g2rpo_env.envs.expressions import Expression, Operation, numbers, parse, reduce, render, value, whole_value
from g2rpo_env.envs.generated import MARK, TRIES, GeneratedSource, GeneratedTask, level_range
from g2rpo_env.envs.options import GeneratedOptions, accept_options
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

SIGNS = "+-*/"
LARGEST_TARGET = 99
LARGEST_RESULT = 999


def has_target(expression: Expression) -> bool:
    """Whether all results are whole and positive, and the last one can be a target."""
    target = whole_value(expression, 1, LARGEST_RESULT)
    return target is not None and target <= LARGEST_TARGET


class CountdownSource(GeneratedSource):
    """Numbers and a target; the id of a problem is one of its solutions, such as ``"3*5+7-9"``.

    Args:
        numbers: How many numbers, an int or an inclusive range (low, high) drawn uniformly, within [3, 6].
        largest: Greatest number, in [9, 99].
        split: One of :data:`g2rpo_env.problem.SPLITS`; disjoint by the numbers and the target.
    """

    def __init__(self, numbers: int | Sequence[int] = 4, largest: int = 30, split: str = "train") -> None:
        super().__init__(level_range("numbers", numbers, 3, 6), split)
        if not 9 <= largest <= 99:
            raise ConfigurationError(f"largest={largest} must lie in [9, 99]")
        self.largest = largest

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random solution on ``level`` numbers."""
        while True:
            structure = random_structure(random, level - 1, SIGNS)
            for values in random.integers(1, self.largest + 1, (TRIES, level)).tolist():
                expression = with_numbers(structure, values)
                if has_target(expression):
                    return render(expression)

    def _is_known(self, problem_id: str) -> bool:
        """Whether a text is a solution as they are generated."""
        try:
            expression = parse(problem_id)
        except ValueError:
            return False
        used = list(numbers(expression))
        return (
            self.low <= len(used) <= self.high
            and render(expression) == problem_id
            and all(1 <= number <= self.largest for number in used)
            and has_target(expression)
        )

    def structure(self, problem_id: str) -> str:
        """Return the numbers in order, and the target: what the prompt says."""
        expression = parse(problem_id)
        return " ".join(map(str, sorted(numbers(expression)))) + f" make {value(expression)}:"

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        if not self._is_known(problem_id):
            raise UnknownProblemError(
                f"problem={problem_id!r} must be an expression on {self.low} to {self.high} numbers from 1 to "
                f"{self.largest}, without needless brackets, whose results are whole and whose value lies in "
                f"[1, {LARGEST_TARGET}]"
            )
        expression = parse(problem_id)
        steps, rest = [], expression
        while isinstance(rest, Operation):
            first, rest = reduce(rest)
            steps.append(f"{render(first)}={value(first)}\n")
        steps.append(f"{problem_id}={value(expression)}\n")
        return Problem(problem_id, self.structure(problem_id), tuple(steps), MARK + problem_id, problem_id)

    def longest(self) -> Iterable[Problem]:
        """Return texts of the greatest lengths: all numbers of the most digits, every bracket there can be."""
        count, number, result = self.high, str(self.largest), str(LARGEST_RESULT)
        prompt = " ".join([number] * count) + f" make {LARGEST_TARGET}:"
        solution = "+".join([number] * count) + "()" * (count - 2)
        steps = (*(f"{result}-{result}={result}\n",) * (count - 1), f"{solution}={LARGEST_TARGET}\n")
        return [Problem("the longest", prompt, steps, MARK + solution, solution)]


class CountdownVerifier:
    """Correct if what stands behind the last ``#`` is an expression on the problem's numbers with its target's value.

    Each number must be used exactly once. The text is parsed, never evaluated as code.
    """

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion."""
        return [self._grade(p.answer, c) for p, c in zip(problems, completions, strict=True)]

    @staticmethod
    def _grade(gold: str, completion: str) -> Verdict:
        _, mark, answer = completion.rpartition(MARK)
        if not mark:
            return Verdict(Outcome.NO_ANSWER)
        known = parse(gold)
        try:
            found = parse(answer)
            if sorted(numbers(found)) != sorted(numbers(known)):
                return Verdict(Outcome.WRONG, answer, "the numbers are not those of the problem, each once")
            result = value(found)
        except (ValueError, ZeroDivisionError) as error:
            return Verdict(Outcome.WRONG, answer, str(error))
        if result != value(known):
            return Verdict(Outcome.WRONG, answer, f"the value is {result}")
        return Verdict(Outcome.CORRECT, answer)


class Countdown(GeneratedTask):
    """The task of ``g2rpo_env/Countdown-v0``: reach a target with all the given numbers.

    Args:
        numbers: How many numbers, an int or an inclusive range (low, high), within [3, 6].
        largest: Greatest number, in [9, 99].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by the numbers and the target.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(
        self,
        numbers: int | Sequence[int] = 4,
        largest: int = 30,
        split: str = "train",
        **options: Unpack[GeneratedOptions],
    ) -> None:
        super().__init__(CountdownSource(numbers, largest, split), CountdownVerifier(), **options)
