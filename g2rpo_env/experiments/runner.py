"""Runner: chains of arms in worker processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.experiments.arms import Arm, Result, Setting, make_agent, train
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.machine import available_cores
from g2rpo_env.report.plots import Curves
from g2rpo_env.report.run_folder import RunFolder


@dataclass(frozen=True)
class Place:
    """Where the models of arms run, and how.

    Attributes:
        device: Torch device.
        dtype: Name of the torch dtype of the weights.
        threads: Torch threads of each worker process, >= 1.
    """

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1


ON_PROCESSOR = Place()
"""One thread of the processor, float32."""


def run_chains(
    jobs: Sequence[tuple[Setting, Path, Sequence[Arm], Path]],
    report: Any = print,
    workers: int | None = None,
    place: Place = ON_PROCESSOR,
) -> list[Result]:
    """Run chains of arms, as many side by side as there are cores.

    Args:
        jobs: (setting, folder of the base, arms, folder for the runs); the arms of a job run one after the other, so
            that one may replay an earlier one.
        report: Called with a line when an arm is done.
        workers: Number of processes; None takes the cores, as many as have ``place.threads`` each.
        place: Where the models run.

    Returns:
        The results, in the order of the jobs and their arms.
    """
    workers = min(workers or max(1, available_cores() // place.threads), len(jobs))
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in whatever state they are
    results: dict[int, list[Result]] = {}
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_torch, initargs=(place.threads,)) as pool:
        futures = {pool.submit(run_chain, *job, place): number for number, job in enumerate(jobs)}
        for future in as_completed(futures):
            number = futures[future]
            results[number] = future.result()
            for result in results[number]:
                report(
                    f"  {result.arm.label}, seed {result.seed}: accuracy {result.evaluation.accuracy:.3f} "
                    f"after {result.seconds:.0f} s"
                )
    return [result for number in sorted(results) for result in results[number]]


def run_chain(setting: Setting, base: Path, arms: Sequence[Arm], out: Path, place: Place = Place()) -> list[Result]:
    """Run arms one after the other in this process."""
    done: dict[str, Result] = {}
    for arm in arms:
        if arm.replays is None:
            done[arm.label] = run_arm(setting, base, arm, out / arm.label, place=place)
        else:
            lengths = done[arm.replays].reveal_lengths
            same = replace(setting, updates=len(lengths), sampled_tokens=None)
            done[arm.label] = run_arm(same, base, arm, out / arm.label, lengths, place)
    return list(done.values())


def run_arm(
    setting: Setting,
    base: Path,
    arm: Arm,
    out: Path,
    lengths: Sequence[float] | None = None,
    place: Place = ON_PROCESSOR,
) -> Result:
    """Train the base in one way and evaluate it."""
    policy = CausalLMPolicy.from_pretrained(base, device=place.device, dtype=place.dtype)
    agent = make_agent(setting, policy, arm, lengths)
    config = {"algorithm": arm.algorithm, "learning_rate": arm.learning_rate, "seed": setting.seed}
    config |= setting.get_environment()
    folder = RunFolder.create(out, config)
    started = time.perf_counter()
    updates = train(agent, setting, folder)
    seconds = time.perf_counter() - started
    folder.close()
    folder.checkpoint(agent, updates)
    evaluation = setting.evaluate(agent, "test", setting.evaluation_problems)
    curves = Curves(folder.metrics(), folder.evaluations())
    return Result(arm, setting.seed, evaluation, agent.sampled_tokens, curves, seconds)
