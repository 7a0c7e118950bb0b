"""Progress of runs side by side: plain lines within 15 seconds, bars in a terminal."""

import io

import pytest

from g2rpo_env.experiments import progress as module
from g2rpo_env.experiments.progress import FIELDS, Board, Gauge


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the module takes for the time; set them."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_lines_name_the_runs_that_go_on_and_are_never_more_than_15_seconds_apart(clock):
    stream, numbers = io.StringIO(), [0.0] * 2 * len(FIELDS)
    with Board(["a", "b"], numbers, stream) as board:
        board.begin(0)
        for second in range(60):
            clock[0] = float(second)
            if second == 3:
                Gauge(numbers, 0).record({"update": 1, "reward": 0.25, "reveal_length": None})
                Gauge(numbers, 0).set("share", 0.5)
            if second == 40:
                board.end(0)
                board.begin(1)
            board.show()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Training: 0% after 0:02; a 0%"
    assert lines[1] == "Training: 25% after 0:16, 0:48 left; a 50% reward 0.25"
    assert lines[3] == "Training: 50% after 0:44, 0:44 left; b 0%"
    assert [line.split()[3].strip(",;") for line in lines] == ["0:02", "0:16", "0:30", "0:44", "0:58"]


def test_a_terminal_has_a_bar_for_each_run_that_goes_on_and_one_for_the_whole():
    stream, numbers = Terminal(), [0.0] * 3 * len(FIELDS)
    with Board(["a", "b", "c"], numbers, stream) as board:
        for index in range(2):
            board.begin(index)
        Gauge(numbers, 1).set("accuracy", 0.125)
        board.show()
        places = {bar.desc: -bar.pos for bar in board._bars()}
        assert places == {"Training": 0, "a": 1, "b": 2}
        board.end(0)
        board.clear()
        board.begin(2)
        board.show()
        assert {bar.desc: -bar.pos for bar in board._bars()} == {"Training": 0, "b": 2, "c": 1}
    text = stream.getvalue()
    assert "accuracy 0.125" in text and "Training:  33%" in text
