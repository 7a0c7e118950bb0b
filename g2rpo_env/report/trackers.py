"""Trackers: the numbers of a run for TensorBoard, Weights & Biases, trackio, MLflow and what else accelerate knows.

TensorBoard is written by torch's SummaryWriter and needs nothing beside this library, which requires it; all others go
through ``accelerate.tracking``, of the extra ``track``. accelerate has a tracker for TensorBoard too. It is not used:
with it the same option would take two paths, one where accelerate is installed and one where it is not.

The JSON files of a run folder stay the truth. A tracker that cannot be started, told or finished costs one warning,
and the run goes on without it.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from g2rpo_env.errors import ConfigurationError, MissingDependencyError
from g2rpo_env.naming import suggest

TENSORBOARD = "tensorboard"

KNOWN = (TENSORBOARD, "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio", "wandb")
"""Names of trackers; accelerate 1.15 has these, and each but TensorBoard needs the package of that name."""

PROJECT = "g2rpo-env"
"""Project of the runs where the user names none."""

TRACKERS = "trackers.json"
"""File of a run folder: tracker -> arguments by which a resumed run goes on in the same run of that tracker."""


class Tracker(Protocol):
    """One place that numbers go to."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Take numbers by name."""
        ...

    def finish(self) -> None:
        """Send what is left, and close."""
        ...


class Trackers:
    """The trackers of one run. They start with the first numbers, and again with the first ones after a finish.

    Args:
        path: The run folder.
        names: Names of trackers, see :data:`KNOWN`; empty for none.
        project: Project of the run, in trackers that have projects.

    Raises:
        ConfigurationError: a name is unknown.
    """

    def __init__(self, path: Path, names: Sequence[str] = (TENSORBOARD,), project: str = PROJECT) -> None:
        check_names(names)
        self.path, self.project = path, project
        self.names = list(dict.fromkeys(names))
        self.running: dict[str, Tracker] = {}

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Give all trackers the numbers among ``values``, those of ``metrics.jsonl`` by their names there.

        Args:
            step: Number of the update.
            values: Name -> value; what is no number is left out, and so is ``update``, which the step says.
        """
        numbers = {name: x for name, x in values.items() if name != "update" and isinstance(x, int | float)}
        for name in list(self.names):
            if name not in self.running:
                self._try(name, "started", partial(self._start, name, step))
            if name in self.running:
                self._try(name, "told", partial(self.running[name].log, numbers, step=step))

    def finish(self) -> None:
        """Send what is left, and close all trackers."""
        for name in list(self.running):
            self._try(name, "finished", self.running[name].finish)
            self.running.pop(name, None)

    def _start(self, name: str, step: int) -> None:
        self.running[name] = start_tracker(name, self.path, self.project, step)

    def _try(self, name: str, what: str, call: Callable[[], Any]) -> None:
        """Call what a tracker is to do; where it fails, say so once and leave the tracker out from then on."""
        try:
            call()
        except Exception as error:  # whatever another library raises
            self.names.remove(name)
            self.running.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(
                f"Warning: track={name!r} could not be {what} and is left out from here on; the run goes on, and its "
                f"numbers are in {self.path / 'metrics.jsonl'} ({reason:.300})",
                file=sys.stderr,
                flush=True,
            )


def check_names(names: Sequence[str]) -> None:
    """Raise ConfigurationError for the first name that is no tracker.

    A name that is not in :data:`KNOWN` may be one that a newer accelerate has, or that was registered there.
    """
    for name in names:
        known = KNOWN if name in KNOWN else tuple(dict.fromkeys([*KNOWN, *_list_classes()]))
        if name not in known:
            raise ConfigurationError(f"track={name!r} must be one of {', '.join(known)}{suggest(name, known)}")


def start_tracker(name: str, path: Path, project: str, step: int) -> Tracker:
    """Return a tracker that takes numbers.

    Args:
        name: Its name.
        path: The run folder.
        project: Project of the run.
        step: First update that it will be told of; TensorBoard forgets earlier events from there on, which an
            interrupted run has written and a resumed one writes again.

    Raises:
        MissingDependencyError: accelerate is missing.
    """
    if name == TENSORBOARD:
        return TensorBoard(path, step)
    classes = _list_classes()
    if name not in classes:
        raise MissingDependencyError(
            f"track={name!r} needs accelerate, of the extra 'track': pip install 'g2rpo-env[track]' {name}"
        )
    from accelerate.state import PartialState

    PartialState(cpu=True)  # accelerate's loggers refuse to work without one; with cpu it touches no device
    kind = classes[name]
    place = {"logging_dir": str(path)} if kind.requires_logging_directory else {}
    if name == "wandb":
        place = {"dir": str(path)}  # else it writes into the folder that the command was called in
    arguments = find_arguments(name, path)
    tracker = kind(project, **place, **arguments)
    tracker.start()
    if name == "mlflow" and "run_id" not in arguments:
        remember(path, name, {"run_id": tracker.tracker.info.run_id})
    tracker.store_init_configuration(read_options(path))
    return tracker


class TensorBoard:
    """Event files in the run folder.

    Args:
        path: The run folder.
        step: First update; events from there on that lie in the folder are forgotten.
    """

    def __init__(self, path: Path, step: int) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(path), purge_step=step)

    def log(self, values: dict[str, float], step: int) -> None:
        """Write an event per number."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Flush and close the event file."""
        self.writer.close()


def find_arguments(name: str, path: Path) -> dict[str, Any]:
    """Return what a tracker of accelerate is started with beside the project, so that a resumed run goes on in its run.

    Weights & Biases, trackio and MLflow find their run again; the others begin a second one.
    """
    known = _read_object(path / TRACKERS).get(name)
    if known is not None:
        return dict(known)
    label = path.absolute().name
    if name == "mlflow":
        return {"run_name": label}  # it makes the id itself
    made = uuid.uuid4().hex[:8]
    if name == "wandb":
        return remember(path, name, {"name": label, "id": made, "resume": "allow"})
    if name == "trackio":
        return remember(path, name, {"name": f"{label}-{made}", "resume": "allow"})
    return {}


def remember(path: Path, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Write the arguments of a tracker to :data:`TRACKERS` of a run folder, and return them."""
    known = _read_object(path / TRACKERS) | {name: arguments}
    (path / TRACKERS).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return arguments


def read_options(path: Path) -> dict[str, Any]:
    """Return the options of a run by dotted names, as trackers take them: numbers, texts, booleans.

    Empty where config.json does not say them.
    """
    config = _read_object(path / "config.json")
    options = config.get("options", config)
    return dict(flatten(options)) if isinstance(options, dict) else {}


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return (dotted name, value) of what lies in nested mappings; values that are no scalars become text.

    >>> flatten({"a": 1, "b": {"c": None, "d": [1, 2]}})
    [('a', 1), ('b.c', 'None'), ('b.d', '[1, 2]')]
    """
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += flatten(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value if isinstance(value, bool | int | float | str) else str(value)))
    return found


def _list_classes() -> dict[str, Any]:
    """Return the trackers of accelerate by name; none where it is not installed."""
    try:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS
    except ImportError:
        return {}
    return {str(name): kind for name, kind in LOGGER_TYPE_TO_CLASS.items()}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
