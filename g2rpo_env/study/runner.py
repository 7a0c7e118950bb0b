"""Runner: does runs in worker processes, keeps each result the moment it is there, and goes on where it was stopped.

study.json            scale and seeds that the folder was begun with
code/HASH.json        module -> hash of its source without comments, for the code that made a result
bases/KEY/            a base as a Hugging Face folder
results/KEY.json      the result of a run
runs/KEY/             its run folder, where records are asked for
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from g2rpo_env.errors import ResumeError
from g2rpo_env.experiments.environments import prepare_torch
from g2rpo_env.experiments.workers import Workers, describe_error
from g2rpo_env.machine import available_cores
from g2rpo_env.naming import MOVED_MODULES
from g2rpo_env.report.code import hash_loaded_code, hash_module
from g2rpo_env.study.runs import Base, Run, execute, hash_config, hash_weights

OPTIONS, RUNS = "study.json", "runs"

NAMED = 6
"""Changed modules that a message names."""


# -- the folder -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk.

    Attributes:
        path: The folder.
        trusts: Whether results of other code count too; otherwise they are an error.
    """

    path: Path
    trusts: bool = False

    @classmethod
    def open(cls, path: Path, options: dict[str, Any], trusts: bool = False) -> StudyFolder:
        """Begin a folder or go on with one.

        Args:
            path: The folder.
            options: Options that all results of a folder share, as plain data.
            trusts: Whether results of other code count too.

        Raises:
            ResumeError: it was begun with other options, or holds something else.
        """
        file = path / OPTIONS
        if file.is_file():
            before = json.loads(file.read_text(encoding="utf-8"))
            for name in sorted(before.keys() | options.keys()):
                if before.get(name) != options.get(name):
                    raise ResumeError(
                        f"out={str(path)!r} was begun with {name}={before.get(name)} and is now given "
                        f"{name}={options.get(name)}: keep to it, or choose another folder"
                    )
        elif path.exists() and (not path.is_dir() or {one.name for one in path.iterdir()} - {"bases"}):
            raise ResumeError(
                f"out={str(path)!r} must be a new or empty folder, one with nothing but bases, or one with a {OPTIONS}"
            )
        for name in ("bases", "results", "code"):
            (path / name).mkdir(parents=True, exist_ok=True)
        write(file, options)
        return cls(path, trusts)

    def get_base(self, base: Base) -> Path:
        """Return the folder of a base, which may not exist yet."""
        return self.path / "bases" / base.key

    def get_result(self, run: Run) -> dict[str, Any] | None:
        """Return the result of a run, None if there is none yet.

        Raises:
            ResumeError: it was made by other code, or from another base than the one that lies here.
        """
        file = self.path / "results" / f"{run.key}.json"
        if not file.is_file():
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = [] if self.trusts else self.find_changed(found["code"])
        if changed:
            named = ", ".join(changed[:NAMED]) + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else "")
            raise ResumeError(
                f"out={str(self.path)!r} holds results of other code: {named} changed since; choose "
                "another folder, go back to that code, or vouch for them with --trust-results"
            )
        base = self.get_base(run.base)
        if base.is_dir() and hash_weights(base) != found["weights"]:
            raise ResumeError(
                f"out={str(self.path)!r} holds {file.name}, which another base/{base.name} was trained from: bases and "
                "results belong together, bring both or neither"
            )
        return found

    def find_changed(self, code: str) -> list[str]:
        """Return the modules whose code has changed since a result was made; moved ones have their new names."""
        before = json.loads((self.path / "code" / f"{code}.json").read_text(encoding="utf-8"))
        names = {module: MOVED_MODULES.get(module, module) for module in before}
        changed = [names[module] for module, known in before.items() if hash_module(names[module]) != known]
        return list(dict.fromkeys(changed))

    def keep(self, run: Run, found: dict[str, Any]) -> None:
        """Write the result of a run, whole or not at all."""
        code = hash_loaded_code()
        write(self.path / "code" / f"{hash_config(code)}.json", code)
        write(self.path / "results" / f"{run.key}.json", {**found, "code": hash_config(code)})


def write(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    half = path.with_suffix(f".{os.getpid()}.part")
    half.write_text(json.dumps(data) + "\n", encoding="utf-8")
    half.replace(path)


# -- doing runs -------------------------------------------------------------------------------------------------------


def order_runs(runs: Iterable[Run]) -> list[Run]:
    """Return distinct runs in order, each after those whose results it reads."""
    found: dict[str, Run] = {}

    def add(run: Run) -> None:
        if run.key not in found:
            for needed in run.needed:
                add(needed)
            found[run.key] = run

    for run in runs:
        add(run)
    return list(found.values())


def start_worker() -> None:
    """Prepare a worker: one thread, and the hashes of the code as it is now, whatever is edited while it runs."""
    prepare_torch(1)
    hash_loaded_code()


def make_base(folder: StudyFolder, base: Base) -> None:
    """Make a base in this process, unless it is there."""
    if not folder.get_base(base).is_dir():
        base.make(folder.get_base(base))


def do_run(folder: StudyFolder, run: Run, device: str, records: bool = False) -> dict[str, Any]:
    """Do one run in this process and keep its result, and a run folder where ``records`` asks for one."""
    needed = {one.key: folder.get_result(one) for one in run.needed}
    lengths = {key: result["lengths"] for key, result in needed.items() if result is not None}
    out = folder.path / RUNS / run.key if records else None
    for half in () if out is None else (out, out.with_name(f"{out.name}-before")):
        shutil.rmtree(half, ignore_errors=True)  # an earlier try of this run, which left no result
    found = execute(run, folder.get_base(run.base), lengths, device, out)
    folder.keep(run, found)
    return found


@dataclass
class Runner:
    """Does runs side by side; results do not depend on how many.

    Attributes:
        folder: Where results are.
        workers: Processes, one torch thread each; None takes the cores.
        device: Torch device of all of them.
        seconds: Begin nothing and wait for nothing after so long; None has no limit.
        stream: Where progress goes; None is standard error.
        records: Whether each run keeps a run folder, too.
    """

    folder: StudyFolder
    workers: int | None = None
    device: str = "cpu"
    seconds: float | None = None
    stream: TextIO | None = None
    records: bool = False
    failed: dict[str, str] = field(default_factory=dict)

    def do(self, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
        """Do the runs that are not done yet, in order, and return key -> result of all that are done.

        The first Ctrl-C ends it; runs in progress are lost, all others are kept. A run that fails is named in
        :attr:`failed`, with its error.
        """
        runs = order_runs(runs)
        done = {run.key: found for run in runs if (found := self.folder.get_result(run)) is not None}
        waiting = [run for run in runs if run.key not in done]
        if waiting:
            with Counter(len(waiting), self.stream) as counter:
                self._work(waiting, done, counter)
        return done

    def _work(self, waiting: list[Run], done: dict[str, dict[str, Any]], counter: Counter) -> None:
        end = None if self.seconds is None else time.monotonic() + self.seconds
        running: dict[Future[Any], Base | Run] = {}
        with Workers(self.workers or available_cores(), start_worker) as workers:
            while (waiting or running) and (end is None or time.monotonic() < end):
                while workers.has_free and (job := self._next(waiting, done, running)) is not None:
                    running[self._submit(workers, job)] = job
                if not running:
                    break  # the remaining runs wait for one that failed
                for future in workers.wait(None if end is None else max(0.0, end - time.monotonic())):
                    self._finish(running.pop(future), future, done, counter)

    def _next(self, waiting: list[Run], done: dict[str, Any], running: dict[Future[Any], Base | Run]) -> Any:
        """Return the first base or run that can begin now, and take a run off the list."""
        busy = {job.key for job in running.values()}
        for run in waiting:
            needed = {one.key for one in run.needed}
            if self.failed.keys() & {run.base.key, *needed}:
                continue
            if not self.folder.get_base(run.base).is_dir():
                if run.base.key not in busy:
                    return run.base
            elif needed <= done.keys():
                waiting.remove(run)
                return run
        return None

    def _submit(self, workers: Workers, job: Base | Run) -> Future[Any]:
        if isinstance(job, Base):
            return workers.submit(make_base, self.folder, job)
        return workers.submit(do_run, self.folder, job, self.device, self.records)

    def _finish(self, job: Base | Run, future: Future[Any], done: dict[str, Any], counter: Counter) -> None:
        error = future.exception()
        label = job.label if isinstance(job, Run) else f"base, seed {job.seed}"
        if error is not None:
            self.failed[job.key] = f"{label}: {describe_error(error)}"
            counter.line(f"failed: {self.failed[job.key]}")
        elif isinstance(job, Run):
            found = done[job.key] = future.result()
            counter.step(f"{label}: accuracy {found['accuracy']:.3f} after {found['seconds']:.0f} s")


class Counter:
    """Shows how many runs are done and how long the rest will take: a bar in a terminal, plain lines elsewhere.

    Args:
        total: Runs to do.
        stream: Where to write; None is standard error.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.done = total, 0
        self.stream = sys.stderr if stream is None else stream
        self._bar: Any = None
        self._started = time.monotonic()

    def __enter__(self) -> Counter:
        if self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, unit="run", file=self.stream, dynamic_ncols=True)
        else:
            print(f"{self.total} runs to do", file=self.stream, flush=True)
        return self

    def __exit__(self, *raised: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, text: str) -> None:
        """Count a run."""
        self.done += 1
        if self._bar is None:
            seconds = (time.monotonic() - self._started) / self.done * (self.total - self.done)
            minutes, seconds = divmod(int(seconds), 60)
            text = f"run {self.done}/{self.total}  {text}, {minutes}:{seconds:02d} left"
        else:
            self._bar.update()
        self.line(text)

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is None:
            print(text, file=self.stream, flush=True)
        else:
            self._bar.write(text, file=self.stream)
