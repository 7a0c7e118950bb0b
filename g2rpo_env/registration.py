"""Ids of the shipped tasks, and how to register one of your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gymnasium as gym

if TYPE_CHECKING:
    from g2rpo_env.task import Task

NAMESPACE = "g2rpo_env"

TASKS = {
    "Addition-v0": "g2rpo_env.envs.arithmetic:Addition",
    "AIME-v0": "g2rpo_env.envs.mathematics.presets:AIME",
    "AQuA-v0": "g2rpo_env.envs.mathematics.presets:AQuA",
    "Chain-v0": "g2rpo_env.envs.chain:Chain",
    "Countdown-v0": "g2rpo_env.envs.countdown:Countdown",
    "GSM8K-v0": "g2rpo_env.envs.mathematics.gsm8k:GSM8K",
    "LinearEquation-v0": "g2rpo_env.envs.linear_equation:LinearEquation",
    "MATH-v0": "g2rpo_env.envs.mathematics.presets:MATH",
    "MathDataset-v0": "g2rpo_env.envs.mathematics.math_dataset:MathDataset",
    "Multiplication-v0": "g2rpo_env.envs.multiplication:Multiplication",
    "OpenR1Math-v0": "g2rpo_env.envs.mathematics.presets:OpenR1Math",
    "SVAMP-v0": "g2rpo_env.envs.mathematics.presets:SVAMP",
    "WordProblem-v0": "g2rpo_env.envs.word_problem:WordProblem",
    "HumanEval-v0": "g2rpo_env.envs.coding.humaneval:HumanEval",
    "MBPP-v0": "g2rpo_env.envs.coding.mbpp:MBPP",
    "MiniPython-v0": "g2rpo_env.envs.coding.minipython:MiniPython",
    "CodeDataset-v0": "g2rpo_env.envs.coding.codedata:CodeDataset",
}
"""Name -> ``"module:Name"`` of the task class; imported when an environment is made, not before."""


def register_task(name: str, task: Task | Callable[..., Task] | str, namespace: str | None = NAMESPACE) -> str:
    """Register a task, so that ``gym.make`` and ``gym.make_vec`` build TokenEnv and TokenVectorEnv on it.

    Args:
        name: Name with version, such as ``"Addition-v0"``.
        task: ``"module:Name"`` of a callable that takes the task's keyword arguments and returns a Task; such a
            callable itself; or a finished task, which has no arguments left.
        namespace: First part of the id, or None.

    Returns:
        The id.
    """
    env_id = name if namespace is None else f"{namespace}/{name}"
    gym.register(
        env_id,
        entry_point="g2rpo_env.core:TokenEnv",
        vector_entry_point="g2rpo_env.vector:TokenVectorEnv",
        kwargs={"task": task},
    )
    return env_id


def register_all() -> None:
    """Register every shipped task that is not registered yet."""
    for name, task in TASKS.items():
        if f"{NAMESPACE}/{name}" not in gym.registry:
            register_task(name, task)


def env_ids() -> list[str]:
    """Return the ids of all registered environments that are built on TokenEnv."""
    return sorted(i for i, spec in gym.registry.items() if spec.entry_point == "g2rpo_env.core:TokenEnv")
