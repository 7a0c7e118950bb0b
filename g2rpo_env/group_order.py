"""The seeded order of groups: their numbers, their problems, and who may still join them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import fresh_seed
from g2rpo_env.task import Task

AHEAD = 256
"""So many groups are drawn ahead at most."""

MANY = 16_384
"""With more problems than this in store, all are drawn again as they are needed."""

OpenGroups = dict[str, list[tuple[int, set[int]]]]
"""Problem -> its groups that may still take members: (group, members that have started)."""


class GroupOrder:
    """The groups that one process starts, in order: the n-th one has the number ``n * world_size + rank``.

    The problem of a group is a pure function of the source, the root seed and the number, so that groups may be drawn
    ahead, and a group never spans processes.

    Args:
        group_size: Members per group.
        rank: This process among ``world_size``.
        world_size: Number of processes.

    Attributes:
        root: Root seed; None before the first :meth:`reseed`.
        counter: Number of groups that were taken so far.

    Raises:
        ConfigurationError: ``rank`` breaks its rule.
    """

    def __init__(self, group_size: int, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ConfigurationError(f"rank={rank} must lie in [0, world_size={world_size})")
        self.group_size, self.rank, self.world_size = group_size, rank, world_size
        self.root: Any = None
        self.counter = 0
        self._open: OpenGroups = {}
        self._ahead: dict[int, str] = {}
        self._ahead_of: tuple[Any, Any] = (None, None)
        """The source and the root seed of the problems that were drawn ahead."""

    def reseed(self, seed: int | Sequence[int] | None) -> None:
        """Begin a new order; None takes a seed from the operating system.

        Raises:
            ConfigurationError: the seed is negative.
        """
        self.root = fresh_seed() if seed is None else _root_seed(seed)
        self.counter = 0
        self.close_all()

    def take(self) -> int:
        """Take the next group and return its number."""
        self.counter += 1
        return self._number(self.counter - 1)

    def _number(self, position: int) -> int:
        return position * self.world_size + self.rank

    def check_taken(self, numbers: Sequence[int], name: str) -> None:
        """Raise ConfigurationError, with the name of the argument, unless this process took all these groups."""
        for number in numbers:
            position, rank = divmod(number, self.world_size)
            if number < 0 or rank != self.rank or position >= self.counter:
                raise ConfigurationError(
                    f"{name}={number} must be a number that take_groups() gave since the last seed"
                )

    def problems(self, task: Task, numbers: Sequence[int]) -> list[str]:
        """Return the problems of some groups; a source that draws many at once is asked for the next ones as well."""
        source = task.source
        if not hasattr(source, "draw_many"):
            problem_of = {number: source.draw(self.root, number) for number in dict.fromkeys(numbers)}
            return [problem_of[number] for number in numbers]
        if self._ahead_of[0] is not source or self._ahead_of[1] is not self.root or len(self._ahead) > MANY:
            self._ahead_of = source, self.root
            self._ahead.clear()
        missing = [number for number in dict.fromkeys(numbers) if number not in self._ahead]
        if missing:
            # As many more as there were before, up to a bound: nobody waits long for problems that nobody needs.
            more = range(self.counter, self.counter + min(self.counter - len(missing), AHEAD))
            missing += [self._number(position) for position in more]
            self._ahead.update(zip(missing, source.draw_many(self.root, missing), strict=True))
            task.prepare([self._ahead[number] for number in missing])
        return [self._ahead[number] for number in numbers]

    def join(self, problem_id: str, member: int) -> int:
        """Return the newest open group of the problem that still lacks this member, or a new one."""
        waiting = self._open.setdefault(problem_id, [])
        entry = next((entry for entry in reversed(waiting) if member not in entry[1]), None)
        if entry is None:
            entry = self.take(), set()
            waiting.append(entry)
        number, started = entry
        started.add(member)
        if len(started) == self.group_size:
            waiting.remove(entry)
        if not waiting:
            del self._open[problem_id]
        return number

    def close_all(self) -> None:
        """Let nobody join the groups that are open."""
        self._open.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the order and the open groups, as plain data."""
        waiting = {p: [[number, sorted(members)] for number, members in entries] for p, entries in self._open.items()}
        root = self.root if isinstance(self.root, int | None) else list(self.root)
        return {"root": root, "counter": self.counter, "open": waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        self.root, self.counter = state["root"], state["counter"]
        self._open = {
            p: [(number, set(members)) for number, members in entries] for p, entries in state["open"].items()
        }


def _root_seed(seed: int | Sequence[int]) -> int | list[int]:
    root = int(seed) if isinstance(seed, int | np.integer) else [int(s) for s in seed]
    if np.min(root, initial=0) < 0:
        raise ConfigurationError(f"seed={seed} must be at least 0")
    return root
