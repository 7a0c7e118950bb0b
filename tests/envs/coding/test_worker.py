"""Parts of the worker that need no jail: deadlines of tests, doubts, printable messages."""

import resource
import signal
import time

import pytest

from g2rpo_env.envs.coding import worker
from g2rpo_env.envs.coding.exceptions import Obstacle
from g2rpo_env.envs.coding.references import Session
from g2rpo_env.envs.coding.stand_ins import Doubt


def test_tests_that_run_on_are_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(worker.Stop) as caught, worker.guard(0.1 - 1.0):
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # a Stop is none
                pass
    assert caught.value.outcome == "timeout" and time.monotonic() - started < 2


@pytest.mark.parametrize("seconds", [10.0, -0.5])
def test_an_alarm_while_the_guard_ends_leaves_no_timer_and_no_handler(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    set_timer, set_handler = signal.setitimer, signal.signal
    before, limits = signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_CPU)

    def set_timer_late(which: int, seconds: float) -> None:
        set_timer(which, seconds or 0.0)
        if not seconds:  # the alarm was on its way
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(worker.signal, "setitimer", set_timer_late)
    try:
        with worker.guard(seconds):
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        assert signal.getsignal(signal.SIGALRM) is before and resource.getrlimit(resource.RLIMIT_CPU) == limits
    finally:
        set_timer(signal.ITIMER_REAL, 0)
        set_handler(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_CPU, limits)


def test_messages_are_printable_and_bounded() -> None:
    assert worker.printable("a\x1b[2J\n\ud800é") == r"a\x1b[2J\n\ud800\xe9"
    assert len(worker.printable("é" * 1000)) == 400


def test_tests_are_not_charged_for_the_time_of_the_program() -> None:
    began = time.monotonic()
    with worker.guard(0.05 - 1.0, lambda: time.monotonic() - began):
        time.sleep(0.3)


def test_a_pass_by_the_programs_own_word_is_wrong_for_plain_data_and_no_verdict_for_objects() -> None:
    session = Session(lambda message: b"")
    session.doubts.append(Doubt("Any.__eq__", plain=True))
    assert worker.judge_doubts(session)[0] == "wrong"
    session.objects_wanted = True
    with pytest.raises(Obstacle, match="only the program's own Any.__eq__"):
        worker.judge_doubts(session)
