"""Traces: worked solutions as they come in practice, too few, wrong or too long, a wrapper around any source.

Only the solutions that training sees change, those of the split ``train``. Prompts, answers and so the verifier's
judgement stay right, and all other splits are left alone: what is measured is what a learner makes of bad teaching.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem, ProblemSource, WrappedSource, distinct_ids
from g2rpo_env.streams import Seed, stream

TAUGHT = "train"
"""The split whose solutions change."""


@runtime_checkable
class MistakenSource(Protocol):
    """A source that knows the typical mistake of its family."""

    def mistaken(self, problem: Problem) -> Problem:
        """Return the problem with the solution of someone who makes the mistake everywhere it can be made."""
        ...


@dataclass(frozen=True)
class Traces:
    """Changes to the worked solutions of the training problems; by itself none.

    Args:
        pool: Only so many training problems have a solution, >= 1; None for all.
        fresh: With a pool, the share of draws that are any problems of the split, in [0, 1]; those outside the pool
            have no solution, so nothing can be revealed, but their answers are verified. 0 draws from the pool alone,
            epoch after epoch.
        wrong_traces: Share of the problems whose solution makes its family's typical mistake from beginning to end, in
            [0, 1]: sums without carries, operations from left to right. It is consistent, and it ends wrong wherever
            the mistake matters. Always the same problems.
        wrong_steps: Share of the steps in which one digit is replaced by another one, in [0, 1]; what follows is as if
            it had been right. Always the same steps.
        repeats: Each step is written so often, >= 1: solutions longer than needed.
        seed: Of the pool, and of the solutions and steps that are wrong.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    pool: int | None = None
    fresh: float = 0.0
    wrong_traces: float = 0.0
    wrong_steps: float = 0.0
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("fresh", "wrong_traces", "wrong_steps"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"traces: {name}={getattr(self, name)} must lie in [0, 1]")
        if self.pool is not None and self.pool < 1:
            raise ConfigurationError(f"traces: pool={self.pool} must be None or at least 1")
        if self.fresh and self.pool is None:
            raise ConfigurationError(f"traces: fresh={self.fresh} needs a pool: without one all problems are solved")
        if self.repeats < 1:
            raise ConfigurationError(f"traces: repeats={self.repeats} must be at least 1")

    @property
    def plain(self) -> bool:
        """Whether solutions are left as they come."""
        return self == Traces(seed=self.seed)


AS_THEY_COME = Traces()
"""Solutions as the source gives them."""

Options = TypeVar("Options")


def as_options(name: str, kind: type[Options], given: Options | Mapping[str, Any]) -> Options:
    """Return options as an object of their dataclass, which may come as a dict, from a command line or a file.

    Args:
        name: Name of the options in messages.
        kind: The dataclass.
        given: The object, or a dict of its fields.

    Raises:
        ConfigurationError: a field is unknown or breaks its rule.
    """
    if isinstance(given, kind):
        return given
    # Any dataclass will do; the type that says so is in no package that can be required.
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    options = cast("Mapping[str, Any]", given)  # type checkers do not narrow a type variable
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigurationError(f"{name}: {unknown[0]!r} must be one of {', '.join(sorted(known))}")
    return kind(**options)


def with_traces(source: ProblemSource, traces: Traces | Mapping[str, Any]) -> ProblemSource:
    """Return a source with such solutions; the source itself if they are left as they come.

    Args:
        source: Any source.
        traces: The options, or a dict of them.

    Raises:
        ConfigurationError: an option is unknown or breaks its rule, or the source lacks what it needs.
    """
    traces = as_options("traces", Traces, traces)
    return source if traces.plain else TracedSource(source, traces)


class TracedSource(WrappedSource):
    """A source whose training solutions are changed as :class:`Traces` says.

    Args:
        source: Any source.
        traces: The options.

    Raises:
        ConfigurationError: ``wrong_traces`` without a :class:`MistakenSource`, a pool of more problems than there are.
    """

    def __init__(self, source: ProblemSource, traces: Traces) -> None:
        super().__init__(source)
        self.traces = traces
        if traces.wrong_traces and not isinstance(source, MistakenSource):
            raise ConfigurationError(
                f"traces: wrong_traces={traces.wrong_traces} needs a source with a method mistaken(problem), "
                f"{type(source).__name__} has none; wrong_steps works with every source"
            )
        self._pool: dict[str, None] = {}
        if self.taught and traces.pool is not None:
            self._pool = dict.fromkeys(distinct_ids(source, traces.pool, [traces.seed, 1]))
            if len(self._pool) < traces.pool:
                raise ConfigurationError(
                    f"traces: pool={traces.pool} must be at most {len(self._pool)}, the problems of {self.split!r}"
                )
        self._order = np.array(list(self._pool), dtype=object)

    @property
    def taught(self) -> bool:
        """Whether this split is the one whose solutions change."""
        return self.split == TAUGHT

    @property
    def num_problems(self) -> int | None:
        """Number of problems: the pool where nothing else is drawn."""
        return len(self._pool) if self._pool and not self.traces.fresh else self.source.num_problems

    def get(self, problem_id: str) -> Problem:
        """Return the problem of that name; raises UnknownProblemError."""
        problem = self.source.get(problem_id)
        if not self.taught:
            return problem
        if self._pool and problem_id not in self._pool:
            return dataclasses.replace(problem, steps=())
        return self._retell(problem)

    def _retell(self, problem: Problem) -> Problem:
        traces, key = self.traces, zlib.crc32(problem.problem_id.encode())
        if stream(traces.seed, "wrong trace", key).random() < traces.wrong_traces:
            problem = self.source.mistaken(problem)  # type: ignore[attr-defined]  # __init__ has seen to it
        steps = list(problem.steps)
        if traces.wrong_steps:
            random = stream(traces.seed, "wrong step", key)
            steps = [with_wrong_digit(s, random) if random.random() < traces.wrong_steps else s for s in steps]
        return dataclasses.replace(problem, steps=tuple(step for step in steps for _ in range(traces.repeats)))

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem; the pool comes epoch after epoch, fresh problems in between."""
        if not self._pool or stream(seed, "fresh", index).random() < self.traces.fresh:
            return self.source.draw(seed, index)
        epoch, position = divmod(index, len(self._order))
        return str(self._order[stream(seed, "pool", epoch).permutation(len(self._order))[position]])

    def longest(self) -> Iterable[Problem]:
        """Return texts as long as the longest prompt and the longest solution."""
        repeats = self.traces.repeats if self.taught else 1
        for problem in self.source.longest():
            yield dataclasses.replace(problem, steps=tuple(step for step in problem.steps for _ in range(repeats)))

    def with_split(self, split: str) -> TracedSource:
        """Return the same on another split; raises ConfigurationError if there is none."""
        return TracedSource(self.source.with_split(split), self.traces)


def with_wrong_digit(step: str, random: np.random.Generator) -> str:
    """Return a step with one of its digits replaced by another digit; as it is where it has none."""
    places = [i for i, character in enumerate(step) if character in "0123456789"]
    if not places:
        return step
    place = places[int(random.integers(len(places)))]
    wrong = (int(step[place]) + int(random.integers(1, 10))) % 10
    return f"{step[:place]}{wrong}{step[place + 1 :]}"
