"""PPO and A2C of Stable-Baselines3 learn guided addition, on three seeds."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "sb3_ppo.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The script as a module; its main is not run."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    return module


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_the_script_runs(algorithm: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--algorithm", algorithm, "--num-envs", "4", "--steps", "200"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{algorithm}, seed 0: success with guidance 0.") and done.stdout.count("\n") == 1
    assert ": success with guidance " in done.stderr  # as it goes


def test_tenths_are_those_of_the_episodes(example: ModuleType) -> None:
    successes = example.Successes()
    for correct in np.arange(30) >= 28:
        successes.locals = {"infos": [{}, {"episode": {}, "correct": bool(correct)}]}
        assert successes._on_step()
    assert successes.tenths() == (0.0, 2 / 3)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_success_rises(example: ModuleType, algorithm: str, seed: int) -> None:
    first, last, _ = example.train(example.Options(algorithm=algorithm, seed=seed))
    assert first < 0.2
    assert last - first >= 0.2
