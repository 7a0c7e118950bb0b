"""Progress: plain lines where there is no terminal, a bar where there is one, nothing when it is off."""

import io
import time

import pytest

from g2rpo_env.agents import progress as module
from g2rpo_env.agents.progress import EVERY, Meter, Progress

METRICS = {"reward": 0.25, "reveal_length": 44.7}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_name_reward_accuracy_reveal_and_time_left():
    stream = io.StringIO()
    with Progress(2, stream=stream) as progress:
        progress.accuracy = 0.5
        progress.update(METRICS)
        progress.update({"reward": None, "reveal_length": None})
    first, second = stream.getvalue().splitlines()
    assert first.startswith("update 1/2  reward 0.25  accuracy 0.5  reveal 44.7  ") and first.endswith("left")
    assert second.startswith("update 2/2  accuracy 0.5  0:00 left")


def test_a_run_prints_its_first_update_then_a_line_within_15_seconds_and_always_the_last(clock):
    stream = io.StringIO()
    with Progress(1010, done=500, stream=stream) as progress:
        for second in range(510):
            clock[0] = float(second)
            progress.update(METRICS)
    lines = stream.getvalue().splitlines()
    assert [line.split("/")[0] for line in lines[:3]] == ["update 501", "update 515", "update 529"]
    assert len(lines) == 1 + 509 // EVERY + 1
    assert lines[-1].startswith("update 1010/1010")


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with Progress(2, stream=stream) as progress:
        progress.update(METRICS)
        progress.update(METRICS)
    assert "2/2" in stream.getvalue() and "reward=0.25" in stream.getvalue()


def test_disabled_shows_nothing():
    stream = Terminal()
    with Progress(1, enabled=False, stream=stream) as progress:
        progress.update(METRICS)
    assert stream.getvalue() == ""


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the module takes for the time; set them."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_meter_writes_within_seconds_and_is_never_silent_for_more_than_15(clock):
    stream = io.StringIO()
    with Meter("Curve", stream=stream) as meter:
        for second in range(3601):
            clock[0] = float(second)
            meter(second, 3600)
    lines = stream.getvalue().splitlines()
    # after 2, 4, 8, 16, 30, 44, ... seconds
    assert [line.split()[3] for line in lines[:6]] == ["0:02,", "0:04,", "0:08,", "0:16,", "0:30,", "0:44,"]
    assert lines[0] == "Curve: 0% after 0:02, 59:58 left" and len(lines) == 4 + (3600 - 16) // EVERY


def test_a_meter_that_nobody_calls_writes_too(monkeypatch):
    monkeypatch.setattr(module, "FIRST_LINE", 0.0)
    stream = io.StringIO()
    with Meter("Check", stream=stream):
        deadline = time.monotonic() + 10
        while not stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert stream.getvalue().startswith("Check: 0% after 0:0")


def test_a_meter_of_short_work_writes_nothing_and_one_without_progress_knows_no_time_left(clock):
    stream = io.StringIO()
    with Meter("Curve", stream=stream) as meter:
        meter(0, 3)
        clock[0] = 1.9
        meter(2, 3)
    assert stream.getvalue() == ""
    with Meter("Curve", stream=stream) as meter:
        clock[0] += 5
        meter(0, 3)
    assert stream.getvalue() == "Curve: 0% after 0:05\n"


def test_a_meter_is_a_bar_in_a_terminal():
    stream = Terminal()
    with Meter("Curve", stream=stream) as meter:
        meter(0, 4)
        meter.line("said")
        meter(4, 4)
    assert "Curve:" in stream.getvalue() and "said\n" in stream.getvalue()
