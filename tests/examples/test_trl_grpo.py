"""TRL learns guided addition through our rollout function, on three seeds."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("trl", reason="trl is missing: pip install 'g2rpo-env[benchmark]'")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "trl_grpo.py"


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


def test_the_script_runs(tmp_path: Path) -> None:
    options = ["--steps", "2", "--problems", "2", "--group-size", "2", "--success", "0", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "seed 0: unguided success 0.00 in the first tenth of the steps" in done.stdout
    assert not list(tmp_path.iterdir())


def test_success_counts_unguided_members_alone(example: ModuleType) -> None:
    watch = example.UnguidedSuccess()
    for right in range(20):
        assert watch(correct=[True, right >= 18, False], reveal_length=[3, 0, 0]) == [None] * 3
    assert watch.history == [0.0] * 18 + [0.5] * 2
    assert watch.tenths() == (0.0, 0.5)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_success_rises(example: ModuleType, seed: int) -> None:
    first, last = example.train(example.Options(seed=seed))
    assert last - first >= 0.2
