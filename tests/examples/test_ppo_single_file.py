"""PPO in one file: its advantages are right, restarts are left out, and it learns on three seeds."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "ppo_single_file.py"


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
        [sys.executable, str(SCRIPT), "--num-envs", "4", "--num-steps", "6", "--updates", "3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed 0: success with guidance 0.") and done.stdout.count("\n") == 1
    assert ": success with guidance " in done.stderr  # as it goes


def test_advantages_by_hand(example: ModuleType) -> None:
    """Two steps, an end with reward 1, the restart whose reward and value mean nothing, one step more."""
    column = torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    value = torch.tensor([[0.2], [0.4], [9.0], [0.5]])
    ended = torch.tensor([[False], [True], [False], [False]])
    found = example.advantages(column, value, ended, torch.tensor([0.7]), 0.5)
    expected = [(0.4 - 0.2) + 0.5 * (1 - 0.4), 1 - 0.4, (0.5 - 9) + 0.5 * 0.2, 0.7 - 0.5]
    torch.testing.assert_close(found[:, 0], torch.tensor(expected))


def test_padding_has_no_influence(example: ModuleType) -> None:
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=2, digits=1)
    torch.manual_seed(0)
    model = example.ActorCritic(envs, 16)
    torch.nn.init.normal_(model.actor.weight)
    tokens, length = torch.randint(2, 258, (2, 12)), torch.tensor([3, 9])
    padded = tokens.clone()
    padded[0, 3:] = 0
    (policy, value), (same_policy, same_value) = model(tokens, length), model(padded, length)
    assert torch.equal(policy.logits, same_policy.logits) and torch.equal(value, same_value)


def test_steps_that_only_restart_a_lane_are_left_out_of_the_loss(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs, trained = [], []
    make, forward = gym.make_vec, example.ActorCritic.forward

    def make_and_keep(*args: object, **kwargs: object) -> object:
        envs.append(make(*args, **kwargs))
        return envs[-1]

    def keep_contexts(self: object, tokens: torch.Tensor, length: torch.Tensor) -> object:
        if torch.is_grad_enabled():
            trained.append((tokens, length))
        return forward(self, tokens, length)

    monkeypatch.setattr(gym, "make_vec", make_and_keep)
    monkeypatch.setattr(example.ActorCritic, "forward", keep_contexts)
    example.train(example.Options(num_envs=8, num_steps=40, updates=1, epochs=1, minibatch=512))
    ((tokens, length),) = trained
    # The observation of a restart step is a finished answer: it ends with the end token, or its budget is spent.
    last = tokens[torch.arange(len(tokens)), length - 1]
    assert 0.6 * 320 < len(tokens) < 320
    assert not (last == envs[0].unwrapped.task.eos_token_id).any()
    assert (length < 4 + 9 + 3).all()


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_success_rises(example: ModuleType, seed: int) -> None:
    first, last, _ = example.train(example.Options(seed=seed))
    assert first < 0.2
    assert last - first >= 0.2
