"""Interruption between updates: a checkpoint is only good when no episode is in flight."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def catch_stop_request() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request that training asks for between updates; the second one kills.

    Yields:
        A function that returns whether a stop was requested.
    """
    requested = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        # Not print, which the signal may have interrupted.
        os.write(2, b"\nStopping after this update; once more stops at once.\n")

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, old in before.items():
            signal.signal(number, old)
