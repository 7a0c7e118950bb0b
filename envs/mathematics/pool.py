"""The owner of the worker processes: starts them when first needed, kills one that is late, and asks the next one."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
RECYCLE_CALLS = 5000


class SymbolicWorker:
    """A process that compares two LaTeX expressions; calls of several threads wait for each other.

    It is a fork of a warm one, which holds the next fork ready (symbolic.py). No signal, timer or thread is made in the
    caller's process. A copy (pickle, deepcopy, fork) has no process and starts its own.

    Args:
        seconds: Wall-clock limit of a comparison, > 0; the process is killed then.
        memory_mib: Bound on its address space; one that has grown to a quarter of it is replaced.
    """

    def __init__(self, seconds: float = 2.0, memory_mib: int = 2048) -> None:
        self.seconds, self.memory_mib = seconds, memory_mib
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._server: int | None = None
        self._calls = 0
        self._unread = b""
        self._lock = threading.Lock()

    def _reset(self) -> None:
        """Forget the process, which belongs to another owner."""
        SymbolicWorker.__init__(self, self.seconds, self.memory_mib)

    def __getstate__(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "memory_mib": self.memory_mib}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SymbolicWorker.__init__(self, **state)

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None and self._owner == os.getpid():
            self.close()

    @staticmethod
    def is_available() -> bool:
        """Whether math-verify is installed."""
        return importlib.util.find_spec("math_verify") is not None

    @property
    def pid(self) -> int | None:
        """The process id of what compares, or None while there is none."""
        return self._server

    def start(self) -> str:
        """Wait until a process is ready and return ``""``, or why there is none."""
        if self._owner != os.getpid():
            self._reset()  # after a fork the process belongs to the parent
        with self._lock:
            return self._ready()

    def compare(self, gold: str, answer: str, seconds: float | None = None) -> str:
        """Return the word of the worker, see ``symbolic.compare``, or ``timeout``, or ``error: ...``.

        Args:
            gold: LaTeX without dollars.
            answer: The same.
            seconds: A shorter limit than the usual one.
        """
        if self._owner != os.getpid():
            self._reset()
        seconds = self.seconds if seconds is None else min(seconds, self.seconds)
        with self._lock:
            failure = self._ready()
            if failure:
                return failure
            self._calls += 1
            reply = self._ask(json.dumps([gold, answer]).encode() + b"\n", seconds)
            if reply is None or "found" not in reply:
                self._end_server(reply)
                return "timeout"
            if self._calls >= RECYCLE_CALLS or reply["mib"] > self.memory_mib // 4:
                self._end_server(None)
            return str(reply["found"])

    def close(self) -> None:
        """End the processes, if there are any, and wait for their end."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(b"\n")
            process.stdin.close()
        except OSError:  # nobody reads any more
            pass
        self._end_server(None)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _end_server(self, reply: dict[str, Any] | None) -> None:
        """Kill what compares, unless the reply says that it ended by itself and who serves now."""
        server, self._server, self._calls = self._server, None, 0
        if reply and "serving" in reply:
            self._server = reply["serving"]
        elif server is not None:
            try:
                os.kill(server, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _ready(self) -> str:
        """Wait until a process serves; start one if there is none, twice if the first is lost. Return the failure."""
        for _ in range(2):
            if self._process is None or self._process.poll() is not None:
                self.close()
                self._start()
            deadline = time.monotonic() + START_SECONDS
            while self._server is None:
                reply = self._read(deadline)
                if reply is None:
                    break
                self._server = reply.get("serving")
            while (reply := self._read(0.0)) is not None:  # a server that somebody killed has a successor
                self._server = reply.get("serving", self._server)
            if self._server is not None and self._process is not None and self._process.poll() is None:
                return ""
            self.close()
        return f"error: the process of math-verify did not start; memory_mib={self.memory_mib} may be too small"

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-P", str(Path(__file__).with_name("symbolic.py"))]
        self._unread = b""
        self._process = subprocess.Popen(
            [*command, str(self.memory_mib), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )

    def _ask(self, request: bytes, seconds: float) -> dict[str, Any] | None:
        assert self._process is not None and self._process.stdin is not None
        deadline = time.monotonic() + seconds
        try:
            self._process.stdin.write(request)
        except OSError:
            return None
        return self._read(deadline)

    def _read(self, deadline: float) -> dict[str, Any] | None:
        """Return the next line of the process, or None if it ended or said nothing until the deadline."""
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                part = self._process.stdout.read(65536)
                if not part:
                    return None
                self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)
