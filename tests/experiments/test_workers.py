"""Workers: jobs side by side, one that dies takes no other with it, and no process outlives the one that began it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from g2rpo_env.experiments.workers import Workers, describe_error

SCRIPT = """
import sys, time
from g2rpo_env.experiments.workers import Workers

if __name__ == "__main__":
    with Workers(2, print, "ready") as workers:
        for _ in range(2):
            workers.submit(time.sleep, 600)
        workers.wait()
"""


def prepare(folder):
    os.chdir(folder)


def work(name):
    if name == "dies":
        os._exit(3)
    if name == "fails":
        raise ValueError("boom\nin two lines")
    return f"{name} in {Path.cwd().name}"


def test_a_job_that_fails_or_dies_leaves_the_others_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)  # where a worker finds this module
    names, found = ["a", "dies", "fails", "b"], {}
    module = __import__("test_workers")
    with Workers(2, module.prepare, tmp_path) as workers:
        running = {}
        while names or running:
            while names and workers.has_free:
                name = names.pop(0)
                running[workers.submit(module.work, name)] = name
            assert len(running) <= 2
            for future in workers.wait():
                error = future.exception()
                found[running.pop(future)] = future.result() if error is None else describe_error(error)
    assert found == {
        "a": f"a in {tmp_path.name}",
        "b": f"b in {tmp_path.name}",
        "fails": "ValueError: boom in two lines",
        "dies": "its process ended without a word: it was killed, as where memory runs out, or it crashed",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_a_signal_to_the_process_that_began_it(tmp_path, number):
    (tmp_path / "job.py").write_text(SCRIPT)
    job = subprocess.Popen(
        [sys.executable, str(tmp_path / "job.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert job.stdout is not None and job.stderr is not None
    assert [job.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    os.kill(job.pid, number)  # that one alone
    job.wait(20)
    error = job.stderr.read()  # to its end, which comes when the last process is gone
    assert "KeyboardInterrupt" in error or number == signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(job.pid, 0)
            time.sleep(0.1)
