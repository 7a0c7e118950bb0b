"""The run folder: everything one training run writes, and how it goes on after an interruption.

run.json              what was trained, from what and where, in one form for all commands
config.json           the options that the run was started with, versions, checksums of its data
config.toml           options that repeat the run: g2rpo-env train --config RUN/config.toml
metrics.jsonl         one line per update, no clock times: equal runs write equal files
evaluations.jsonl     unguided accuracy, apart, so that evaluating changes nothing in metrics.jsonl
timings.jsonl         seconds per update
events.out.tfevents.* the same numbers for TensorBoard
trackers.json         where the numbers go beside TensorBoard, if anywhere, so that a resumed run finds it
checkpoints/000050/   policy as a Hugging Face folder, and the training state
base/                 the model below the LoRA adapters of all checkpoints, if the policy has one
groups.jsonl          one line per group of every update
problems.jsonl        one line per problem in the saved rollouts
rollouts/000050.jsonl the episodes of an update, versioned records
result.json           accuracy on the test problems at the end, with the answer to each
curves.png            reward, unguided accuracy, reveal length, groups with signal

docs/schemas has a JSON Schema of each of them; :mod:`g2rpo_env.report.records` writes groups, problems and rollouts.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g2rpo_env.errors import G2RPOError, ResumeError, RunExistsError, StorageError
from g2rpo_env.report.trackers import Trackers

if TYPE_CHECKING:
    from g2rpo_env.agents.agent import Agent
    from g2rpo_env.agents.evaluation import Evaluation

CONFIG, METRICS, EVALUATIONS, TIMINGS = "config.json", "metrics.jsonl", "evaluations.jsonl", "timings.jsonl"
RESULT, RUN = "result.json", "run.json"
GROUPS, PROBLEMS, ROLLOUTS = "groups.jsonl", "problems.jsonl", "rollouts"
KEEP_CHECKPOINTS = 2


def check_folder(path: Path) -> None:
    """Raise StorageError where a folder cannot be made, or files in it; nothing is left behind."""
    try:
        above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise StorageError(f"out={str(path)!r} must be a folder that can be written: {error.strerror}") from None


def check_file(path: Path | None, option: str) -> None:
    """Raise StorageError where a file that an option names cannot be written; nothing is changed or left behind."""
    if path is None:
        return
    try:
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise StorageError(f"{option}={str(path)!r} must be a file that can be written: {error.strerror}") from None


def read_object(path: Path, refusal: type[G2RPOError], name: str) -> dict[str, Any]:
    """Return the object in a JSON file, which messages call ``name``.

    Raises:
        G2RPOError: of the class ``refusal``; the file is damaged, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise refusal(f"{name} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise refusal(f"{name} must hold an object, and holds {type(found).__name__}")
    return found


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders in a folder of several, such as that of a demo or a comparison, relative to it."""
    found = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{METRICS}")]
    return sorted(path.relative_to(folder) for path in found if (path / CONFIG).is_file())


class RunFolder:
    """A run on disk. Use :meth:`create` or :meth:`open`.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        trackers: Where the numbers go beside the files; TensorBoard unless somebody sets others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trackers = Trackers(path)

    # -- starting ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> RunFolder:
        """Make a new run folder.

        Args:
            path: A folder that does not exist yet, or is empty.
            config: Plain data, written to config.json.

        Raises:
            RunExistsError: the folder holds something; nothing is overwritten.
        """
        path = Path(path)
        cls.check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return cls(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise RunExistsError unless a new run can be made in this folder, StorageError where it cannot be written."""
        if path.is_dir() and (path / CONFIG).is_file():
            raise RunExistsError(
                f"out={str(path)!r} must be a new or empty folder; it already holds a run "
                f"(continue it with --resume {path}, or choose another folder)"
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunExistsError(
                f"out={str(path)!r} must be a new or empty folder, and something is there already; nothing in it is "
                "overwritten: choose another folder, or move this one away"
            )
        check_folder(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Return an existing run folder; raises ResumeError if it is none."""
        path = Path(path)
        if not (path / CONFIG).is_file():
            runs = find_runs(path)
            one_of = (
                f"; it holds the runs {', '.join(map(str, runs))} (give one, such as {path / runs[0]})" if runs else ""
            )
            raise ResumeError(f"run={str(path)!r} must be a run folder, with a {CONFIG} in it{one_of}")
        return cls(path)

    def _read(self, name: str) -> dict[str, Any]:
        return read_object(self.path / name, ResumeError, str(self.path / name))

    @property
    def config(self) -> dict[str, Any]:
        """Options that the run was started with; raises ResumeError where the file is damaged."""
        return self._read(CONFIG)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Write run.json, see :func:`~g2rpo_env.report.provenance.describe_run`."""
        (self.path / RUN).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @property
    def threads(self) -> int | None:
        """Torch threads that the run was started with; None where it is new or does not say."""
        return self.config.get("threads") if (self.path / CONFIG).is_file() else None

    def rewind(self, update: int) -> None:
        """Forget every line and file of later updates, which a resumed run will write again.

        A later checkpoint, which is damaged if the run goes on from an earlier one, gets the ending ``.damaged``.

        Raises:
            ResumeError: metrics.jsonl is not whole up to ``update``.
        """
        found = [row.get("update") for row in self.metrics()]
        if found[:update] != list(range(1, update + 1)):
            raise ResumeError(
                f"{self.path / METRICS} must hold the updates 1 to {update} that the checkpoint has seen, and holds "
                f"{len(found)} other or fewer lines: bring the file back, or start a new run with --policy "
                f"{self.path / 'checkpoints' / f'{update:06d}'}"
            )
        for checkpoint in self.checkpoints():
            if int(checkpoint.name) > update:
                shutil.rmtree(checkpoint.with_suffix(".damaged"), ignore_errors=True)
                checkpoint.rename(checkpoint.with_suffix(".damaged"))
        for name in (METRICS, EVALUATIONS, TIMINGS, GROUPS, PROBLEMS):
            if not (self.path / name).is_file():
                continue
            kept = [line for line in read_lines(self.path / name) if line["update"] <= update]
            write_lines(self.path / name, kept)
        for rollouts in (self.path / ROLLOUTS).glob("*.jsonl"):
            if int(rollouts.stem) > update:
                rollouts.unlink()

    # -- writing ----------------------------------------------------------------------------------------------------

    def record(self, metrics: dict[str, Any], seconds: float) -> None:
        """Append one update: its metrics, and the seconds it took."""
        append_line(self.path / METRICS, metrics)
        append_line(self.path / TIMINGS, {"update": metrics["update"], "seconds": round(seconds, 4)})
        self._scalars(metrics["update"], metrics)

    def record_evaluation(self, update: int, evaluation: Evaluation) -> None:
        """Append an evaluation made after ``update`` updates."""
        append_line(self.path / EVALUATIONS, {"update": update, **evaluation.to_config()})
        self._scalars(update, {f"{evaluation.split}_accuracy": evaluation.accuracy})

    def write_result(self, update: int, evaluation: Evaluation, **facts: Any) -> None:
        """Write result.json: the final evaluation after ``update`` updates, with the answers to each problem.

        Args:
            update: Number of updates.
            evaluation: The evaluation.
            **facts: Further entries, plain data.
        """
        answers = {
            "problem_ids": list(evaluation.problem_ids),
            "correct": evaluation.correct_PS.astype(int).tolist(),
            "valid": evaluation.valid_PS.astype(int).tolist(),
        }
        result = {"update": update, **facts, **evaluation.to_config(), **answers}
        (self.path / RESULT).write_text(json.dumps(result) + "\n", encoding="utf-8")

    def checkpoint(self, agent: Agent, updates: int) -> Path:
        """Save the agent under its number of updates; the newest :data:`KEEP_CHECKPOINTS` are kept.

        A model below a LoRA adapter, which training leaves alone, is written once, into base/. A checkpoint is written
        beside its place and then renamed, so that an interrupted save leaves no half one.

        Raises:
            StorageError: it could not be written; earlier checkpoints are whole.
        """
        folder = self.path / "checkpoints" / f"{updates:06d}"
        if not folder.is_dir():
            from g2rpo_env.agents.policy import lora

            half = folder.with_suffix(".part")
            shutil.rmtree(half, ignore_errors=True)
            try:
                lora.keep_base(getattr(getattr(agent, "policy", None), "model", None), self.path / "base")
                agent.save(half)
                half.rename(folder)
            except Exception as error:
                shutil.rmtree(half, ignore_errors=True)
                if not is_unwritten(error):
                    raise
                raise StorageError(
                    f"the checkpoint of update {updates} could not be written to {folder.parent}, where "
                    f"{shutil.disk_usage(self.path).free / 1e6:,.0f} MB are free: {error}"
                ) from error
        for old in self.checkpoints()[:-KEEP_CHECKPOINTS]:
            shutil.rmtree(old)
        return folder

    def _scalars(self, update: int, values: dict[str, Any]) -> None:
        self.trackers.log(update, values)

    def close(self) -> None:
        """Finish the trackers: flush the TensorBoard events."""
        self.trackers.finish()

    # -- reading ----------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("*") if path.name.isdigit())

    def metrics(self) -> list[dict[str, Any]]:
        """Return one dict per update."""
        return read_lines(self.path / METRICS)

    def result(self) -> dict[str, Any] | None:
        """Return result.json; None if there is none yet. Raises ResumeError where it is damaged."""
        return self._read(RESULT) if (self.path / RESULT).is_file() else None

    def evaluations(self) -> list[dict[str, Any]]:
        """Return one dict per evaluation."""
        return read_lines(self.path / EVALUATIONS)


def is_unwritten(error: Exception) -> bool:
    """Return whether a save failed because a file could not be written, in the words of whoever wrote it."""
    # torch.save and safetensors say so in texts of their own: "unexpected pos 64 vs 0", "(os error 28)".
    words = ("unexpected pos", "PytorchStreamWriter", "os error", "I/O error")
    return isinstance(error, OSError) or any(word in str(error) for word in words)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file that the library wrote; none if it is missing.

    A last line that an interruption cut short is left out.

    Raises:
        ResumeError: a line is no JSON object with an update; the message names file and line.
    """
    if not path.is_file():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line break is empty or cut
        if not line:
            continue
        try:
            row = json.loads(line)
        except ValueError as error:  # a UnicodeDecodeError is one too
            raise ResumeError(f"{path}, line {number}: not valid JSON ({error})") from None
        if not (isinstance(row, dict) and isinstance(row.get("update"), int)):
            raise ResumeError(f"{path}, line {number}: a line must be an object with the number of its update")
        rows.append(row)
    return rows


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append one row to a JSON Lines file."""
    append_lines(path, [row])


def append_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to a JSON Lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(map(to_line, rows)))


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON Lines file anew, whole or not at all."""
    half = path.with_name(f"{path.name}.part")
    with half.open("w", encoding="utf-8") as file:
        file.writelines(map(to_line, rows))
    half.replace(path)


def to_line(row: Any) -> str:
    """Return a row as a line of JSON; numbers that JSON does not have, NaN and infinity, are null.

    >>> to_line({"reward": float("nan")})
    '{"reward": null}\\n'
    """
    try:
        return json.dumps(row, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(_without_nan(row), allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
