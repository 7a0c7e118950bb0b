"""The owner of the worker: right answers, limits, threads, copies, and a caller's timer that survives."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from g2rpo_env.envs.mathematics.pool import SymbolicWorker

pytest.importorskip("math_verify", reason="math-verify is not installed")


@pytest.fixture(scope="module")
def worker() -> Iterator[SymbolicWorker]:
    """One worker for all tests here."""
    worker = SymbolicWorker()
    yield worker
    worker.close()


def test_it_compares(worker: SymbolicWorker) -> None:
    assert worker.compare("x^2-1", "(x-1)(x+1)") == "equal"
    assert worker.compare("x^2-1", "(x+1)^2") == "different"
    assert worker.compare("x", "") == "unparseable answer"


def test_a_late_process_is_killed_and_the_next_call_gets_another() -> None:
    worker = SymbolicWorker(seconds=1.0)
    worker.compare("1", "1")
    first, started = worker.pid, time.monotonic()
    assert worker.compare("5", "9^{9^{9}}") in ("timeout", "unparseable answer", "different")
    assert worker.compare("5", r"\sum_{k=1}^{10^{9}}\frac{1}{k^2+\sin(k)}") == "timeout"
    assert time.monotonic() - started < 30 and worker.pid is None
    started = time.monotonic()
    assert worker.compare("x", "x") == "equal"
    assert time.monotonic() - started < 5 and worker.pid != first  # another fork of what is warm
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    last = worker.pid
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def test_a_process_that_somebody_killed_is_replaced(worker: SymbolicWorker) -> None:
    worker.compare("1", "1")
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert worker.compare("y", "y") == "equal"


def test_a_warm_process_that_somebody_killed_is_replaced() -> None:
    worker = SymbolicWorker()
    worker.compare("1", "1")
    worker._process.kill()
    worker._process.wait()
    assert worker.compare("y", "y") == "equal"
    worker.close()


def test_threads_and_a_timer_of_the_caller(worker: SymbolicWorker) -> None:
    fired: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(worker.compare("2x", "x+x"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.4)
    signal.signal(signal.SIGALRM, before)
    assert found == ["equal"] * 4 and fired == [1]


def test_the_memory_of_a_big_caller_is_not_that_of_its_worker() -> None:
    ballast = bytearray(700 << 20)  # the system counts it as the worker's own until that runs its own program
    worker = SymbolicWorker(memory_mib=2048)
    worker.compare("1", "1")
    assert worker.pid is not None and len(ballast) > 2048 << 18
    worker.close()


def test_a_copy_has_no_process(worker: SymbolicWorker) -> None:
    worker.compare("1", "1")
    assert worker.pid is not None and pickle.loads(pickle.dumps(worker)).pid is None
