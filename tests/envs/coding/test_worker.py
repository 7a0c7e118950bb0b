"""Parts of the worker that need no jail: deadlines of tests, doubts, printable messages."""

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
