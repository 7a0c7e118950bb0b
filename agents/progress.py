"""Progress: a live bar in a terminal, plain lines elsewhere; of updates, and of any other work that takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

SHOWN = {"reward": "reward", "accuracy": "accuracy", "reveal_length": "reveal"}
"""Metric -> its label."""

EVERY = 14.0
"""Seconds between two lines where there is no terminal; whoever waits hears something within 15 seconds."""


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
        self._next_line = self._started

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
        elif self.done == self.total or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + EVERY
            text = "  ".join(f"{label} {value}" for label, value in shown.items())
            print(f"update {self.done}/{self.total}  {text}  {self._time_left()} left", file=self.stream, flush=True)

    def _time_left(self) -> str:
        return clock((time.monotonic() - self._started) / (self.done - self.first) * (self.total - self.done))


Report = Callable[[float, float], None]
"""(done, total) of a piece of work, in any unit; called often, also with 0 done."""

FIRST_LINE = 2.0
"""Seconds after which a :class:`Meter` without a terminal writes its first line; the next ones come after twice, four
times as long, and then every :data:`EVERY` seconds."""


class Meter:
    """Shows how much of a piece of work is done, and the time left; a :data:`Report` to be called as it goes on.

    A bar in a terminal; plain lines elsewhere, see :data:`FIRST_LINE`, and none where the work is done before. Lines
    come while nobody calls it, too.

    Args:
        what: What is done, such as ``"Accuracy of the base"``.
        stream: Where to write; None is standard error.
    """

    def __init__(self, what: str, *, stream: TextIO | None = None) -> None:
        self.what, self.stream = what, sys.stderr if stream is None else stream
        self._bar: Any = None
        self._started = time.monotonic()
        self._next_line = FIRST_LINE
        self._share = 0.0
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Meter:
        if not self.stream.isatty():
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        else:
            from tqdm import tqdm

            layout = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left"
            self._bar = tqdm(
                desc=self.what, total=1.0, bar_format=layout, file=self.stream, dynamic_ncols=True, leave=False
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()

    def __call__(self, done: float, total: float) -> None:
        """Show that ``done`` of ``total`` is done."""
        self._share = min(1.0, done / total)
        if self._bar is not None:
            self._bar.update(self._share - self._bar.n)
        else:
            self._show()

    def _tick(self) -> None:
        """Show how far it is while nobody calls, until the work is over."""
        while not self._over.wait(1.0):
            self._show()

    def _show(self) -> None:
        seconds, share = time.monotonic() - self._started, self._share
        if seconds >= self._next_line:
            self._next_line = min(max(2 * self._next_line, seconds), seconds + EVERY)
            left = f", {clock(seconds / share - seconds)} left" if share else ""
            self.line(f"{self.what}: {share:.0%} after {clock(seconds)}{left}")

    def clear(self) -> None:
        """Take the bar away until the next call, for lines that others write."""
        if self._bar is not None:
            self._bar.clear()

    def line(self, text: str) -> None:
        """Write a line, above the bar if there is one."""
        if self._bar is None:
            print(text, file=self.stream, flush=True)
        else:
            self._bar.write(text, file=self.stream)


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds.

    >>> clock(75.4)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
