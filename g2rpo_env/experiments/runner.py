"""Runner: chains of arms in worker processes."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.evaluation import Evaluation
from g2rpo_env.experiments.arms import Arm, Failure, Result, Setting, make_agent, train
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.progress import FIELDS, Board, Gauge
from g2rpo_env.experiments.repeat import find_repeat
from g2rpo_env.experiments.workers import Workers, describe_error
from g2rpo_env.machine import available_cores
from g2rpo_env.report.options_file import write_options
from g2rpo_env.report.plots import Curves
from g2rpo_env.report.provenance import Origin, describe_run, get_checksums, get_versions, to_plain
from g2rpo_env.report.records import Recorder, Recording
from g2rpo_env.report.run_folder import RunFolder

Job = tuple[Setting, Path, Sequence[Arm], Path]
"""(setting, folder of the base, arms, folder for the runs); an arm may replay one that stands before it."""

Outcome = Result | Failure

ERROR = "error.txt"
"""File in the folder of a run that failed, with the traceback."""

LOOK_AGAIN = 1.0
"""Seconds between two looks at how far the workers are."""


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

RECORDING = Recording(command="compare")
"""What the folders of compared runs keep, where nobody says otherwise."""


def run_chains(
    jobs: Sequence[Job],
    report: Callable[[str], Any] = print,
    workers: int | None = None,
    keep: Callable[[Result], Any] | None = None,
    place: Place = ON_PROCESSOR,
    recording: Recording = RECORDING,
) -> list[Outcome]:
    """Run chains of arms, as many side by side as there are cores; where one fails, the others go on.

    Args:
        jobs: The chains.
        report: Called with a line when an arm is done or has failed.
        workers: Number of processes; None takes the cores, as many as have ``place.threads`` each.
        keep: Called with each result the moment it is there.
        place: Where the models run.
        recording: What the folders of the runs keep of their groups and episodes.

    Returns:
        What became of each arm, in the order of the jobs and their arms.
    """
    # How far each arm is, written by the workers; a float is written whole.
    seeds = {job[0].seed for job in jobs}
    labels = [arm.label if len(seeds) == 1 else f"{arm.label}, seed {job[0].seed}" for job in jobs for arm in job[2]]
    numbers = multiprocessing.get_context("spawn").RawArray("d", len(labels) * len(FIELDS))
    number_of_workers = min(workers or max(1, available_cores() // place.threads), len(jobs))
    with Workers(number_of_workers, start_worker, numbers, place.threads) as pool, Board(labels, numbers) as board:
        return _Chains(jobs, place, pool, board, report, keep, recording).run()


class _Chains:
    """Gives arms to workers, the next one of a chain as soon as the one before it is done."""

    def __init__(
        self,
        jobs: Sequence[Job],
        place: Place,
        pool: Workers,
        board: Board,
        report: Callable[[str], Any],
        keep: Callable[[Result], Any] | None,
        recording: Recording,
    ) -> None:
        self.jobs, self.place, self.report, self.keep = jobs, place, report, keep
        self.pool, self.board, self.recording = pool, board, recording
        self.done: list[dict[str, Outcome]] = [{} for _ in jobs]
        self.waiting = list(range(len(jobs)))  # chains whose next arm can begin
        self.running: dict[Future[Result], int] = {}
        self.first = [sum(len(job[2]) for job in jobs[:number]) for number in range(len(jobs))]

    def run(self) -> list[Outcome]:
        while self.waiting or self.running:
            while self.waiting and self.pool.has_free:
                self._begin(self.waiting.pop(0))
            self.board.show()
            for future in self.pool.wait(LOOK_AGAIN) if self.running else ():
                number = self.running.pop(future)
                error = future.exception()
                self._finish(number, future.result() if error is None else self._explain(number, error))
        return [outcome for done in self.done for outcome in done.values()]

    def _next_arm(self, number: int) -> Arm:
        return self.jobs[number][2][len(self.done[number])]

    def _begin(self, number: int) -> None:
        setting, base, _, out = self.jobs[number]
        arm = self._next_arm(number)
        replayed = None if arm.replays is None else self.done[number][arm.replays]
        if isinstance(replayed, Failure):
            reason = f"{replayed.arm.label}, whose reveal lengths it replays, failed"
            self._finish(number, Failure(arm, setting.seed, reason))
            return
        index = self.first[number] + len(self.done[number])
        one, lengths = fit_replayed(setting, replayed)
        given = one, base, arm, out / arm.label, lengths, self.place, self.recording
        self.board.begin(index)
        self.running[self.pool.submit(run_in_worker, index, *given)] = number

    def _finish(self, number: int, outcome: Outcome) -> None:
        self.board.end(self.first[number] + len(self.done[number]))
        self.done[number][outcome.arm.label] = outcome
        if len(self.done[number]) < len(self.jobs[number][2]):
            self.waiting.insert(0, number)
        self.board.clear()
        if isinstance(outcome, Failure):
            self.report(f"  failed: {outcome}")
            return
        if self.keep is not None:
            self.keep(outcome)
        accuracy, seconds = outcome.evaluation.accuracy, outcome.seconds
        self.report(f"  {outcome.arm.label}, seed {outcome.seed}: accuracy {accuracy:.3f} after {seconds:.0f} s")

    def _explain(self, number: int, error: BaseException) -> Failure:
        setting, _, _, out = self.jobs[number]
        arm = self._next_arm(number)
        written = out / arm.label / ERROR
        where = f" (its traceback: {written})" if written.is_file() else ""
        return Failure(arm, setting.seed, describe_error(error) + where)


def fit_replayed(setting: Setting, replayed: Result | None) -> tuple[Setting, Sequence[float] | None]:
    """Return the setting of an arm and the reveal lengths that it replays, update by update; None for none."""
    if replayed is None:
        return setting, None
    lengths = replayed.reveal_lengths
    return replace(setting, updates=len(lengths), sampled_tokens=None), lengths


def run_chain(
    setting: Setting,
    base: Path,
    arms: Sequence[Arm],
    out: Path,
    place: Place = ON_PROCESSOR,
    recording: Recording = RECORDING,
) -> list[Result]:
    """Run arms one after the other in this process."""
    done: dict[str, Result] = {}
    for arm in arms:
        one, lengths = fit_replayed(setting, None if arm.replays is None else done[arm.replays])
        done[arm.label] = run_arm(one, base, arm, out / arm.label, lengths, place=place, recording=recording)
    return list(done.values())


# -- in a worker ------------------------------------------------------------------------------------------------------

_numbers: MutableSequence[float] = []


def start_worker(numbers: MutableSequence[float], threads: int) -> None:
    """Prepare a worker: its torch threads, and where it writes how far its arms are."""
    global _numbers
    _numbers = numbers
    prepare_torch(threads)


def run_in_worker(
    index: int,
    setting: Setting,
    base: Path,
    arm: Arm,
    out: Path,
    lengths: Sequence[float] | None,
    place: Place,
    recording: Recording,
) -> Result:
    """Run an arm; where it fails, its traceback is left in its folder."""
    try:
        return run_arm(setting, base, arm, out, lengths, Gauge(_numbers, index), place, recording)
    except Exception:
        out.mkdir(parents=True, exist_ok=True)
        (out / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
        raise


class ArmFolder:
    """The run folder of an arm: its options, and what is kept of its updates and evaluations.

    Args:
        setting: Environment, budget, seed.
        base: Folder of the base.
        arm: The arm.
        agent: Its agent, before its first update.
        policy: The policy that it trains.
        out: Run folder; must be new or empty.
        place: Where the model runs.
        recording: What the folder keeps of its groups and episodes.
        gauge: Shows how far it is; None for nobody.
    """

    def __init__(
        self,
        setting: Setting,
        base: Path,
        arm: Arm,
        agent: Any,
        policy: Any,
        out: Path,
        place: Place = ON_PROCESSOR,
        recording: Recording = RECORDING,
        gauge: Gauge | None = None,
    ) -> None:
        self.setting, self.agent, self.gauge = setting, agent, gauge or Gauge([0.0] * len(FIELDS), 0)
        self._repeat = find_repeat(setting, base, arm, agent, place.threads)
        self.files = RunFolder.create(out, {**describe_config(setting, base, arm), "unsaid": list(self._repeat.unsaid)})
        write_options(out, self._repeat.options, self._repeat.unsaid)
        origin = find_origin(setting, arm, out, recording)
        self.files.write_facts(describe_run(origin, policy, getattr(agent, "recipe", None)))
        self._recorder = Recorder(out, agent, recording)

    def record(self, metrics: dict[str, Any], seconds: float) -> None:
        """Keep one update."""
        self.files.record(metrics, seconds)
        self._recorder.record()
        self.gauge.record(metrics)

    def record_evaluation(self, update: int, evaluation: Evaluation) -> None:
        """Keep an evaluation made after ``update`` updates."""
        self.files.record_evaluation(update, evaluation)
        self.gauge.set("accuracy", evaluation.accuracy)

    def finish(self, updates: int) -> None:
        """Keep what is there after the last update."""
        self._recorder.finish()
        if updates != self.setting.updates:  # a budget of tokens ends with the update that reaches it
            write_options(self.files.path, {**self._repeat.options, "updates": updates}, self._repeat.unsaid)
        self.files.close()
        self.files.checkpoint(self.agent, updates)

    def write_result(self, updates: int, evaluation: Evaluation) -> None:
        """Keep the final evaluation."""
        self.files.write_result(updates, evaluation, sampled_tokens=int(self.agent.sampled_tokens))


def run_arm(
    setting: Setting,
    base: Path,
    arm: Arm,
    out: Path,
    lengths: Sequence[float] | None = None,
    gauge: Gauge | None = None,
    place: Place = ON_PROCESSOR,
    recording: Recording = RECORDING,
) -> Result:
    """Train the base in one way and evaluate it.

    Args:
        setting: Environment, budget, seed.
        base: Folder of the base.
        arm: The way.
        out: Run folder; must be new or empty.
        lengths: Reveal lengths that the arm replays; None for none.
        gauge: Shows how far it is.
        place: Where the model runs.
        recording: What the folder keeps of its groups and episodes.
    """
    policy = CausalLMPolicy.from_pretrained(base, device=place.device, dtype=place.dtype)
    agent = make_agent(setting, policy, arm, lengths)
    folder = ArmFolder(setting, base, arm, agent, policy, out, place, recording, gauge)
    started = time.perf_counter()
    updates = train(agent, setting, folder, lambda share: folder.gauge.set("share", min(1.0, share)))
    seconds = time.perf_counter() - started
    folder.finish(updates)
    evaluation = setting.evaluate(agent, "test", setting.evaluation_problems)
    folder.write_result(updates, evaluation)
    curves = Curves(folder.files.metrics(), folder.files.evaluations())
    return Result(arm, setting.seed, evaluation, agent.sampled_tokens, curves, seconds)


def find_origin(setting: Setting, arm: Arm, out: Path, recording: Recording) -> Origin:
    """Return what run.json says of an arm beside its policy."""
    return Origin(
        command=recording.command,
        argv=recording.argv,
        label=out.name,
        env=setting.env,
        task=setting.task,
        guidance=setting.guidance if arm.guided else None,
        algorithm=arm.algorithm,
        seed=setting.seed,
        updates=setting.updates if setting.sampled_tokens is None else None,
        sampled_tokens=setting.sampled_tokens,
        problems=setting.problems,
        group_size=setting.group_size,
    )


def describe_config(setting: Setting, base: Path, arm: Arm) -> Mapping[str, Any]:
    """Return all that a run depends on, as plain data for its config.json."""
    return {
        "algorithm": arm.algorithm,
        "learning_rate": arm.learning_rate,
        "seed": setting.seed,
        "arm": to_plain(arm),
        "setting": to_plain(setting),
        "base": str(base),
        "versions": get_versions(),
        "data": get_checksums(setting.task),
        **setting.get_environment(),
    }
