"""Grading: verdicts as they come in practice, where some wrong answers pass, a wrapper around any verifier.

A lenient judge, a test suite of one test, an answer that can be guessed: then a right verdict does not show that the
reasoning before it was right. Only the split ``train`` is graded so; on all others the verifier has the last word, so
what is measured is what a learner makes of bad verdicts.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.streams import stream
from g2rpo_env.traces import TAUGHT, as_options
from g2rpo_env.verdict import Outcome, Verdict, Verifier


@dataclass(frozen=True)
class Grading:
    """Wrong answers to training problems that pass; by itself none does. An answer that is not stated never passes.

    Args:
        passing: Share of the wrong answers that pass, in [0, 1]. Always the same answers to a problem.
        spot: A wrong answer also passes if one of its characters is right: the one at a place, counted from the end,
            that is drawn per problem. Always the same place of a problem.
        seed: Of the answers that pass and of the places that are looked at.

    Raises:
        ConfigurationError: ``passing`` is out of range.
    """

    passing: float = 0.0
    spot: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.passing <= 1:
            raise ConfigurationError(f"grading: passing={self.passing} must lie in [0, 1]")

    def passes(self, problem: Problem, answer: str) -> bool:
        """Whether a wrong answer passes."""
        name = zlib.crc32(problem.problem_id.encode())
        if self.spot:
            place = 1 + int(stream(self.seed, "spot", name).integers(len(problem.answer)))
            if answer[-place : len(answer) - place + 1] == problem.answer[-place]:
                return True
        return (
            self.passing > 0 and stream(self.seed, "passing", name, zlib.crc32(answer.encode())).random() < self.passing
        )


STRICT = Grading()
"""The verifier has the last word."""


def with_grading(verifier: Verifier, grading: Grading | Mapping[str, Any], split: str) -> Verifier:
    """Return a verifier that grades so; the verifier itself if no wrong answer passes.

    Args:
        verifier: Any verifier whose verdicts name the answer.
        grading: The options, or a dict of them.
        split: The split of the problems that it grades.

    Raises:
        ConfigurationError: an option is unknown or breaks its rule.
    """
    grading = as_options("grading", Grading, grading)
    return verifier if grading == Grading(seed=grading.seed) else GradedVerifier(verifier, grading, split)


@dataclass(frozen=True)
class GradedVerifier:
    """A verifier that lets wrong answers pass on training problems.

    Args:
        verifier: Any verifier.
        grading: The options.
        split: The split of the problems that it grades.
    """

    verifier: Verifier
    grading: Grading
    split: str

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion; those that pass without being right say so in their message."""
        verdicts = self.verifier(problems, completions)
        if self.split != TAUGHT:
            return list(verdicts)
        return [self._grade(*one) for one in zip(problems, verdicts, strict=True)]

    def _grade(self, problem: Problem, verdict: Verdict) -> Verdict:
        wrong = verdict.outcome is Outcome.WRONG and verdict.answer
        if not wrong or not self.grading.passes(problem, str(verdict.answer)):
            return verdict
        return dataclasses.replace(verdict, outcome=Outcome.CORRECT, message="wrong, but it passes")

    def with_split(self, split: str) -> GradedVerifier:
        """Return the same for problems of another split."""
        return dataclasses.replace(self, split=split)
