"""The owner of the worker process: starts it when first needed, kills it when late, starts another when it is gone."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
RECYCLE_CALLS = 5000


class SymbolicWorker:
    """One process that compares two LaTeX expressions; calls of several threads wait for each other.

    No signal, timer or thread is made in the caller's process. A copy (pickle, deepcopy, fork) has no process and
    starts its own.

    Args:
        seconds: Wall-clock limit of a comparison, > 0; the process is killed then.
        memory_mib: Bound on its address space; one that has grown to a quarter of it is replaced.
    """

    def __init__(self, seconds: float = 2.0, memory_mib: int = 2048) -> None:
        self.seconds, self.memory_mib = seconds, memory_mib
        self._reset()

    def _reset(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._calls = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "memory_mib": self.memory_mib}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None and self._owner == os.getpid():
            self.close()

    @staticmethod
    def available() -> bool:
        """Whether math-verify is installed."""
        return importlib.util.find_spec("math_verify") is not None

    @property
    def pid(self) -> int | None:
        """The process id of the worker, or None while there is none."""
        return None if self._process is None else self._process.pid

    def compare(self, gold: str, answer: str) -> str:
        """Return the word of the worker, see ``symbolic.compare``, or ``timeout``, or ``error: ...``."""
        if self._owner != os.getpid():
            self._reset()  # after a fork the process belongs to the parent
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self.close()
                failure = self._start()
                if failure:
                    return failure
            self._calls += 1
            reply = self._ask(json.dumps([gold, answer]).encode() + b"\n", self.seconds)
            if reply is None or "found" not in reply:
                self.close()
                return "timeout"
            if self._calls >= RECYCLE_CALLS or reply["mib"] > self.memory_mib // 4:
                self.close()
            return str(reply["found"])

    def close(self) -> None:
        """Kill the process, if there is one, and wait for its end."""
        process, self._process, self._calls = self._process, None, 0
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                try:
                    stream.close()
                except OSError:  # a request that nobody read
                    pass

    def _start(self) -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-P", str(Path(__file__).with_name("symbolic.py"))]
        self._process = subprocess.Popen(
            [*command, str(self.memory_mib), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        if self._ask(b"", START_SECONDS) is None:
            self.close()
            return f"error: the process of math-verify did not start; memory_mib={self.memory_mib} may be too small"
        return ""

    def _ask(self, request: bytes, seconds: float) -> dict[str, Any] | None:
        process, deadline, reply = self._process, time.monotonic() + seconds, b""
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            if request:
                process.stdin.write(request)
        except OSError:
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not reply.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                part = process.stdout.read(65536)
                if not part:
                    return None
                reply += part
        return json.loads(reply)
