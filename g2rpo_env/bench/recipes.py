"""``g2rpo-env bench recipes``: an update of every recipe beside one of ``grpo``, sampling left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.agents.grpo import GRPO
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.guides import WRAPPERS
from g2rpo_env.agents.rollout import fit_policy
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.bench.update import time_sides
from g2rpo_env.episode import Episode, Group, Groups
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.verdict import Outcome, Verdict

THREADS = 1
"""A small model is faster with one."""
ENV, TASK = "g2rpo_env/Addition-v0", {"digits": 4, "running": True, "max_new_tokens": 64}
PROBLEMS, GROUP_SIZE = 8, 8
GUIDANCE = {"length": 0.5, "unit": "fraction", "ratio": 0.5}
MODEL = {"hidden_size": 96, "layers": 3}
"""A model of 0.4 M parameters."""


@dataclass(frozen=True)
class Stored:
    """A strategy that returns the same groups for ever.

    Args:
        groups: The groups.
    """

    groups: Groups

    def __call__(self, policy: Any, envs: Any) -> Groups:
        """Return the groups."""
        return self.groups


def bench_recipes(repeats: int, place: Place = Place()) -> list[Measurement]:  # noqa: B008, it is frozen
    """Return the time of an update of every recipe over that of ``grpo`` in the same run, and grpo's in seconds.

    Each learns from groups that its own strategy has sampled, half of whose members are declared right.
    """
    rows = place.prepare(THREADS)
    sides: dict[str, Callable[[], Any]] = {name: make_agent(name).update for name in RECIPES}
    for update in sides.values():
        update()  # the first update of each warms it up
    taken = time_sides(sides, repeats, place)
    rows.append(Measurement(f"update of grpo, {PROBLEMS * GROUP_SIZE} episodes, {THREADS} thread", taken["grpo"], "s"))
    return rows + [Measurement(f"{name} / grpo", seconds / taken["grpo"], "ratio") for name, seconds in taken.items()]


def make_agent(name: str) -> GRPO:
    """Return an agent of a recipe whose groups are sampled already; where it draws again, those of its first draw."""
    recipe = recipes.get(name)
    envs = make_envs(ENV, PROBLEMS, GROUP_SIZE, TASK, make_guidance(name))
    policy = CausalLMPolicy.tiny(envs, seed=0, **MODEL)
    fit_policy(policy, envs)
    agent = recipes.make(name, policy, envs)
    strategy = getattr(recipe.strategy, "inner", recipe.strategy)  # it keeps what the real verdicts call mixed: nothing
    agent.parts = dataclasses.replace(agent.parts, strategy=Stored(mark(strategy(policy, envs))))
    return agent


def make_guidance(name: str) -> Mapping[str, Any] | None:
    """Return the arguments of the guidance wrapper that a recipe trains in; None where it needs none."""
    return WRAPPERS.get(name, GUIDANCE) if recipes.get(name).needs_guidance else None


def mark(groups: Groups) -> Groups:
    """Return groups whose even members are right, but for the first group, which is all wrong."""
    return Groups(
        [
            Group(tuple(mark_episode(e, n > 0 and i % 2 == 0) for i, e in enumerate(group.episodes)))
            for n, group in enumerate(groups)
        ],
        left_out=groups.left_out,
    )


def mark_episode(episode: Episode, right: bool) -> Episode:
    """Return an episode with another verdict."""
    outcome = Outcome.CORRECT if right else Outcome.WRONG
    return dataclasses.replace(episode, reward=float(right), verdict=Verdict(outcome, episode.verdict.answer))
