"""Order of problems: easy ones first, hopeless ones later. Wrappers around any source.

Pure functions of (seed, index), as every order; :class:`Readmitting` also of its records, which change between updates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from g2rpo_env.controllers.base import Feedback
from g2rpo_env.controllers.per_problem import remember
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem, ProblemSource, WrappedSource, distinct_ids
from g2rpo_env.streams import Seed, stream

Difficulty = Callable[[Problem], float]
"""Problem -> number to order it by; low is early."""


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
class _ByDifficulty(WrappedSource):
    """A source in the order of a difficulty."""

    difficulty: Difficulty = solution_length


@dataclass
class Curriculum(_ByDifficulty):
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
class Ramp(_ByDifficulty):
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


@dataclass
class Without(WrappedSource):
    """A source that passes over some problems: another one is drawn in the place of each.

    A pure function of (seed, index) and of the problems that are passed over: draws of others stay what they were, and
    while nothing is dropped it is the order of ``source``. What it passes over can still be looked up, since groups of
    earlier updates may be of it.

    Args:
        source: Any source.
        dropped: Ids of the problems that are passed over; others may be among them.
        candidates: Draws to find a problem in the place of a dropped one, >= 1; if there is none, that one comes all
            the same.

    Raises:
        ConfigurationError: ``dropped`` is one text, or ``candidates`` breaks its rule.
    """

    dropped: Collection[str] = frozenset()
    candidates: int = 64

    def __post_init__(self) -> None:
        if isinstance(self.dropped, str):  # its letters would be the problems
            raise ConfigurationError(f"dropped={self.dropped!r:.60} must be a collection of problem ids")
        if self.candidates < 1:
            raise ConfigurationError(f"candidates={self.candidates} must be at least 1")
        self.dropped = frozenset(self.dropped)

    @property
    def num_problems(self) -> int | None:
        """Number of problems of this split, passed over or not."""
        return self.source.num_problems

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem, or another one where that is dropped."""
        first = self.source.draw(seed, index)
        if first not in self.dropped:
            return first
        other = [*([seed] if isinstance(seed, int) else seed), 2]
        candidates = (self.source.draw(other, index * self.candidates + i) for i in range(self.candidates))
        return next((problem_id for problem_id in candidates if problem_id not in self.dropped), first)

    def with_split(self, split: str) -> ProblemSource:
        """Return the plain source of another split: nothing is dropped there."""
        return self.source.with_split(split)


@runtime_checkable
class LearningSource(Protocol):
    """A source whose order follows the success; :func:`g2rpo_env.guidance.give_feedback` calls it after each update.

    It may lie below other sources that have it as their ``source``, as in ``Ramp(Readmitting(...))``.
    """

    @property
    def set_aside(self) -> list[str]:
        """The problems that are not drawn for now."""
        ...

    def learn(self, feedback: Feedback) -> None:
        """Take the episodes of one update."""
        ...

    def take_plan(self, tokens: Mapping[str, int]) -> None:
        """Take the tokens of guidance that each problem set aside would be shown now; empty without guidance."""
        ...


@dataclass
class Record:
    """The history of a problem that nobody has solved since it was last drawn.

    Attributes:
        failures: Visits in a row without a right answer.
        shown: The most tokens of guidance that any of these visits had.
        returns: Number of the update from which it comes back whatever guidance does; -1 while it is not set aside.
        rests: Number of times that it was set aside.
        planned: Tokens of guidance that it would be shown now; 0 while it is not set aside.
    """

    failures: int = 0
    shown: int = 0
    returns: int = -1
    rests: int = 0
    planned: int = 0


@dataclass
class Readmitting(WrappedSource):
    """Sets problems aside that nobody solves, and takes them back once guidance may make them solvable.

    A group without a right answer teaches nothing, guided or not. After ``patience`` visits in a row without one a
    problem is passed over, and another one is drawn in its place. It comes back

    * when the controller would show it more than any of these visits saw, by ``more`` tokens or more, or
    * after ``rest`` updates, twice as many each time it fails again (at most 64 times as many): ability grows too.

    One right answer, guided or not, clears its record. The observation behind it is the paper's (arXiv 2508.13023, as a
    press article gives it): hard problems become useful once they are guided. The rule is our own.

    A training loop hands it the episodes of each update (:func:`g2rpo_env.guidance.give_feedback`), as GRPO and the
    adapters of TRL and Stable-Baselines3 do. The order stays a pure function of (seed, index) and the records, which
    change between updates only and are saved with the environment. While nothing is set aside it is the order of
    ``source``.

    Args:
        source: Any source.
        patience: Visits without a right answer, >= 1.
        rest: Updates, >= 1.
        more: Tokens, >= 1.
        candidates: Draws to find a problem that is not set aside, >= 1; if there is none, the first one comes all the
            same.

    Raises:
        ConfigurationError: a number breaks its rule.
    """

    patience: int = 2
    rest: int = 20
    more: int = 1
    candidates: int = 8
    updates: int = field(default=0, init=False)
    records: dict[str, Record] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("patience", "rest", "more", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def num_problems(self) -> int | None:
        """Number of problems of this split, set aside or not."""
        return self.source.num_problems

    def admits(self, problem_id: str) -> bool:
        """Whether a problem may be drawn now."""
        record = self.records.get(problem_id)
        return record is None or not self._rests(record) or record.planned >= record.shown + self.more

    def _rests(self, record: Record) -> bool:
        return self.updates < record.returns

    @property
    def set_aside(self) -> list[str]:
        """The problems whose rest is not over; those among them that guidance would show more of are drawn again."""
        return [problem_id for problem_id, record in self.records.items() if self._rests(record)]

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem, or another one where that is set aside."""
        first = self.source.draw(seed, index)
        if self.admits(first):
            return first
        other = [*([seed] if isinstance(seed, int) else seed), 1]
        candidates = (self.source.draw(other, index * self.candidates + i) for i in range(self.candidates))
        return next((problem_id for problem_id in candidates if self.admits(problem_id)), first)

    def learn(self, feedback: Feedback) -> None:
        """Take the episodes of one update."""
        for problem_id in dict.fromkeys(feedback.problem_id.tolist()):
            mine = feedback.of_problem(problem_id)
            if not mine.valid.any():
                continue
            if (mine.correct[mine.valid] > 0).any():
                self.records.pop(problem_id, None)
                continue
            record = self.records.get(problem_id, Record())
            record.failures += 1
            record.shown = max(record.shown, int(mine.reveal.max()))
            if record.failures >= self.patience:
                record.returns = self.updates + 1 + self.rest * 2 ** min(record.rests, 6)
                record.rests += 1
            remember(self.records, problem_id, record)
        self.updates += 1

    def take_plan(self, tokens: Mapping[str, int]) -> None:
        """Take the tokens of guidance that each problem set aside would be shown now; empty without guidance."""
        for problem_id, record in self.records.items():
            record.planned = tokens.get(problem_id, 0)

    def with_split(self, split: str) -> ProblemSource:
        """Return the plain source of another split: nothing is set aside there."""
        return self.source.with_split(split)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and all records."""
        return {"updates": self.updates, "records": {key: asdict(record) for key, record in self.records.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.updates = state["updates"]
        self.records = {key: Record(**record) for key, record in state["records"].items()}
