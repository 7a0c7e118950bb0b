"""A bandit that every recipe can learn in seconds: whatever it starts from, a multiple of four is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from g2rpo_env import TokenVectorEnv, VectorGuidanceWrapper
from g2rpo_env.agents import GRPO, recipes
from g2rpo_env.agents.evaluation import evaluate
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.envs.generated import GeneratedSource
from g2rpo_env.problem import Problem
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict

FOURS = "08<DHLPTX\\`dhlptx"
"""Characters whose byte is a multiple of four, without the final answer."""


class BanditSource(GeneratedSource):
    """Problems whose solutions are two steps of four characters, all of them multiples of four, and ``@``."""

    def __init__(self) -> None:
        super().__init__((1, 1), "train")

    def sample(self, random: np.random.Generator, level: int) -> str:
        return str(random.integers(1000))

    def structure(self, problem_id: str) -> str:
        return problem_id

    def get(self, problem_id: str) -> Problem:
        letters = "".join(FOURS[(int(problem_id) * (i + 3) + i) % len(FOURS)] for i in range(8))
        return Problem(problem_id, f"{problem_id}=", (letters[:4], letters[4:]), "@", "@")

    def longest(self) -> Iterable[Problem]:
        return [self.get("999")]


class LastByte:
    """Right where the last byte of an answer is a multiple of four: an eighth of all tokens. It is the answer too."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        right = [bool(text) and text.encode()[-1] % 4 == 0 for text in completions]
        return [
            Verdict(Outcome.CORRECT if one else Outcome.WRONG, text[-1:])
            for one, text in zip(right, completions, strict=True)
        ]


def make_bandit(
    recipe: Any, make_policy: Any, *, guidance: Any = None, rate: float = 1e-2, lanes: int = 32, **parts: Any
) -> GRPO:
    """Return an agent of a recipe whose policy has random weights; groups have eight members, answers two tokens."""
    task = Task(BanditSource(), LastByte(), max_new_tokens=2)
    envs: Any = TokenVectorEnv(task, lanes, group_size=8, autoreset_mode="DISABLED")
    if guidance is not None:
        envs = VectorGuidanceWrapper(envs, **guidance)
    return recipes.make(recipe, make_policy(envs), envs, optimizer=Optimizer(learning_rate=rate), **parts)


def measure_success(agent: GRPO, context: Callable[..., Any] | None = None) -> float:
    """Return the share of right answers to test problems, unguided; they start as the recipe says by default."""
    options: dict[str, Any] = {"split": "test", "problems": 40, "mode": "sampled", "samples": 8}
    return evaluate(agent.policy, agent.envs, context=context or agent.context, **options).accuracy
