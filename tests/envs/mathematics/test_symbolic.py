"""The worker's own functions, and that it does not outlive its parent."""

import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("math_verify", reason="math-verify is not installed")

ORPHAN = """
import os, signal
from g2rpo_env.envs.mathematics.pool import SymbolicWorker
worker = SymbolicWorker()
worker.compare("1", "1")
print(worker.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_when_the_parent_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=120)
    pid = int(done.stdout)
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    pytest.fail("the worker outlived its parent")


def test_compare_reads_expressions_only() -> None:
    from g2rpo_env.envs.mathematics.symbolic import compare

    assert compare("x>2", "(2,\\infty)") == "equal"
    assert compare("i", "-i") == "different"
    assert compare("", "x") == "unparseable gold"
