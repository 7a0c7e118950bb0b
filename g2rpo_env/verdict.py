"""The verdict on one completion, and the protocol of verifiers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from g2rpo_env.problem import Problem


class Outcome(StrEnum):
    """Finding of a verifier. Only ``ERROR`` makes an episode invalid."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    """The completion holds no final answer; graded as wrong."""
    ERROR = "error"
    """The verifier itself failed: the episode says nothing about the policy, and agents drop it."""


@dataclass(frozen=True)
class Verdict:
    """Judgement of a verifier on one completion.

    Attributes:
        outcome: See :class:`Outcome`.
        answer: The final answer that was found in the completion, or None.
        message: A short explanation for people, such as the error of the verifier.
        score: Reward where a task grades by degrees; None means 1.0 for correct and 0.0 otherwise.
        seconds: Wall-clock time; left out of equality, because it differs between equal runs.
    """

    outcome: Outcome
    answer: str | None = None
    message: str = ""
    score: float | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def correct(self) -> bool:
        """Whether the final answer is right."""
        return self.outcome is Outcome.CORRECT

    @property
    def valid(self) -> bool:
        """Whether the verdict says something about the completion (False: the verifier failed)."""
        return self.outcome is not Outcome.ERROR

    @property
    def reward(self) -> float:
        """The reward of the episode: ``score`` if the task gives one, else 1.0 if correct, else 0.0."""
        return float(self.correct) if self.score is None else float(self.score)


_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def is_shown(answer: str | None, text: str) -> bool:
    """Whether an answer stands in a text: as a number, or as it is where it is more than one number.

    An answer without a number, such as a letter, never does. A comma may separate thousands or numbers: ``16,1692``
    shows 16, 1692 and 161692.

    >>> is_shown("1692", "16,1692"), is_shown("69", "16,1692"), is_shown("A", "A")
    (True, False, False)
    """
    found = _NUMBER.findall(answer or "")
    if not found:
        return False
    if len(found) > 1:
        return str(answer) in text
    numbers = _NUMBER.findall(text)
    shown = {one for number in numbers for one in (number.replace(",", ""), *number.split(","))}
    return found[0].replace(",", "") in shown


class Verifier(Protocol):
    """Grades completions in batches. Must be picklable and must not keep state between calls."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per (problem, completion), in order."""
        ...
