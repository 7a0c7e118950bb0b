"""Parts of the worker that need no jail: exceptions from afar, bounded folders, deadlines, printable messages."""

import time

import pytest

from g2rpo_env.envs.coding import worker
from g2rpo_env.envs.coding.trial import CandidateError


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (["ValueError", "ValueError", "no"], ValueError),
        (["Own", "ValueError", "no"], CandidateError),  # its own class, which only claims to be builtin
        (["SystemExit", "SystemExit", "0"], CandidateError),  # would end the worker's tests
        (["UnicodeDecodeError", "UnicodeDecodeError", ""], CandidateError),  # takes five arguments
        (["eval", "eval", "1"], CandidateError),
        ([], CandidateError),
    ],
)
def test_exceptions_from_afar_are_builtin_or_ours(parts: list, kind: type) -> None:
    assert type(worker.exception_of(parts)) is kind


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


def test_waiting_time_of_no_process_is_zero() -> None:
    assert worker.waiting_of(2**30) == 0.0
