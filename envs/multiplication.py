"""Multiplication: long multiplication with a running total, one step per pair of digits; generated, no download.

prompt     "47*36="
steps      "7*6+0+0=42\\n" "4*6+0+4=28,282\\n"   the row of 6: digit * digit + digit of the total + carry
           "7*3+8+0=29\\n" "4*3+2+2=16,1692\\n"  the row of 3, one place to the left; each row ends with the total
final      "#1692"
answer     "1692"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

from g2rpo_env.envs.arithmetic import PairSource
from g2rpo_env.envs.generated import MARK, GeneratedTask, MarkVerifier, level_range
from g2rpo_env.envs.options import GeneratedOptions, accept_options
from g2rpo_env.problem import Problem

MAX_DIGITS = 9


def long_multiplication(a: int, b: int, carries: bool = True) -> tuple[str, ...]:
    """Return the steps of a * b, both >= 0, the least significant digits first.

    Args:
        a: First number.
        b: Second number.
        carries: Whether to carry; forgetting it is the typical mistake.

    >>> long_multiplication(47, 36)
    ('7*6+0+0=42\\n', '4*6+0+4=28,282\\n', '7*3+8+0=29\\n', '4*3+2+2=16,1692\\n')
    >>> long_multiplication(47, 36, carries=False)
    ('7*6+0+0=42\\n', '4*6+0+0=24,42\\n', '7*3+4+0=25\\n', '4*3+0+0=12,252\\n')
    """
    upper, lower = [int(d) for d in reversed(str(a))], [int(d) for d in reversed(str(b))]
    total = [0] * (len(upper) + len(lower))
    steps = []
    for place, y in enumerate(lower):
        carry = 0
        for column, x in enumerate(upper):
            known = total[place + column]
            result = x * y + known + carry
            steps.append(f"{x}*{y}+{known}+{carry}={result:02d}\n")
            carry, total[place + column] = result // 10 if carries else 0, result % 10
        total[place + len(upper)] = carry
        steps[-1] = f"{steps[-1][:-1]},{int(''.join(map(str, reversed(total))))}\n"
    return tuple(steps)


class MultiplicationSource(PairSource):
    """Products of two numbers of the same number of digits; the id of a problem is its text, such as ``"47*36"``.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high) drawn uniformly, within [1, 9].
        split: One of :data:`g2rpo_env.problem.SPLITS`; 3*5 and 5*3 are never apart.
    """

    sign = "*"

    def __init__(self, digits: int | Sequence[int] = (3, 4), split: str = "train") -> None:
        super().__init__(level_range("digits", digits, 1, MAX_DIGITS), split)

    def solve(self, problem_id: str, a: int, b: int) -> Problem:
        """Return the problem of that id with its solution."""
        answer = str(a * b)
        return Problem(problem_id, f"{problem_id}=", long_multiplication(a, b), MARK + answer, answer)

    def mistaken(self, problem: Problem) -> Problem:
        """Return the problem, solved by someone who never carries."""
        a, b = map(int, problem.problem_id.split("*"))
        steps = long_multiplication(a, b, carries=False)
        return replace(problem, steps=steps, final=MARK + steps[-1].rpartition(",")[2].strip())


class Multiplication(GeneratedTask):
    """The task of ``g2rpo_env/Multiplication-v0``: long multiplication, one step per pair of digits.

    Args:
        digits: Digits of both numbers, an int or an inclusive range (low, high), within [1, 9].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by a hash of the unordered pair.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(
        self,
        digits: int | Sequence[int] = (3, 4),
        split: str = "train",
        **options: Unpack[GeneratedOptions],
    ) -> None:
        super().__init__(MultiplicationSource(digits, split), MarkVerifier(), **options)
