"""Chain: expressions with precedence and brackets, reduced one operation at a time; generated, no download.

    prompt     "3+(4-1)*2="
    steps      "4-1=3,3+3*2\\n" "3*2=6,3+6\\n" "3+6=9\\n"  the operation, and what the expression has become
    final      "#9"
    answer     "9"

Numbers are single digits, and every result lies in [0, 99], unless ``largest`` says otherwise, so that what has to be
learnt is the order of the operations and a small table. Structures (the expression without its numbers) of 3 to 5
operations: 11,475.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from g2rpo_env.envs.expressions import Expression, Operation, numbers, parse, reduce, render, value, whole_value
from g2rpo_env.envs.generated import MARK, TRIES, GeneratedSource, GeneratedTask, MarkVerifier, level_range
from g2rpo_env.envs.options import GeneratedOptions, accept_options
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import Problem

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


def left_to_right(expression: Expression, largest: int) -> tuple[str, ...] | None:
    """Return the steps of someone who takes operations as they stand and knows neither precedence nor brackets.

    None where they come to a result outside [0, largest].

    >>> left_to_right(parse("3+(4-1)*2"), 99)
    ('3+4=7,7-1*2\\n', '7-1=6,6*2\\n', '6*2=12\\n')
    """
    text = render(expression).translate({ord(bracket): None for bracket in "()"})
    first, *others = re.findall(r"([+*-]?)(\d+)", text)
    result, rest, steps = int(first[1]), text[len(first[1]) :], []
    for sign, number in others:
        operation = Operation(sign, result, int(number))
        outcome, rest = whole_value(operation, 0, largest), rest[len(sign + number) :]
        if outcome is None:
            return None
        steps.append(f"{render(operation)}={outcome}{f',{outcome}{rest}' if rest else ''}\n")
        result = outcome
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
        largest: Greatest result, within [99, 9999]; numbers go up to a tenth of it.
        signs: Operations to draw from, distinct, of ``+-*``.
    """

    def __init__(
        self,
        operations: int | Sequence[int] = (3, 5),
        split: str = "train",
        largest: int = LARGEST,
        signs: str = SIGNS,
    ) -> None:
        super().__init__(level_range("operations", operations, MIN_OPERATIONS, MAX_OPERATIONS), split)
        if not 99 <= largest <= 9999:
            raise ConfigurationError(f"largest={largest} must be within [99, 9999]")
        if not signs or len(set(signs)) < len(signs) or not set(signs) <= set(SIGNS):
            raise ConfigurationError(f"signs={signs!r} must be distinct ones of {SIGNS!r}, at least one")
        self.largest, self.signs = largest, signs

    @property
    def greatest(self) -> int:
        """The greatest number: 9 with results up to 99, 99 with results up to 999."""
        return (self.largest + 1) // 10 - 1

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random expression of ``level`` operations."""
        while True:
            structure = random_structure(random, level, self.signs)
            for values in random.integers(1, self.greatest + 1, (TRIES, level + 1)).tolist():
                expression = with_numbers(structure, values)
                if whole_value(expression, 0, self.largest) is not None:
                    return render(expression)

    def structure(self, problem_id: str) -> str:
        """Return the expression without its numbers."""
        return re.sub(r"\d+", "n", problem_id)

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
            and not (set("+-*/") - set(self.signs)) & set(problem_id)
            and all(1 <= number <= self.greatest for number in numbers(expression))
            and whole_value(expression, 0, self.largest) is not None
        )
        if not known:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be an expression of {self.low} to {self.high} operations "
                f"{' '.join(self.signs)} on the numbers 1 to {self.greatest}, without needless brackets, all results "
                f"in [0, {self.largest}]"
            )
        steps = reduction_steps(expression)
        answer = steps[-1].rstrip("\n").rpartition("=")[2]
        return Problem(problem_id, f"{problem_id}=", steps, MARK + answer, answer)

    def mistaken(self, problem: Problem) -> Problem:
        """Return the problem, solved from left to right; as it is where that leaves the range of results."""
        steps = left_to_right(parse(problem.problem_id), self.largest)
        if steps is None:
            return problem
        return replace(problem, steps=steps, final=MARK + steps[-1].rstrip("\n").rpartition("=")[2])

    def longest(self) -> Iterable[Problem]:
        """Return texts of the greatest lengths: all but one in brackets, every number and result of the most digits."""
        high, most, number = self.high, str(self.largest), str(self.greatest)
        prompt = number * (high + 1) + "+" * high + "()" * (high - 1) + "="
        steps = []
        for left in range(high - 1, -1, -1):  # operations left after the step
            results = min(high - left, left + 1)  # of the left + 1 numbers; the others are still those of the prompt
            rest = most * results + number * (left + 1 - results) + "+" * left + "()" * (left - 1)
            steps.append(f"{most}-{most}={most}{',' + rest if left else ''}\n")
        return [Problem("the longest", prompt, tuple(steps), MARK + most, most)]


class Chain(GeneratedTask):
    """The task of ``g2rpo_env/Chain-v0``: arithmetic with precedence and brackets, one step per operation.

    Args:
        operations: Number of operations, an int or an inclusive range (low, high), within [3, 12].
        largest: Greatest result, within [99, 9999]; numbers go up to a tenth of it. With 99 a guess from the answers
            that come most often is right in 2 % of cases.
        signs: Operations to draw from, distinct, of ``+-*``.
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by the expression without its numbers.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(
        self,
        operations: int | Sequence[int] = (3, 5),
        split: str = "train",
        *,
        largest: int = LARGEST,
        signs: str = SIGNS,
        **options: Unpack[GeneratedOptions],
    ) -> None:
        super().__init__(ChainSource(operations, split, largest, signs), MarkVerifier(), **options)
