"""The example of several tries: the message comes after a wrong answer only, and the script runs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from g2rpo_env import Outcome, Role, TokenEnv, TokenVectorEnv, Verdict, check_env, check_vector_env
from g2rpo_env.tokenizer import encode

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "feedback_env.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The script as a module; its main is not run."""
    spec = importlib.util.spec_from_file_location("feedback_env", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pickling looks it up
    spec.loader.exec_module(module)
    return module


def answer(env: TokenEnv, text: str) -> tuple[Any, ...]:
    """Write a text and the end token; return the last result."""
    for token in [*encode(env.tokenizer, text)[0], env.tokenizer.eos_token_id]:
        result = env.step(token)
    return result


def test_the_message_says_where_the_answer_lies(example: ModuleType) -> None:
    problem = example.guess().source.get("7+8")
    found = [
        example.reply(problem, "", Verdict(Outcome.WRONG, text)).strip() for text in ("12", "16", "x", "1²", "", None)
    ]
    assert found == ["too small", "too big", *["Write # and a number."] * 4]


def test_a_wrong_answer_gets_a_message_and_another_try(example: ModuleType) -> None:
    env = TokenEnv(example.guess())
    env.reset(seed=0, options={"problem": "7+8"})
    observation, reward, terminated, truncated, info = answer(env, "#12")
    assert (reward, terminated, truncated, info) == (0.0, False, False, {})
    assert observation["length"][0] == 4 + 4 + len("\ntoo small\n")
    assert env.roles.tolist() == [Role.PROMPT] * 4 + [Role.SAMPLED] * 4 + [Role.ENVIRONMENT] * 11
    _, reward, terminated, _, info = answer(env, "#15")
    assert (reward, terminated, info["completion"]) == (1.0, True, "#15")


def test_the_last_try_ends_the_episode(example: ModuleType) -> None:
    env = TokenEnv(example.guess(max_new_tokens=20))
    env.reset(seed=0, options={"problem": "7+8"})
    ends = [answer(env, "#1")[2] for _ in range(3)]
    assert ends == [False, False, True]


def test_the_task_passes_the_checks(example: ModuleType) -> None:
    check_env(TokenEnv(example.guess()))
    check_vector_env(TokenVectorEnv(example.guess(), 4, group_size=2))
    check_vector_env(TokenVectorEnv(example.guess(), 2, autoreset_mode="SAME_STEP"))


def test_lanes_have_tries_of_their_own(example: ModuleType) -> None:
    task = example.guess()
    envs = TokenVectorEnv(task, 2, group_size=2)
    envs.reset(seed=0, options={"problem": "7+8"})
    first, last = ([*encode(task.tokenizer, text)[0], task.eos_token_id] for text in ("#12", "#15"))
    for actions in zip(first, last, strict=True):
        _, reward, terminated, *_ = envs.step(np.array(actions))
    assert terminated.tolist() == [False, True] and reward.tolist() == [0.0, 1.0]
    for token in last:
        _, reward, terminated, *_ = envs.step(np.array([token, 0]))
    assert terminated.tolist() == [True, False] and reward.tolist() == [1.0, 0.0]


def test_the_script_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "#12: 19 tokens, reward 0.0, terminated False, info {}"
    assert lines[1].startswith("#15: 23 tokens, reward 1.0, terminated True, info {'completion': '#15'")
    assert lines[2] == r"'7+8=#12<eos>{\ntoo small\n}#15<eos>'"
    assert lines[-1].startswith("one update: ")
