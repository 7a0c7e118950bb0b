"""MaskablePPO of sb3-contrib learns guided addition, on three seeds, and never leaves the format of an answer."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed: pip install sb3-contrib")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "sb3_maskable_ppo.py"


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
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--num-envs", "4", "--steps", "200"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed 0: success with guidance 0.") and done.stdout.count("\n") == 1
    assert ": success with guidance " in done.stderr  # as it goes


def test_masks_allow_a_mark_and_then_digits(example: ModuleType) -> None:
    env = example.make_env(example.Options(num_envs=2))
    env.reset()
    base = env.envs.unwrapped
    is_mark = base.vocabulary == env.envs.mark
    mark, digit = np.flatnonzero(is_mark), np.flatnonzero(base.vocabulary == base.tokenizer.convert_tokens_to_ids("7"))
    np.testing.assert_array_equal(env.env_method("action_masks"), [is_mark, is_mark])
    env.step(np.concatenate([mark, digit]))
    np.testing.assert_array_equal(env.env_method("action_masks"), [~is_mark, is_mark])
    env.step(np.concatenate([digit, digit]))
    np.testing.assert_array_equal(env.env_method("action_masks", indices=[0]), [~is_mark])
    _, _, dones, infos = env.step(np.concatenate([digit, digit]))  # the budget is spent: both begin anew
    assert dones.all() and infos[0]["completion"].endswith("#77") and infos[0]["truncated"]
    np.testing.assert_array_equal(env.env_method("action_masks"), [is_mark, is_mark])


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_success_rises(example: ModuleType, seed: int) -> None:
    first, last, _ = example.train(example.Options(seed=seed))
    assert first < 0.2
    assert last - first >= 0.2
