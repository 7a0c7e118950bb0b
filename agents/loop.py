"""The training loop: updates until there are no more to do, with callbacks after each.

``GRPO.learn``, the commands that train, comparisons, the study and the warm start run on it and add what they need as
callbacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

Metrics = dict[str, Any]

Callback = Callable[[Metrics, float], bool | None]
"""(metrics of an update, seconds that it took) -> False to stop after it."""


def run_updates(update: Callable[[], Metrics], more: Callable[[], bool], callbacks: Sequence[Callback] = ()) -> int:
    """Do updates while there are more to do and no callback stops it, and return how many were done.

    Args:
        update: Does one update and returns its metrics.
        more: Whether another one is to be done; asked before each.
        callbacks: Called after each update, in order, all of them even where one stops the training.
    """
    done = 0
    while more():
        started = time.perf_counter()
        metrics = update()
        seconds = time.perf_counter() - started
        done += 1
        if any([callback(metrics, seconds) is False for callback in callbacks]):
            break
    return done
