"""The time of a program: what it ran and slept counts, what it waited for a core does not.

A busy machine must not turn right programs into timeouts, and a program must not be able to pass its time off as
waiting. Linux tells both apart: the seconds that a process used, and those that its threads were ready and had no core.
Standard library only.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

PATIENCE = 20
"""Limits that may pass on the clock, for a program that waited for most of them."""


def waiting_of(pid: int | str) -> float:
    """Return how long a process has waited for a core: the most of its threads, in seconds; 0 where nobody says."""
    most = 0.0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                most = max(most, int(file.read().split()[1]) / 1e9)
    except (OSError, IndexError, ValueError):
        pass
    return most


def used_by(pid: int | str) -> float:
    """Return the processor time of a process with all its threads, in seconds; 0 where nobody says."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


class Clock:
    """The time that a program has left, on whose turn it runs.

    Args:
        limit: Seconds that it may take.
        pid: Its process.
    """

    def __init__(self, limit: float, pid: int) -> None:
        self.limit, self.pid = limit, pid
        self.spent = 0.0
        """Seconds of turns that are over."""
        self.excused = 0.0
        """Seconds of waiting that have been given back."""
        self.began: float | None = None
        self.mine = _own_waiting()

    def start(self) -> None:
        """Begin a turn of the program."""
        if self.began is None:
            self.began = time.monotonic()

    def stop(self) -> None:
        """End its turn."""
        self.spent = self.passed()
        self.began = None

    def passed(self) -> float:
        """Return the seconds of all its turns."""
        return self.spent + (time.monotonic() - self.began if self.began is not None else 0.0)

    def left(self) -> float:
        """Return how long to wait before asking again whether its time is over, in seconds."""
        return max(0.0, self.limit + self.excused - self.passed())

    def waited(self) -> float:
        """Return how long this process has waited for a core since the clock was made, in seconds."""
        return _own_waiting() - self.mine

    def is_over(self) -> bool:
        """Return whether its time is over; what it or this process waited for a core is given back.

        Raises:
            TimeoutError: it has not had its time, and the machine is too busy to go on.
        """
        if self.left() > 0:
            return False
        waited = waiting_of(self.pid) + self.waited()
        if used_by(self.pid) >= self.limit:
            return True
        gained = min(waited, self.passed()) - self.excused
        if gained < 0.02 * self.limit:
            return True
        self.excused += gained
        if self.passed() > PATIENCE * self.limit:
            raise TimeoutError(
                f"the machine is too busy: of {self.passed():.0f} s the program waited {self.excused:.0f} s for a core"
            )
        return False


@lru_cache(maxsize=1)
def _own_stat(pid: int) -> int:
    """Return a descriptor that tells of the times of this process; opening it takes longer than all the rest."""
    return os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)


def _own_waiting() -> float:
    """Return how long this process has waited for a core, in seconds."""
    try:
        return int(os.pread(_own_stat(os.getpid()), 100, 0).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
