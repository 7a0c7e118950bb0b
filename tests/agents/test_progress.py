"""Progress: plain lines where there is no terminal, a bar where there is one, nothing when it is off."""

import io

from g2rpo_env.agents.progress import PLAIN_LINES, Progress

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


def test_a_long_run_prints_few_lines_and_always_the_last():
    stream = io.StringIO()
    with Progress(1010, done=500, stream=stream) as progress:
        for _ in range(510):
            progress.update(METRICS)
    lines = stream.getvalue().splitlines()
    assert len(lines) <= PLAIN_LINES + 1
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
