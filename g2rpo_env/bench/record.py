"""``g2rpo-env bench record``: what the records of a run cost, as a share of a run of ``train`` with its defaults.

Time is that of the processor, which other programs of the machine change less than the clock's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.report.provenance import Origin, describe_run
from g2rpo_env.report.records import Recorder, Recording

ENV, TASK = "g2rpo_env/Addition-v0", {"digits": 4, "running": True}
GUIDANCE = {"length": 45.0, "ratio": 0.5}
PROBLEMS, GROUP_SIZE, UPDATES = 8, 8, 200
"""Defaults of train."""


def bench_record(repeats: int, place: Place | None = None) -> list[Measurement]:
    """Return the seconds of an update and of its records, the median of some updates, and their share of a run.

    Args:
        repeats: Updates that are measured, >= 1.
        place: Device and dtype; None for the processor.
    """
    place = place or Place()
    torch.set_num_threads(1)  # as train does for so small a model
    envs = make_envs(ENV, PROBLEMS, GROUP_SIZE, TASK, GUIDANCE)
    policy = CausalLMPolicy.tiny(envs, seed=0).to(place.device, place.dtype)
    agent = recipes.make("g2rpo-a", policy, envs, seed=0)
    taken: dict[str, list[float]] = {name: [] for name in ("update", "groups", "rollouts", "run.json")}

    def measure(name: str, work: Callable[[], Any]) -> None:
        started = time.process_time()
        work()
        taken[name].append(time.process_time() - started)

    agent.update()  # compiles and probes
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), agent, Recording(every=0))
        recorder.save_rollouts()
        origin = Origin("train", (), "run", ENV, TASK, GUIDANCE, "g2rpo-a", 0, UPDATES, None, PROBLEMS, GROUP_SIZE)
        measure("run.json", lambda: describe_run(origin, policy, agent.recipe))
        for _ in range(repeats):
            measure("update", agent.update)
            measure("groups", recorder.record)
            measure("rollouts", recorder.save_rollouts)
    median = {name: sorted(times)[len(times) // 2] for name, times in taken.items()}
    saved = 2 + UPDATES // Recording().every - 1  # the first, the due ones, of which the last is one
    records = UPDATES * median["groups"] + saved * median["rollouts"] + median["run.json"]
    return [
        Measurement("an update of 64 episodes", 1000 * median["update"], "ms"),
        Measurement("its lines in groups.jsonl", 1000 * median["groups"], "ms"),
        Measurement(f"its rollouts, saved {saved} times in {UPDATES} updates", 1000 * median["rollouts"], "ms"),
        Measurement("run.json, once", 1000 * median["run.json"], "ms"),
        Measurement(
            f"records of {UPDATES} updates, share of their time", 100 * records / (UPDATES * median["update"]), "%"
        ),
    ]
