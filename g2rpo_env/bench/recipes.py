"""``g2rpo-env bench recipes``: time and memory of an update of every recipe beside one of ``grpo``, sampling left out.

Time is that of the processor, which other programs of the machine change less than the clock's.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.agents.grpo import GRPO
from g2rpo_env.agents.recipes import RECIPES, guides
from g2rpo_env.agents.rollout import fit_policy
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.episode import Groups
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

THREADS = 1
"""A small model is faster with one."""
ENV, TASK = "g2rpo_env/Addition-v0", {"digits": 4, "running": True, "max_new_tokens": 64}
PROBLEMS, GROUP_SIZE = 8, 8
GUIDANCE = {"length": 0.5, "unit": "fraction", "ratio": 0.5}
MODEL = {"hidden_size": 96, "layers": 3}
"""A model of 0.4 M parameters."""


class Chance:
    """A verifier that finds half of all answers right, whatever they say; the answer it names is the last character."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion."""
        return [Verdict(OUTCOMES[zlib.crc32(text.encode()) % 2], text[-1:] or None) for text in completions]


OUTCOMES = (Outcome.CORRECT, Outcome.WRONG)


@dataclass(frozen=True)
class Sampled:
    """A strategy that returns the same groups for ever.

    Args:
        groups: The groups.
    """

    groups: Groups

    def __call__(self, policy: Any, envs: Any) -> Groups:
        """Return the groups."""
        return self.groups


def bench_recipes(repeats: int, place: Place = Place()) -> list[Measurement]:  # noqa: B008, it is frozen
    """Return time and memory of an update of every recipe over those of ``grpo`` on the same episodes.

    The episodes are what the recipe's own strategy has sampled, under a verifier of chance. Both take turns, and the
    best of the repeats counts.
    """
    rows = place.prepare(THREADS)
    taken, peaks = [], []
    for name in RECIPES:
        agent, plain = make_pair(name)
        sides = {"one": agent.update, "grpo": plain.update}
        for update in sides.values():
            update()  # the first update of each warms it up
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side, update in sides.items():
                seconds[side].append(measure_seconds(update))
        ratio = min(seconds["one"]) / min(seconds["grpo"])
        place.note(f"time of {name} / grpo", ratio, "")
        taken.append(Measurement(f"time of {name} / grpo", ratio, "ratio"))
        peak = {side: max(measure_peak(update) for _ in range(2)) for side, update in sides.items()}
        peaks.append(Measurement(f"memory of {name} / grpo", peak["one"] / peak["grpo"], "ratio"))
        if name == "grpo":
            rows.append(Measurement(f"update of grpo, {PROBLEMS * GROUP_SIZE} episodes", min(seconds["grpo"]), "s"))
            rows.append(Measurement(f"memory of it, {PROBLEMS * GROUP_SIZE} episodes", peak["grpo"], "MiB"))
    return rows + taken + peaks


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


def make_pair(name: str) -> tuple[GRPO, GRPO]:
    """Return an agent of a recipe whose groups are sampled already, and one of ``grpo`` that learns from the same."""
    guidance = guides.WRAPPERS.get(name, GUIDANCE) if recipes.get(name).needs_guidance else None
    agents = []
    for recipe in (name, "grpo"):
        envs = make_envs(ENV, PROBLEMS, GROUP_SIZE, TASK, guidance)
        envs.unwrapped.task.verifier = Chance()
        policy = CausalLMPolicy.tiny(envs, seed=0, **MODEL)
        fit_policy(policy, envs)
        agents.append(recipes.make(recipe, policy, envs))
    groups = agents[0].parts.strategy(agents[0].policy, agents[0].envs)
    for agent in agents:
        agent.parts = dataclasses.replace(agent.parts, strategy=Sampled(groups))
    return agents[0], agents[1]
