"""A problem with its ground-truth steps, and the protocol of its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import Seed

SPLITS = ("train", "validation", "test", "warmstart")
"""Names of the splits. ``warmstart`` is what supervised warm starts train on; a source may serve ``train`` for it."""


@dataclass(frozen=True)
class Problem:
    """One problem.

    ``solution`` = all steps, then ``final``; guidance reveals a prefix of the steps and never ``final``.

    Attributes:
        problem_id: Unique name inside its source, stable between runs.
        prompt: Text the policy starts from.
        steps: Ground-truth reasoning, one text per step, separators included.
        final: Text that states the final answer, such as ``"#### 72"``.
        answer: The bare answer, such as ``"72"``, what a verifier compares with.
        aliases: Other texts that give the answer away, such as that of the right option where ``answer`` is its
            letter; ``reveal_cap="before_answer"`` stops before them too.
        level: How hard the problem is where the source says or has measured it, greater = harder, in units of the
            source: a level, or the share of tries that failed. None if it does not say.
        hint: A text that helps and is no part of the solution; guidance may put it into the prompt. Empty: none.

    Raises:
        ConfigurationError: ``steps`` is one text.
    """

    problem_id: str
    prompt: str
    steps: tuple[str, ...]
    final: str
    answer: str
    aliases: tuple[str, ...] = ()
    level: float | None = None
    hint: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.steps, str):  # its letters would be the steps
            raise ConfigurationError(
                f"steps={self.steps!r:.60} of problem {self.problem_id!r} must be a tuple, a text per step"
            )

    @property
    def difficulty(self) -> float:
        """Key that curricula sort by, greater = harder: the level, or the number of steps where the source has none."""
        return float(len(self.steps)) if self.level is None else self.level

    @property
    def solution(self) -> str:
        """The ground-truth completion."""
        return "".join(self.steps) + self.final


class ProblemSource(Protocol):
    """Origin of problems: a generator or a data set.

    A source keeps no position: ``draw`` is a pure function of (seed, index), and the environment counts. That makes
    every order seeded and resumable with two integers. A source for which many draws at once are faster than one by one
    may offer ``draw_many(seed, indices) -> ids``; a vector environment then draws ahead.
    """

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""
        ...

    @property
    def num_problems(self) -> int | None:
        """Number of distinct problems of this split; None if it is not known (generated problems)."""
        ...

    def get(self, problem_id: str) -> Problem:
        """Return the problem of that name; raises UnknownProblemError."""
        ...

    def draw(self, seed: Seed, index: int) -> str:
        """Return the id of the index-th problem in the endless seeded order (epoch after epoch if finite)."""
        ...

    def longest(self) -> Iterable[Problem]:
        """Return problems among which the longest prompt and the longest solution are found."""
        ...

    def with_split(self, split: str) -> ProblemSource:
        """Return the same source on another split; raises ConfigurationError if there is none."""
        ...


@dataclass
class WrappedSource:
    """A source around another one: everything but the order, and what a subclass says, comes from that one."""

    source: ProblemSource

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.source.split

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""
        return self.source.splits

    def get(self, problem_id: str) -> Problem:
        """Return the problem of that name; raises UnknownProblemError."""
        return self.source.get(problem_id)

    def longest(self) -> Iterable[Problem]:
        """Return problems among which the longest are found."""
        return self.source.longest()


def walk_sources(source: ProblemSource) -> Iterator[ProblemSource]:
    """Yield a source and the sources that it wraps, the outermost first: whatever has the next one as ``source``.

    >>> from g2rpo_env.curriculum import Ramp
    >>> from g2rpo_env.envs.arithmetic import AdditionSource
    >>> [type(one).__name__ for one in walk_sources(Ramp(AdditionSource(2)))]
    ['Ramp', 'AdditionSource']
    """
    inner: ProblemSource | None = source
    while inner is not None:
        yield inner
        below = getattr(inner, "source", None)
        inner = below if hasattr(below, "draw") else None  # the ``source`` of a data set may be a name


def distinct_ids(source: ProblemSource, count: int, seed: Seed) -> list[str]:
    """Return up to ``count`` distinct problem ids in seeded order (fewer if the split holds fewer).

    Raises:
        ConfigurationError: ``count`` is below 1.
    """
    if count < 1:
        raise ConfigurationError(f"problems={count} must be at least 1")
    if source.num_problems is not None:
        count = min(count, source.num_problems)
    seen: dict[str, None] = {}
    index = 0
    # A generated split of unknown size may hold fewer than asked for: give up after many repeats in a row.
    patience = 0
    while len(seen) < count and patience < 1000:
        problem_id = source.draw(seed, index)
        patience = patience + 1 if problem_id in seen else 0
        seen[problem_id] = None
        index += 1
    return list(seen)
