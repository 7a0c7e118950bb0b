"""Ids: what importing the package registers, and how a task of one's own is registered."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import g2rpo_env
from g2rpo_env import Outcome, Problem, Task, TokenEnv, TokenVectorEnv, Verdict
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.registration import TASKS


def test_every_shipped_task_has_an_id() -> None:
    assert {f"g2rpo_env/{name}" for name in TASKS} <= set(g2rpo_env.env_ids())


def test_no_id_has_a_step_limit_which_would_set_both_end_flags() -> None:
    for env_id in g2rpo_env.env_ids():
        assert gym.spec(env_id).max_episode_steps is None


def test_importing_again_registers_nothing_twice(recwarn: pytest.WarningsRecorder) -> None:
    before = dict(gym.registry)
    g2rpo_env.register_all()
    assert dict(gym.registry) == before and not recwarn.list


def test_an_id_is_made_without_an_import() -> None:
    program = (
        "import gymnasium as gym\n"
        "env = gym.make('g2rpo_env:g2rpo_env/Addition-v0', digits=2)\n"
        "print(env.reset(seed=0)[1]['prompt_length'])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6"


def test_arguments_reach_the_task() -> None:
    env = gym.make("g2rpo_env/Addition-v0", digits=(2, 3), split="validation", max_new_tokens=9)
    task = env.unwrapped.task
    assert (task.source.low, task.source.high, task.source.split, task.max_new_tokens) == (2, 3, "validation", 9)


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_argument_is_named(make: Any) -> None:
    with pytest.raises(TypeError, match="digit"):
        make("g2rpo_env/Addition-v0", digit=2)


class Parrot(Task):
    """Repeat a word."""

    def __init__(self, word: str = "hi") -> None:
        source = RowSource([Problem("only", f"{word}\n", (), word, word)], "train")
        super().__init__(source, self.judge, max_new_tokens=len(word) + 1)

    @staticmethod
    def judge(problems: Any, completions: Any) -> list[Verdict]:
        outcomes = (p.answer == c for p, c in zip(problems, completions, strict=True))
        return [Verdict(Outcome.CORRECT if right else Outcome.WRONG) for right in outcomes]


@pytest.fixture
def parrot() -> Any:
    sys.modules["parrot_task"] = sys.modules[__name__]
    env_id = g2rpo_env.register_task("Parrot-v0", "parrot_task:Parrot", namespace="tests")
    yield env_id
    del gym.registry[env_id], sys.modules["parrot_task"]


def test_a_task_of_ones_own_gets_both_environments(parrot: str) -> None:
    assert parrot == "tests/Parrot-v0" and parrot in g2rpo_env.env_ids()
    env, envs = gym.make(parrot, word="yes"), gym.make_vec(parrot, num_envs=2, group_size=2, word="yes")
    assert isinstance(env.unwrapped, TokenEnv) and isinstance(envs.unwrapped, TokenVectorEnv)
    env.reset(seed=0)
    tokenizer = env.unwrapped.tokenizer
    for token in [*tokenizer("yes")["input_ids"], tokenizer.eos_token_id]:
        _, reward, terminated, _, _ = env.step(token)
    assert terminated and reward == 1.0


def test_a_task_may_be_registered_as_an_object() -> None:
    ids = []
    try:
        for name, task in (("Class", Parrot), ("Partial", partial(Parrot, word="yes")), ("Made", Parrot("yes"))):
            ids.append(g2rpo_env.register_task(f"{name}-v0", task, namespace="tests"))
        assert gym.make(ids[0], word="yes").unwrapped.task.source.get("only").answer == "yes"
        assert gym.make_vec(ids[1], num_envs=2).unwrapped.task.source.get("only").answer == "yes"
        assert gym.make(ids[2]).unwrapped.task.source.get("only").answer == "yes"
        with pytest.raises(ConfigurationError, match=r"options \['word'\] must be given to the task itself"):
            gym.make(ids[2], word="no")
    finally:
        for env_id in ids:
            del gym.registry[env_id]


def test_a_namespace_can_be_left_out() -> None:
    env_id = g2rpo_env.register_task("Plain-v0", "nowhere:Nothing", namespace=None)
    try:
        assert env_id == "Plain-v0" and gym.spec(env_id).kwargs == {"task": "nowhere:Nothing"}
    finally:
        del gym.registry[env_id]
