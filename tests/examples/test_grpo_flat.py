"""The flat script is the recipe: two updates of both from one policy give the same numbers."""

import copy
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import g2rpo_env
from g2rpo_env import Outcome, Problem, Task, TokenVectorEnv, Verdict
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.envs.arithmetic import AdditionSource

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "grpo_flat.py"


@pytest.fixture(scope="module")
def flat() -> ModuleType:
    """The script as a module; its main is not run."""
    spec = importlib.util.spec_from_file_location("grpo_flat", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class EvenBytes:
    """Correct if the bytes of the completion have an even sum: about half of what a random policy writes."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(Outcome.WRONG if sum(c.encode()) % 2 else Outcome.CORRECT) for c in completions]


def guided(ratio: float, length: float) -> Any:
    task = Task(AdditionSource((1, 2)), EvenBytes(), max_new_tokens=12)
    return g2rpo_env.VectorGuidanceWrapper(TokenVectorEnv(task, 16, group_size=4), ratio=ratio, length=length)


@pytest.fixture(scope="module")
def base() -> Any:
    """A small model with random weights."""
    return CausalLMPolicy.tiny(guided(0.5, 14), seed=0, hidden_size=48, layers=2).model


@pytest.mark.parametrize(("ratio", "seed"), [(0.5, 0), (0.5, 1), (0.0, 2)])
def test_two_updates_equal_those_of_the_recipe(flat: ModuleType, base: Any, ratio: float, seed: int) -> None:
    envs, same = guided(ratio, 14), guided(ratio, 14)
    model = copy.deepcopy(base)
    policy = CausalLMPolicy(copy.deepcopy(base), envs.unwrapped.tokenizer)
    agent = recipes.make("g2rpo-a", policy, envs, seed=seed, optimizer=Optimizer(learning_rate=1e-3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    controller = g2rpo_env.AdaptiveGuidance(length=14, max_length=same.longest, min_length=same.longest / 20)
    norms = []
    for number in range(2):
        metrics = agent.update()
        norms.append(metrics["grad_norm"])
        found = flat.update(model, optimizer, same, controller, seed=seed if number == 0 else None)
        assert found["reveal"] == metrics["reveal_length"]
        assert found["success"] == metrics["reward"]
        assert found["unguided"] == metrics["reward_unguided"]
        assert same.length == envs.length
    assert all(norms), "no update had a signal: this seed compares nothing"
    moved = 0.0
    for (name, one), other, start in zip(
        policy.model.named_parameters(), model.parameters(), base.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0, msg=name)
        moved = max(moved, float((one - start).detach().abs().max()))
    assert moved > 1e-3  # two Adam steps of 1e-3: ten times what the two may differ by


def test_the_script_runs(tmp_path: Path) -> None:
    small = ["--digits", "1", "--problems", "2", "--group-size", "2", "--base-steps", "2", "--updates", "2"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *small],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["base:", "update", "update", "after"], done.stdout
