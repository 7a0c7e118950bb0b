"""Judges: what parts ask about completions that a verifier does not say. Each is called with a problem and completions.

A :class:`Judge` says how far an answer gets, a :class:`AnswerJudge` whether its steps support what it states. Those
here are rules, for problems whose solutions come in steps of a known form; a model that is asked, or a rule of yours,
takes their place as any object with the same call. A judge that is a dataclass is saved with its recipe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem


class Judge(Protocol):
    """Says how far each completion gets. It may have ``needs``, as parts have."""

    def __call__(self, problem: Problem, completions: Sequence[str]) -> Sequence[float]:
        """Return one number in [0, 1] per completion, 1 for all of the way."""
        ...


@dataclass(frozen=True)
class Judged:
    """What an :class:`AnswerJudge` says of one completion; None where it cannot say.

    Attributes:
        consistent: Whether the steps lead to the final answer that is stated, right or wrong.
        reflects: Whether the completion goes back on a step of its own.
    """

    consistent: bool | None = None
    reflects: bool | None = None


class AnswerJudge(Protocol):
    """Says whether completions support their final answers. It may have ``needs``, as parts have."""

    def __call__(self, problem: Problem, completions: Sequence[str]) -> Sequence[Judged]:
        """Return one judgement per completion."""
        ...


# -- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepMatch:
    """Share of a completion that is whole ground-truth steps in their order, from its beginning, in characters.

    0 for an empty completion. A revealed part of the solution is a part of the completion, and counts.
    """

    needs = frozenset({"steps"})

    def __call__(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        """Return one number in [0, 1] per completion."""
        return [match_steps(problem.steps, completion) for completion in completions]


def match_steps(steps: Sequence[str], completion: str) -> float:
    """Return the share of a completion that is its longest prefix of whole steps, in characters.

    Args:
        steps: Ground-truth steps, separators included.
        completion: The text.

    >>> match_steps(("8+7+0=15\\n", "5+6+1=12\\n"), "8+7+0=15\\n5+6+1=11\\n#115") == 9 / 22
    True
    """
    length = 0
    for step in steps:
        if not completion.startswith(step, length):
            break
        length += len(step)
    return length / len(completion) if completion else 0.0


@dataclass(frozen=True)
class StatedResult:
    """Compares the result of the last step with the final answer, for tasks whose steps are ``left=value`` lines.

    Consistent: the last line with an equals sign ends in the stated answer. What ends a line is the text behind its
    last equals sign, or behind a comma after that, where tasks put a running result. Reflects: two lines have the same
    left side and different values. Where the rule does not find the ground truth itself consistent, as in column sums
    without running results, it cannot say of any completion.
    """

    needs = frozenset({"steps"})

    def __call__(self, problem: Problem, completions: Sequence[str]) -> list[Judged]:
        """Return one judgement per completion."""
        mark = problem.final.rpartition(problem.answer)[0].strip()
        known = is_consistent(problem.solution, mark) is True
        return [
            Judged(is_consistent(completion, mark) if known else None, is_corrected(completion))
            for completion in completions
        ]


def is_consistent(completion: str, mark: str) -> bool | None:
    """Whether the last step of a completion ends in its stated answer; None without a step, or without an answer.

    Args:
        completion: The text.
        mark: What stands before a final answer; the last one counts. Empty: no answer is found.

    >>> is_consistent("8+7+0=15,5\\n5+6+1=12,125\\n#125", "#"), is_consistent("17-2=15.\\n#### 16", "####")
    (True, False)
    """
    if not mark or mark not in completion:
        return None
    steps, _, stated = completion.rpartition(mark)
    lines = [line for line in steps.splitlines() if "=" in line]
    stated = "".join(stated.splitlines()[:1]).strip()
    if not lines or not stated:
        return None
    result = lines[-1].rpartition("=")[2].strip(" .")
    return any(is_same_number(text, stated) for text in (result, result.rpartition(",")[2]))


def is_same_number(text: str, other: str) -> bool:
    """Whether two texts are equal, or are the same whole number.

    >>> is_same_number("07", "7"), is_same_number("x", "7")
    (True, False)
    """
    if text.isdecimal() and other.isdecimal():
        return int(text) == int(other)
    return text == other


def is_corrected(completion: str) -> bool | None:
    """Whether two lines of a completion give one left side different values; None without a line that has values.

    >>> is_corrected("5+6+1=11\\n5+6+1=12\\n"), is_corrected("5+6+1=12,2\\n5+6+1=12,122\\n"), is_corrected("none")
    (True, False, None)
    """
    values: dict[str, str] = {}
    corrected: bool | None = None
    for line in completion.splitlines():
        left, equals, rest = line.rpartition("=")
        if equals:
            value = rest.partition(",")[0].strip(" .")
            corrected = bool(corrected) or values.setdefault(left.strip(), value) != value
    return corrected


# -- asking -----------------------------------------------------------------------------------------------------------


def check_judge(judge: Any) -> None:
    """Raise ConfigurationError unless a judge can be called."""
    if isinstance(judge, type) or not callable(judge):
        raise ConfigurationError(f"judge={judge!r:.80} must be an object that is called with (problem, completions)")


def ask_progress(judge: Judge, problem: Problem, completions: Sequence[str]) -> np.ndarray:
    """Return what a judge says of completions, float64 (G,).

    Raises:
        ConfigurationError: it does not give one number in [0, 1] for each.
    """
    found = _ask(judge, problem, completions, "number in [0, 1]")
    for value in found:
        try:
            fits = math.isfinite(value) and 0 <= value <= 1
        except TypeError:
            fits = False
        if not fits:
            name = type(judge).__name__
            raise ConfigurationError(
                f"judge={name} must return one number in [0, 1] per completion; it returned {value!r:.40} for problem "
                f"{problem.problem_id!r}"
            )
    return np.array(found, np.float64)


def ask_answers(judge: AnswerJudge, problem: Problem, completions: Sequence[str]) -> list[Judged]:
    """Return what a judge says of completions.

    Raises:
        ConfigurationError: it does not give one judgement for each.
    """
    found = _ask(judge, problem, completions, "Judged")
    for value in found:
        if not isinstance(value, Judged):
            raise ConfigurationError(
                f"judge={type(judge).__name__} must return one Judged per completion; it returned {value!r:.40} for "
                f"problem {problem.problem_id!r}"
            )
    return found


def _ask(judge: Any, problem: Problem, completions: Sequence[str], what: str) -> list[Any]:
    name = type(judge).__name__
    try:
        found = judge(problem, completions)
    except Exception as error:
        raise ConfigurationError(
            f"judge={name} must return one {what} per completion; it raises {type(error).__name__} for problem "
            f"{problem.problem_id!r}: {error}"
        ) from error
    try:
        rows = list(found)
    except TypeError:
        raise ConfigurationError(
            f"judge={name} must return one {what} per completion; it returned {found!r:.40} for problem "
            f"{problem.problem_id!r}"
        ) from None
    if len(rows) != len(completions):
        raise ConfigurationError(
            f"judge={name} must return one {what} per completion; it returned {len(rows)} for {len(completions)} of "
            f"problem {problem.problem_id!r}"
        )
    return rows
