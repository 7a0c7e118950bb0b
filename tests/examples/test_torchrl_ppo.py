"""TorchRL's PPO learns guided addition, on three seeds."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("torchrl", reason="torchrl is missing: pip install 'g2rpo-env[benchmark]'")

import gymnasium as gym
from torchrl.envs import GymWrapper

import g2rpo_env

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "torchrl_ppo.py"


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


def test_the_script_trains_and_moves_the_reveal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--num-envs", "4", "--updates", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed 0: success with guidance 0.") and done.stdout.count("\n") == 1
    assert ": success with guidance " in done.stderr  # as it goes


def test_a_rollout_of_torchrl_is_that_of_the_environment(example: ModuleType) -> None:
    """The same seed and actions, stepped by TorchRL and by hand."""
    from torchrl.envs import GymWrapper

    options = example.Options()
    wrapped, plain = GymWrapper(example.make_env(options), categorical_action_encoding=True), example.make_env(options)
    wrapped.set_seed(3)
    data = wrapped.rollout(3, break_when_any_done=True)
    plain.reset(seed=3)  # set_seed() resets, and the rollout resets again
    observation, _ = plain.reset()
    for step in data:
        assert step["tokens"].tolist() == observation["tokens"].tolist()
        observation, reward, terminated, truncated, _ = plain.step(int(step["action"]))
        assert step["next", "reward"].item() == reward
        assert step["next", "done"].item() == (terminated or truncated)
        assert step["next", "truncated"].item() == truncated
        assert step["next", "length"].tolist() == observation["length"].tolist()


def test_infos_are_numbers_that_torchrl_reads(example: ModuleType) -> None:
    env = gym.make("g2rpo_env/Addition-v0", digits=1, max_new_tokens=4)
    env = example.NumberInfos(g2rpo_env.GuidanceWrapper(env, length=2))
    _, info = env.reset(seed=0)
    assert info == {"correct": False, "valid": False, "group": 0, "member": 0, "prompt_length": 4, "reveal_length": 2}
    read = GymWrapper(env, categorical_action_encoding=True).auto_register_info_dict()
    data = read.rollout(12, break_when_any_done=False)
    assert data["next", "correct"].dtype == torch.bool
    assert data["next", "reveal_length"].flatten().tolist() == [2] * 12
    done = data["next", "done"].flatten()
    assert done.sum() >= 3 and data["next", "valid"].flatten()[done].all()


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_success_rises(example: ModuleType, seed: int) -> None:
    first, last, _ = example.train(example.Options(seed=seed))
    assert first < 0.2
    assert last - first >= 0.2
