"""Progress of runs side by side: a bar for each that is going on and one for the whole, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from types import TracebackType
from typing import Any, TextIO

from g2rpo_env.agents.progress import EVERY, FIRST_LINE, clock

FIELDS = ("share", "update", "reward", "accuracy", "reveal_length")
"""Numbers of each run, in the array that workers write: share of its budget in [0, 1], updates, and what is shown."""

SHOWN = {"reward": "reward", "accuracy": "accuracy", "reveal_length": "reveal"}
"""Number -> its label."""


class Gauge:
    """Where one run says how far it is.

    Args:
        numbers: Array of all runs, :data:`FIELDS` of the first, of the second, and so on.
        index: Which run.
    """

    def __init__(self, numbers: MutableSequence[float], index: int) -> None:
        self._numbers, self._first = numbers, index * len(FIELDS)

    def set(self, name: str, value: float) -> None:
        """Say one number, a name of :data:`FIELDS`."""
        self._numbers[self._first + FIELDS.index(name)] = value

    def record(self, metrics: Mapping[str, Any]) -> None:
        """Say the numbers of an update."""
        for name in ("update", "reward", "reveal_length"):
            value = metrics.get(name)
            self.set(name, math.nan if value is None else float(value))


class Board:
    """Shows how far runs are.

    Args:
        labels: Names of the runs.
        numbers: What their gauges write.
        stream: Where to write; None is standard error.
    """

    def __init__(self, labels: Sequence[str], numbers: MutableSequence[float], stream: TextIO | None = None) -> None:
        self.labels, self.numbers = labels, numbers
        self.stream = sys.stderr if stream is None else stream
        self._running: dict[int, Any] = {}  # number of a run that goes on -> its bar, None without a terminal
        self._whole: Any = None
        self._started = time.monotonic()
        self._next_line = FIRST_LINE
        for index in range(len(labels)):
            for name in SHOWN:
                Gauge(numbers, index).set(name, math.nan)

    def __enter__(self) -> Board:
        if self.stream.isatty():
            self._whole = self._make_bar("Training", 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in self._bars():
            bar.close()

    def begin(self, index: int) -> None:
        """A run begins."""
        bar = None
        if self._whole is not None:
            taken = {one.pos for one in self._bars()}
            bar = self._make_bar(self.labels[index], next(n for n in range(1, len(taken) + 1) if -n not in taken))
        self._running[index] = bar

    def end(self, index: int) -> None:
        """A run is over, or will not begin."""
        Gauge(self.numbers, index).set("share", 1.0)
        bar = self._running.pop(index, None)
        if bar is not None:
            bar.close()

    def show(self) -> None:
        """Show how far they are now; called about once a second."""
        share = sum(self._read(index, "share") for index in range(len(self.labels))) / max(1, len(self.labels))
        if self._whole is not None:
            self._whole.n = share
            for index, bar in self._running.items():
                bar.n = self._read(index, "share")
                bar.set_postfix_str(", ".join(self._describe(index)), refresh=False)
            for bar in self._bars():
                bar.refresh()
            return
        seconds = time.monotonic() - self._started
        if seconds >= self._next_line:
            self._next_line = seconds + EVERY
            left = f", {clock(seconds / share - seconds)} left" if share else ""
            runs = (
                " ".join([self.labels[index], f"{self._read(index, 'share'):.0%}", *self._describe(index)])
                for index in self._running
            )
            line = "; ".join([f"Training: {share:.0%} after {clock(seconds)}{left}", *runs])
            print(line, file=self.stream, flush=True)

    def clear(self) -> None:
        """Take the bars away until they are shown again, for lines that others write."""
        for bar in self._bars():
            bar.clear()

    def _read(self, index: int, name: str) -> float:
        return self.numbers[index * len(FIELDS) + FIELDS.index(name)]

    def _describe(self, index: int) -> list[str]:
        values = {label: self._read(index, name) for name, label in SHOWN.items()}
        return [f"{label} {value:.3g}" for label, value in values.items() if not math.isnan(value)]

    def _bars(self) -> Iterable[Any]:
        return [bar for bar in (self._whole, *self._running.values()) if bar is not None]

    def _make_bar(self, label: str, place: int) -> Any:
        from tqdm import tqdm

        layout = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"
        return tqdm(
            desc=label, total=1.0, bar_format=layout, file=self.stream, dynamic_ncols=True, leave=False, position=place
        )
