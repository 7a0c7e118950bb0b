"""The common part of all generated tasks: seeded problems without end, splits that never leak, answers behind a mark.

A problem's id is its own text, from which :meth:`GeneratedSource.get` makes it again: nothing is stored.
"""

from __future__ import annotations

import copy
import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import numpy as np

from g2rpo_env.envs.options import GeneratedOptions, accept_options, task_options
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.grading import with_grading
from g2rpo_env.problem import SPLITS, Problem, ProblemSource
from g2rpo_env.streams import Seed, stream, streams
from g2rpo_env.task import Task
from g2rpo_env.traces import with_traces
from g2rpo_env.verdict import Outcome, Verdict, Verifier

MARK = "#"
TRIES = 64
"""Numbers are tried so often for one structure before another structure is drawn."""

# Share of all structures, in percent, by a hash of each.
_SHARES = {"test": 10, "validation": 10, "warmstart": 20, "train": 60}
_SPLIT_OF_PERCENT = tuple(split for split, percent in _SHARES.items() for _ in range(percent))


def split_of(structure: str) -> str:
    """Return the split that all problems of a structure belong to."""
    return _SPLIT_OF_PERCENT[int.from_bytes(hashlib.sha256(structure.encode()).digest()[:8], "big") % 100]


class GeneratedSource(ABC):
    """Problems drawn at random, level by level; the splits share out their structures.

    Args:
        level: Range (low, high) of the level of difficulty, drawn uniformly, whatever a level is (digits, operations).
        split: One of :data:`g2rpo_env.problem.SPLITS`; the splits are disjoint by :meth:`structure`.
    """

    splits: tuple[str, ...] = SPLITS
    num_problems = None

    def __init__(self, level: tuple[int, int], split: str) -> None:
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        self.low, self.high = level
        self.split = split

    @abstractmethod
    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return the id of a random problem of a level, of any split."""

    @abstractmethod
    def structure(self, problem_id: str) -> str:
        """Return the part of a problem that must not be in two splits."""

    @abstractmethod
    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""

    @abstractmethod
    def longest(self) -> Iterable[Problem]:
        """Return texts as long as the longest prompt and the longest solution; they need not be problems."""

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem of the seeded order; never one of another split."""
        return self._draw(stream(seed, "problem", index))

    def draw_many(self, seed: Seed, indices: Sequence[int]) -> list[str]:
        """Return the problem of :meth:`draw` for each index, several times as fast."""
        if not self._draws_as(type(self)):
            return [self.draw(seed, index) for index in indices]
        return [self._draw(random) for random in streams(seed, "problem", indices)]

    def _draws_as(self, known: Any) -> bool:  # a class, abstract ones too
        """Whether ``draw`` is the one of this class and its samples are those of a known one: no order of its own."""
        own = getattr(self.draw, "__func__", None) is GeneratedSource.draw
        return own and type(self).sample is known.sample and type(self).structure is known.structure

    def _draw(self, random: np.random.Generator) -> str:
        # Where there is one level there is nothing to draw, and numpy takes no number from the stream either.
        level = self.low if self.low == self.high else int(random.integers(self.low, self.high + 1))
        while True:
            problem_id = self.sample(random, level)
            if split_of(self.structure(problem_id)) == self.split:
                return problem_id

    def with_split(self, split: str) -> GeneratedSource:
        """Return the same source on another split; raises ConfigurationError if there is none of that name."""
        other = copy.copy(self)
        GeneratedSource.__init__(other, (self.low, self.high), split)
        return other


def level_range(name: str, level: int | Sequence[int], least: int, most: int) -> tuple[int, int]:
    """Return a level or an inclusive range of levels as (low, high).

    Raises:
        ConfigurationError: it is neither, or leaves [least, most].
    """
    try:
        low, high = (operator.index(n) for n in (level if isinstance(level, Sequence) else (level, level)))
    except (TypeError, ValueError):  # not two, or no ints
        low, high = least - 1, least - 1
    if not least <= low <= high <= most:
        raise ConfigurationError(
            f"{name}={level!r} must be an int or an inclusive range (low, high) within [{least}, {most}]"
        )
    return low, high


def default_budget(source: ProblemSource, max_new_tokens: int | None) -> int:
    """Return the budget of sampled tokens: by default the longest solution, its end token and 4 more."""
    longest = max(len(problem.solution) for problem in source.longest())
    return longest + 5 if max_new_tokens is None else max_new_tokens


class GeneratedTask(Task):
    """A task over generated problems, the base of them all: it follows the options that they share.

    Args:
        source: Where problems come from.
        verifier: Grades completions in batches.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(self, source: ProblemSource, verifier: Verifier, **options: Unpack[GeneratedOptions]) -> None:
        source = with_traces(source, options["traces"])
        super().__init__(
            source,
            with_grading(verifier, options["grading"], source.split),
            max_new_tokens=default_budget(source, options["max_new_tokens"]),
            **task_options(options),
        )


class MarkVerifier:
    """Correct if what stands behind the last ``#``, up to the end, is the answer, character for character."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion."""
        return [self._grade(p.answer, c) for p, c in zip(problems, completions, strict=True)]

    @staticmethod
    def _grade(gold: str, completion: str) -> Verdict:
        _, mark, answer = completion.rpartition(MARK)
        if not mark:
            return Verdict(Outcome.NO_ANSWER)
        return Verdict(Outcome.CORRECT if answer == gold else Outcome.WRONG, answer)
