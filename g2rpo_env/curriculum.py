"""Order of problems: easy ones first, a wrapper around any source. Pure functions of (seed, index), as every order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem, ProblemSource, distinct_ids
from g2rpo_env.streams import Seed, stream

Difficulty = Callable[[Problem], float]
"""What a problem is ordered by; low is early."""


def solution_length(problem: Problem) -> float:
    """Return the number of characters of the solution: a difficulty that needs no model."""
    return float(len(problem.solution))


@dataclass(frozen=True)
class Measured:
    """Difficulty as one less the success that some policy had.

    Args:
        success: problem_id -> success in [0, 1], from an evaluation or from a first epoch.
        unknown: Success assumed for all others.

    Raises:
        ConfigurationError: a success lies outside [0, 1].

    >>> Measured({"p": 0.75})(Problem("p", "1+1=", (), "2", "2"))
    0.25
    """

    success: Mapping[str, float]
    unknown: float = 0.5

    def __post_init__(self) -> None:
        for problem_id, value in {**self.success, "unknown": self.unknown}.items():
            if not 0 <= value <= 1:
                raise ConfigurationError(f"success of {problem_id!r} is {value}; it must lie in [0, 1]")

    def __call__(self, problem: Problem) -> float:
        """Return the difficulty of a problem."""
        return 1 - self.success.get(problem.problem_id, self.unknown)


@dataclass
class _Wrapped:
    """A source around another one: everything but the order comes from it."""

    source: ProblemSource
    difficulty: Difficulty = solution_length

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


@dataclass
class Curriculum(_Wrapped):
    """A finite source from easy to hard: tiers of rising difficulty, a new seeded order inside each tier every epoch.

    The curriculum of G²RPO-A orders its 1,000 problems in five tiers of 200 by where they come from (third-party: notes
    of an independent reproduction). Deviation: tiers are of equal size (but for rounding) by a difficulty of yours.

    Args:
        source: A source that knows its number of problems.
        difficulty: Problem -> number; problems of equal difficulty are ordered by id.
        tiers: Number of tiers, >= 1; 1 is a random order, the number of problems a sorted one.

    Raises:
        ConfigurationError: the source is endless, or ``tiers`` breaks its rule.
    """

    tiers: int = 5
    _ids: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = self.source.num_problems
        if size is None:
            raise ConfigurationError(
                f"{type(self.source).__name__} does not know its number of problems and cannot be sorted; use Ramp"
            )
        if not 1 <= self.tiers <= size:
            raise ConfigurationError(f"tiers={self.tiers} must lie in [1, {size}], the number of problems")
        ids = distinct_ids(self.source, size, 0)
        self._ids = sorted(ids, key=lambda name: (self.difficulty(self.source.get(name)), name))

    @property
    def num_problems(self) -> int:
        """Number of problems of this split."""
        return len(self._ids)

    def tier(self, position: int) -> tuple[int, int, int]:
        """Return the tier of a position within an epoch: its number, its first position, its end."""
        size = len(self._ids)
        number = ((position + 1) * self.tiers - 1) // size
        return number, number * size // self.tiers, (number + 1) * size // self.tiers

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem, epoch after epoch."""
        epoch, position = divmod(index, len(self._ids))
        number, first, end = self.tier(position)
        order = stream(seed, "tier", epoch, number).permutation(end - first)
        return self._ids[first + int(order[position - first])]

    def with_split(self, split: str) -> Curriculum:
        """Return the same order of another split, with as many tiers as it has problems if those are fewer."""
        other = self.source.with_split(split)
        return Curriculum(other, self.difficulty, min(self.tiers, other.num_problems or self.tiers))


@dataclass
class Ramp(_Wrapped):
    """An endless source from easy to hard: of some candidates the one of a rank that rises with the index.

    Draw number i looks at ``candidates`` draws of the source and takes the easiest at i = 0, the hardest from
    i = ``span`` on, a rank in proportion between; its difficulty scatters as the source's does.

    Args:
        source: Any source.
        difficulty: Problem -> number.
        candidates: Draws to choose from, >= 2.
        span: Draws until the hardest is taken, >= 1. A draw is a group, not an episode.

    Raises:
        ConfigurationError: a number breaks its rule.
    """

    candidates: int = 5
    span: int = 1000

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ConfigurationError(f"candidates={self.candidates} must be at least 2")
        if self.span < 1:
            raise ConfigurationError(f"span={self.span} must be at least 1")

    @property
    def num_problems(self) -> None:
        """Not known: a draw may repeat before all have come."""
        return None

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem."""
        ids = [self.source.draw(seed, index * self.candidates + i) for i in range(self.candidates)]
        ids.sort(key=lambda name: (self.difficulty(self.source.get(name)), name))
        return ids[min(index * self.candidates // self.span, self.candidates - 1)]

    def with_split(self, split: str) -> Ramp:
        """Return the same ramp over another split."""
        return Ramp(self.source.with_split(split), self.difficulty, self.candidates, self.span)
