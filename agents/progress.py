"""Progress: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

SHOWN = {"reward": "reward", "accuracy": "accuracy", "reveal_length": "reveal"}
"""Metric -> its label."""

PLAIN_LINES = 20
"""How many lines a whole run prints where there is no terminal."""


class Progress:
    """Shows updates as they are done, with reward, unguided accuracy, reveal length and time left.

    Args:
        total: Number of updates of the whole run.
        done: How many of them are done already.
        enabled: False shows nothing.
        stream: Where to write; None is standard error.
    """

    def __init__(self, total: int, done: int = 0, *, enabled: bool = True, stream: TextIO | None = None) -> None:
        self.total, self.done, self.first = total, done, done
        self.enabled, self.stream = enabled, sys.stderr if stream is None else stream
        self.accuracy: float | None = None
        """Last known unguided accuracy; whoever evaluates sets it."""
        self._bar: Any = None
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        if self.enabled and self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, initial=self.done, unit="update", file=self.stream, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, metrics: Mapping[str, Any]) -> None:
        """Show one more update."""
        self.done += 1
        if not self.enabled:
            return
        values = {**metrics, "accuracy": self.accuracy}
        shown = {label: f"{values[key]:.3g}" for key, label in SHOWN.items() if values.get(key) is not None}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
        elif self.done == self.total or (self.done - self.first) % max(1, self.total // PLAIN_LINES) == 0:
            text = "  ".join(f"{label} {value}" for label, value in shown.items())
            print(f"update {self.done}/{self.total}  {text}  {self._time_left()} left", file=self.stream, flush=True)

    def _time_left(self) -> str:
        seconds = (time.monotonic() - self._started) / (self.done - self.first) * (self.total - self.done)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
