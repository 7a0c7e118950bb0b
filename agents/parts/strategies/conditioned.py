"""Conditioned: answers that are sampled under the level of reward that they are to reach (generative actor-critic)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.rollout import collect, make_room, token_vector_env
from g2rpo_env.episode import Groups, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import Seed, stream
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import encode


@dataclass(frozen=True)
class Conditioned:
    """Behind the prompt stands the level of reward that the answer is to reach; the policy writes under it.

    The level is that of the best answers, with probability ``explore`` any, each as likely. Its tokens have role 0.
    Evaluations start from the prompt with the top level. :class:`~g2rpo_env.agents.parts.selection.Reached` makes the
    rows that are trained on. A guidance wrapper is not asked: nothing is revealed.

    Source: Generative Actor Critic (arXiv 2512.21527), of which the abstract was read: the joint distribution of
    answers and returns is learnt, and acting is inference under a high return.

    Deviations:

    1. The paper's latent plans and its losses are not public; this is the form with the return as tokens.

    A base must know the form of such a context: ``warm_start(..., context=strategy.context)``.

    Args:
        levels: Rising numbers, at least one. An answer reaches the highest level that its reward is not below, or the
            lowest one: they are the lower edges of bins of rewards.
        template: Text of a level, with ``{level}`` in it exactly once; encoded as data.
        explore: Probability of a level that is chosen at random, in [0, 1].

    Raises:
        ConfigurationError: an argument breaks its rule.
        BudgetError: when an agent is made, a prompt with a level is longer than the policy or the task allows.
    """

    levels: tuple[float, ...] = (0.0, 1.0)
    template: str = "[{level}]"
    explore: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        levels = tuple(float(level) for level in self.levels)
        rising = all(low < high for low, high in zip(levels, levels[1:], strict=False))
        if not levels or not rising or not all(map(math.isfinite, levels)):
            raise ConfigurationError(f"levels={self.levels} must be finite numbers that rise, at least one")
        object.__setattr__(self, "levels", levels)
        if self.template.count("{level}") != 1:
            raise ConfigurationError(f"template={self.template!r} must hold '{{level}}' exactly once")
        if not 0 <= self.explore <= 1:
            raise ConfigurationError(f"explore={self.explore} must lie in [0, 1]")

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update."""
        base = token_vector_env(envs)
        self.prepare(policy, envs)
        numbers = np.repeat(base.take_groups(base.num_envs // base.group_size), base.group_size)
        members = np.arange(base.num_envs) % base.group_size
        level_of = self.encode_levels(base.task)
        prefixes = [
            lay(base.task, problem_id, level_of[self.choose(base.root_seed, int(number), int(member))])
            for problem_id, number, member in zip(base.problems(numbers.tolist()), numbers, members, strict=True)
        ]
        roles = [np.full(len(prefix_T), Role.PROMPT, np.int8) for prefix_T in prefixes]
        options = {"group": numbers, "member": members, "prefix": prefixes, "prefix_roles": roles}
        return collect(policy, envs, options=options)

    def prepare(self, policy: SamplingPolicy | None, envs: Any) -> None:
        """Make room for levels in the contexts of an environment; asked when an agent is made."""
        make_room(policy, envs, self.room(envs.unwrapped.task), f"levels={self.levels}")

    @property
    def top(self) -> int:
        """Number of the highest level."""
        return len(self.levels) - 1

    def choose(self, root: Seed, group: int, member: int) -> int:
        """Return the number of the level that an episode is sampled under, from a stream of its own."""
        random = stream(root, "target", group, member)
        return int(random.integers(len(self.levels))) if random.random() < self.explore else self.top

    def find_reached(self, reward: float) -> int:
        """Return the number of the level that a reward reaches.

        >>> [Conditioned((0.0, 0.5, 1.0)).find_reached(reward) for reward in (-1.0, 0.0, 0.4, 0.5, 1.0, 2.0)]
        [0, 0, 0, 1, 2, 2]
        """
        return max(0, int(np.searchsorted(self.levels, reward, side="right")) - 1)

    def encode_levels(self, task: Task) -> list[np.ndarray]:
        """Return the tokens of each level, int32 (T,)."""
        texts = [self.template.replace("{level}", f"{level:.12g}") for level in self.levels]
        return [encode(task.tokenizer, text)[0] for text in texts]

    def context(self, task: Task, problem_id: str) -> np.ndarray:
        """Return the prompt of a problem with the top level behind it, int32 (T,): what evaluations start from."""
        return lay(task, problem_id, self.encode_levels(task)[self.top])

    def room(self, task: Task) -> int:
        """Return the tokens of the longest level."""
        return max(map(len, self.encode_levels(task)))


def lay(task: Task, problem_id: str, level_T: np.ndarray) -> np.ndarray:
    """Return the prompt of a problem with the tokens of a level behind it, int32 (T,)."""
    return np.concatenate([task.lookup(problem_id).prompt_T, level_T]).astype(np.int32)
