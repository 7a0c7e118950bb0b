"""``g2rpo-env bench recipes``: time and memory of an update of every recipe beside one of ``grpo``, sampling left out.

Time is that of the processor, which other programs of the machine change less than the clock's.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.agents.grpo import GRPO
from g2rpo_env.agents.recipes import RECIPES, guides
from g2rpo_env.agents.rollout import fit_policy
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Measurement
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
    """Return time and memory of an update of every recipe over those of ``grpo`` in the same run, and grpo's own.

    Each learns from groups that its own strategy has sampled, half of whose members are declared right; all wait for
    each other's turn, and the best of the repeats counts.
    """
    rows = place.prepare(THREADS)
    agents = {name: make_agent(name) for name in RECIPES}
    for agent in agents.values():
        agent.update()  # the first update of each warms it up
    seconds = {name: min(measure_seconds(agent.update) for _ in range(repeats)) for name, agent in agents.items()}
    again = {name: min(measure_seconds(agent.update) for _ in range(repeats)) for name, agent in agents.items()}
    best = {name: min(seconds[name], again[name]) for name in agents}
    peaks = {name: max(measure_peak(agent.update) for _ in range(2)) for name, agent in agents.items()}
    episodes = PROBLEMS * GROUP_SIZE
    rows.append(Measurement(f"update of grpo, {episodes} episodes, {THREADS} thread", best["grpo"], "s"))
    rows.append(Measurement(f"memory of it, {episodes} episodes", peaks["grpo"], "MiB"))
    rows += [Measurement(f"time of {name} / grpo", one / best["grpo"], "ratio") for name, one in best.items()]
    return rows + [Measurement(f"memory of {name} / grpo", one / peaks["grpo"], "ratio") for name, one in peaks.items()]


def measure_seconds(work: Callable[[], Any]) -> float:
    """Return the processor's seconds of a piece of work in this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure_peak(work: Callable[[], Any]) -> float:
    """Return the most memory in MiB that a piece of work takes beyond what this process has; NaN where nobody says."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be used again, and not be seen
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except (OSError, AttributeError):
        return math.nan
    before = read_status("VmRSS")
    work()
    return (read_status("VmHWM") - before) / 1024


def read_status(name: str) -> float:
    """Return a line of this process's status in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def make_agent(name: str) -> GRPO:
    """Return an agent of a recipe whose groups are sampled already."""
    envs = make_envs(ENV, PROBLEMS, GROUP_SIZE, TASK, make_guidance(name))
    policy = CausalLMPolicy.tiny(envs, seed=0, **MODEL)
    fit_policy(policy, envs)
    agent = recipes.make(name, policy, envs)
    groups = mark(agent.parts.strategy(policy, envs))
    agent.parts = dataclasses.replace(agent.parts, strategy=Stored(groups))
    return agent


def make_guidance(name: str) -> Mapping[str, Any] | None:
    """Return the arguments of the guidance wrapper that a recipe trains in; None where it needs none."""
    return guides.WRAPPERS.get(name, GUIDANCE) if recipes.get(name).needs_guidance else None


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
