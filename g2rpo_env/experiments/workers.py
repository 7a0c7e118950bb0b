"""Workers: processes that do jobs side by side, and that end with this process however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Any

SECONDS_TO_END = 5.0
"""Seconds that a worker has to end after SIGTERM before it is killed."""


class Workers:
    """Processes with one job each at a time; a context that leaves none of them behind.

    SIGTERM ends the context as Ctrl-C does, with a KeyboardInterrupt, where it is entered in the main thread. Ctrl-C in
    a terminal reaches this process alone. Workers also end where this process is killed.

    Args:
        number: How many, >= 1; each is started with its first job.
        prepare: Called in each worker before its first job; it must be importable.
        arguments: What it is called with.
    """

    def __init__(self, number: int, prepare: Callable[..., Any], *arguments: Any) -> None:
        self.number, self._start = number, (prepare, *arguments)
        # One pool per process, so that one that is killed takes no other job with it. Spawned: a fork would copy
        # torch's threads in whatever state they are.
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._busy: dict[Future[Any], int] = {}
        self._before: set[Any] = set()
        self._signals = ExitStack()

    def __enter__(self) -> Workers:
        self._before = set(multiprocessing.active_children())
        self._signals.enter_context(end_on_sigterm())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for pool in self._pools.values():
                pool.shutdown(wait=False, cancel_futures=True)
            children = set(multiprocessing.active_children()) - self._before
            for child in children:
                child.terminate()
            for child in children:
                child.join(SECONDS_TO_END)
                if child.is_alive():
                    child.kill()
        finally:
            self._signals.close()

    @property
    def has_free(self) -> bool:
        """Whether a worker has no job."""
        return len(self._busy) < self.number

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Give a job to a free worker."""
        slot = next(n for n in range(self.number) if n not in self._busy.values())
        if slot not in self._pools:
            context = multiprocessing.get_context("spawn")
            self._pools[slot] = ProcessPoolExecutor(1, context, initializer=_start_worker, initargs=self._start)
        with _without_ctrl_c():  # a process that starts inherits that, and is deaf to Ctrl-C before it can say so
            future = self._pools[slot].submit(function, *arguments)
        self._busy[future] = slot
        return future

    def wait(self, seconds: float | None = None) -> set[Future[Any]]:
        """Return jobs that are done, after the first one is or so many seconds; a broken worker is replaced."""
        done = wait(self._busy, seconds, FIRST_COMPLETED).done
        for future in done:
            slot = self._busy.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                self._pools.pop(slot).shutdown(wait=False)
        return done


def describe_error(error: BaseException) -> str:
    """Return what a job raised as one line, with its class."""
    if isinstance(error, BrokenProcessPool):
        return "its process ended without a word: it was killed, as where memory runs out, or it crashed"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _start_worker(prepare: Callable[..., Any], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt as Ctrl-C does, where this is the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
