"""Time that a program used, slept or waited for a core."""

import os
import time
from collections import Counter

import pytest
from opening import opened

from g2rpo_env.envs.coding import CodeCheck, clock


def test_times_of_no_process_are_zero() -> None:
    assert clock.waiting_of(2**30) == 0.0 == clock.used_by(2**30)


def test_processor_time_is_counted() -> None:
    before, began = clock.used_by(os.getpid()), time.process_time()
    while time.process_time() < began + 0.1:
        pass
    assert 0.05 < clock.used_by(os.getpid()) - before < 1.0


def made(monkeypatch: pytest.MonkeyPatch, waited: float, used: float, limit: float = 0.05) -> clock.Clock:
    """Return a clock whose limit has passed, of a process that waited and used so many seconds."""
    monkeypatch.setattr(clock, "waiting_of", lambda pid: waited)
    monkeypatch.setattr(clock, "used_by", lambda pid: used)
    monkeypatch.setattr(clock, "_own_waiting", lambda: 0.0)
    found = clock.Clock(limit, 1)
    found.spent = limit
    return found


def test_time_is_over_for_what_ran_or_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, waited=0.0, used=0.0).is_over()  # it slept
    assert made(monkeypatch, waited=9.0, used=0.05).is_over()  # it ran, whatever its threads waited


def test_waiting_is_given_back_until_nobody_has_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(monkeypatch, waited=0.04, used=0.0)
    assert not found.is_over() and found.left() == pytest.approx(0.04)
    found.spent += 0.04
    assert found.is_over()  # no more than before
    starved = made(monkeypatch, waited=9.0, used=0.0)
    starved.spent = (clock.PATIENCE + 1) * 0.05
    with pytest.raises(TimeoutError, match="the machine is too busy"):
        starved.is_over()


def test_only_turns_of_the_program_count() -> None:
    found = clock.Clock(1.0, os.getpid())
    time.sleep(0.05)
    assert found.passed() == 0.0
    found.start()
    time.sleep(0.05)
    found.stop()
    time.sleep(0.05)
    assert 0.05 <= found.passed() < 0.5


SLOW = """
def f(n):
    total = 0
    for i in range(n): total += i
    return total
"""


@pytest.mark.long
def test_many_workers_on_few_cores_time_nobody_out_but_those_that_sleep_or_loop() -> None:
    test = "def check(candidate):\n    assert candidate(2_000_000) == 1999999000000\n"
    good = CodeCheck(SLOW, entry_point="f", test=test)
    sleeps = CodeCheck("import time\ndef f(n): time.sleep(60)", entry_point="f", test=test)
    loops = CodeCheck("def f(n):\n    while True: pass", entry_point="f", test=test)
    threads = CodeCheck(
        "import threading, time\ndef work():\n    while True: pass\n"
        "def f(n):\n    for _ in range(20): threading.Thread(target=work, daemon=True).start()\n    time.sleep(60)",
        entry_point="f",
        test=test,
    )
    with opened(workers=40, timeout=1.0) as box:
        verdicts = box.check([good] * 36 + [sleeps, loops, threads])
    assert [v.outcome for v in verdicts[36:]] == ["timeout"] * 3, verdicts[36:]
    assert set(Counter(v.outcome for v in verdicts[:36])) <= {"passed", "sandbox_error"}
