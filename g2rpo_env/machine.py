"""Machine: how many processor cores this process may use, and how many of them nobody else uses now."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
STAT, OWN_CGROUP = Path("/proc/stat"), Path("/proc/self/cgroup")

WATCHED = 0.25
"""Seconds in which :func:`idle_cores` watches the cores: 25 ticks of Linux's clock per core."""


def available_cores() -> int:
    """Return the number of cores this process may use, >= 1: by its affinity, and by the quota of its container."""
    count = getattr(os, "process_cpu_count", None)  # Python 3.13
    known = (count() if count else None) or len(_affinity()) or os.cpu_count() or 1
    quota = read_quota(CGROUPS, OWN_CGROUP)
    return known if quota >= known else max(1, math.ceil(quota))


def idle_cores(seconds: float = WATCHED) -> float:
    """Return how many of the cores this process may use are idle while it waits for some seconds, >= 0.

    Where the system does not tell (Linux does), the mean load of the last minute is taken off the number of cores.
    """
    before = _read_ticks()
    time.sleep(seconds if before else 0.0)
    idle = count_idle(before, _read_ticks(), _affinity())
    if idle is None:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        idle = max(0.0, available_cores() - load)
    return min(idle, float(available_cores()))


def count_idle(before: str, after: str, cores: set[int]) -> float | None:
    """Return the idle cores among some between two readings of ``/proc/stat``; None where those tell nothing.

    >>> count_idle("cpu0 10 0 0 90 0\\ncpu1 0 0 0 100 0", "cpu0 20 0 0 90 0\\ncpu1 0 0 0 105 5", {0, 1})
    1.0
    """
    first, last = _parse_ticks(before), _parse_ticks(after)
    shares = []
    for core in cores & first.keys() & last.keys():
        idle, total = (last[core][n] - first[core][n] for n in (0, 1))
        if total > 0:
            shares.append(idle / total)
    return sum(shares) if shares else None


def read_quota(root: Path, own: Path) -> float:
    """Return the cores that the control groups of this process grant it, > 0; infinity where they set no limit.

    Args:
        root: Where control groups are mounted.
        own: File that names those of this process.
    """
    try:
        paths = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return math.inf
    folders = []
    for _, kinds, path in (row for row in paths if len(row) == 3):
        if kinds and "cpu" not in kinds.split(","):
            continue
        mounted = root / kinds if kinds else root
        parts = [part for part in path.split("/") if part not in ("", "..")]
        folders += [mounted.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
        folders += [root / "cpu"] if kinds else []
    return min(map(_read_limit, folders), default=math.inf)


def _read_limit(folder: Path) -> float:
    """Return the cores that one control group grants, of version 2 or 1."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        granted = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return math.inf
    return granted if granted > 0 else math.inf  # version 1 says -1 for no limit


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _read_ticks() -> str:
    try:
        return STAT.read_text()
    except OSError:
        return ""


def _parse_ticks(text: str) -> dict[int, tuple[int, int]]:
    """Return core -> (idle ticks, all ticks) of ``/proc/stat``."""
    found = {}
    for line in text.splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            ticks = list(map(int, numbers[:8]))  # guests are counted under user already
            found[int(name[3:])] = sum(ticks[3:5]), sum(ticks)
    return found
