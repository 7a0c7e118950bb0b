"""RLlib's PPO learns guided addition; runs where Ray is installed, which is never beside the newest Gymnasium."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray is missing: it demands an older Gymnasium, so it has an environment of its own")

SCRIPT = Path(__file__).parents[2] / "examples" / "rllib_ppo.py"


def run(*options: str) -> str:
    """Run the script and return its last line."""
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_the_script_runs() -> None:
    assert run("--iterations", "2", "--steps", "256").startswith("seed 0: success with guidance 0.")


@pytest.mark.long
@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_success_rises(seed: str) -> None:
    words = run("--seed", seed).replace(",", "").split()
    first, last = float(words[5]), float(words[13])
    assert last - first >= 0.2
