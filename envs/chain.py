"""Chain: expressions with precedence and brackets, reduced one operation at a time; generated, no download.

    prompt     "3+(4-1)*2="
    steps      "4-1=3,3+3*2\\n" "3*2=6,3+6\\n" "3+6=9\\n"  the operation, and what the expression has become
    final      "#9"
    answer     "9"

Numbers are single digits, and every result lies in [0, 99], so that what has to be learnt is the order of the
operations and a small table. Structures (the expression without its numbers) of 3 to 5 operations: 11,475.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from g2rpo_env.envs.expressions import Expression, Operation, numbers, parse, reduce, render, value, whole_value
from g2rpo_env.envs.generated import MARK, TRIES, GeneratedSource, MarkVerifier, default_budget, level_range
from g2rpo_env.errors import UnknownProblemError
from g2rpo_env.problem import Problem
from g2rpo_env.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIGNS = "+-*"
LARGEST = 99
MIN_OPERATIONS, MAX_OPERATIONS = 3, 12


def reduction_steps(expression: Expression) -> tuple[str, ...]:
    """Return the steps that reduce an expression to a number, the leftmost operation on two numbers first.

    >>> reduction_steps(parse("3+(4-1)*2"))
    ('4-1=3,3+3*2\\n', '3*2=6,3+6\\n', '3+6=9\\n')
    """
    steps = []
    while isinstance(expression, Operation):
        first, expression = reduce(expression)
        rest = f",{render(expression)}" if isinstance(expression, Operation) else ""
        steps.append(f"{render(first)}={value(first)}{rest}\n")
    return tuple(steps)


def random_structure(random: np.random.Generator, operations: int, signs: str) -> Expression:
    """Return an expression of that many operations, its numbers all 0."""
    if not operations:
        return 0
    left = int(random.integers(operations))
    return Operation(
        signs[int(random.integers(len(signs)))],
        random_structure(random, left, signs),
        random_structure(random, operations - 1 - left, signs),
    )


def with_numbers(structure: Expression, values: Iterable[int]) -> Expression:
    """Return an expression with other numbers, from left to right."""
    values = iter(values)

    def fill(part: Expression) -> Expression:
        if isinstance(part, int):
            return next(values)
        left = fill(part.left)
        return Operation(part.sign, left, fill(part.right))

    return fill(structure)


class ChainSource(GeneratedSource):
    """Expressions; the id of a problem is its text, such as ``"3+(4-1)*2"``.

    Args:
        operations: Number of operations, an int or an inclusive range (low, high) drawn uniformly, within [3, 12].
        split: One of :data:`g2rpo_env.problem.SPLITS`; disjoint by the expression without its numbers.
    """

    def __init__(self, operations: int | Sequence[int] = (3, 5), split: str = "train") -> None:
        super().__init__(level_range("operations", operations, MIN_OPERATIONS, MAX_OPERATIONS), split)

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random expression of ``level`` operations."""
        while True:
            structure = random_structure(random, level, SIGNS)
            for values in random.integers(1, 10, (TRIES, level + 1)).tolist():
                expression = with_numbers(structure, values)
                if whole_value(expression, 0, LARGEST) is not None:
                    return render(expression)

    def structure(self, problem_id: str) -> str:
        """Return the expression without its numbers."""
        return re.sub(r"\d", "n", problem_id)

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        try:
            expression = parse(problem_id)
        except ValueError:
            expression = 0
        operations = len(list(numbers(expression))) - 1
        known = (
            self.low <= operations <= self.high
            and render(expression) == problem_id
            and "/" not in problem_id
            and all(1 <= number <= 9 for number in numbers(expression))
            and whole_value(expression, 0, LARGEST) is not None
        )
        if not known:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be an expression of {self.low} to {self.high} operations + - * on the "
                f"digits 1 to 9, without needless brackets, all results in [0, {LARGEST}]"
            )
        steps = reduction_steps(expression)
        answer = steps[-1].rstrip("\n").rpartition("=")[2]
        return Problem(problem_id, f"{problem_id}=", steps, MARK + answer, answer)

    def longest(self) -> Iterable[Problem]:
        """Return texts of the greatest lengths: every operation but one in brackets, every result of two digits."""
        high = self.high
        prompt = "9" * (high + 1) + "+" * high + "()" * (high - 1) + "="
        steps = []
        for left in range(high - 1, -1, -1):  # operations left after the step
            two_digits = min(high - left, left + 1)
            rest = "," + "9" * (left + 1 + two_digits) + "+" * left + "()" * (left - 1) if left else ""
            steps.append(f"99-99=99{rest}\n")
        return [Problem("the longest", prompt, tuple(steps), f"{MARK}{LARGEST}", str(LARGEST))]


class Chain(Task):
    """The task of ``g2rpo_env/Chain-v0``: arithmetic with precedence and brackets, one step per operation.

    Args:
        operations: Number of operations, an int or an inclusive range (low, high), within [3, 12].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by the expression without its numbers.
        tokenizer: Fast tokenizer, folder, or None for the built-in character tokenizer.
        max_new_tokens: Budget of sampled tokens; None gives the longest solution, its end token and 4 more.
        max_length: See Task.
        stop_strings: See Task.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    def __init__(
        self,
        operations: int | Sequence[int] = (3, 5),
        split: str = "train",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
    ) -> None:
        source = ChainSource(operations, split)
        super().__init__(
            source,
            MarkVerifier(),
            tokenizer=tokenizer,
            max_new_tokens=default_budget(source, max_new_tokens),
            max_length=max_length,
            stop_strings=stop_strings,
        )
