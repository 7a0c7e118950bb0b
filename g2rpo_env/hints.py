"""Hints: texts that help with a problem and are no part of its solution, given to the problems of any source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from g2rpo_env.problem import Problem, ProblemSource, WrappedSource
from g2rpo_env.streams import Seed


@dataclass
class Hinted(WrappedSource):
    """A source whose problems have hints; guidance with ``place="hint"`` puts them into the prompt.

    Guide (arXiv 2506.13923) has them written by a larger model, one per problem (third-party).

    Args:
        source: Any source, of any split.
        hints: problem_id -> hint, or a function of the problem; problems that are not in the mapping have none. Its
            lines are what the unit ``steps`` counts.

    >>> from g2rpo_env.envs.arithmetic import AdditionSource
    >>> Hinted(AdditionSource(2), lambda problem: f"The sum has {len(problem.answer)} digits.").get("58+67").hint
    'The sum has 3 digits.'
    """

    hints: Mapping[str, str] | Callable[[Problem], str] = field(default_factory=dict)

    @property
    def num_problems(self) -> int | None:
        """Number of problems of this split."""
        return self.source.num_problems

    def get(self, problem_id: str) -> Problem:
        """Return the problem of that name with its hint; raises UnknownProblemError."""
        return self._add_hint(self.source.get(problem_id))

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem of the source."""
        return self.source.draw(seed, index)

    def longest(self) -> Iterable[Problem]:
        """Return problems among which the longest are found, and for a mapping the longest hint on each of them."""
        problems = [self._add_hint(problem) for problem in self.source.longest()]
        if callable(self.hints) or self.source.num_problems is not None or not self.hints:
            return problems
        hint = max(self.hints.values(), key=lambda text: len(text.encode()))
        return [replace(problem, hint=hint) for problem in problems]

    def with_split(self, split: str) -> ProblemSource:
        """Return another split with the same hints."""
        return Hinted(self.source.with_split(split), self.hints)

    def _add_hint(self, problem: Problem) -> Problem:
        hint = self.hints(problem) if callable(self.hints) else self.hints.get(problem.problem_id, "")
        return replace(problem, hint=hint)
