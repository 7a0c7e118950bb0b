"""The owner's side of the sandbox: a pool of trusted workers, each with its jails, that gives verdicts on programs.

    with Sandbox(workers=2, timeout=3.0) as sandbox:
        verdicts = sandbox.check([CodeCheck(program, asserts=["assert add(1, 2) == 3"])])

Processes: this one - worker (worker.py: tests, verdicts) - jail (jail.py: warm, knows nothing) - sample (a fork per
program, isolated). docs/sandbox.md says what each may do and what is left.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from g2rpo_env.envs.coding import wire
from g2rpo_env.envs.coding.checks import CodeCheck, CodeOutcome, CodeVerdict
from g2rpo_env.envs.coding.clock import PATIENCE
from g2rpo_env.envs.coding.scratch import empty
from g2rpo_env.errors import ConfigurationError, SandboxUnavailableError

LEVELS = ("namespaces+landlock+seccomp", "landlock+seccomp", "none")
"""Levels of isolation, strongest first."""
MAX_PROGRAM = 1 << 20
"""Bytes of a program; longer ones are refused unread."""
GRACE = 10.0
"""Seconds beyond its own deadline that a worker may take before it is replaced."""

START = 300.0
"""Seconds that a worker may take to start, on a machine that has other things to do."""


@dataclass(frozen=True)
class SandboxOptions:
    """The arguments of :class:`Sandbox`."""

    workers: int
    timeout: float
    memory_mb: int
    disk_mb: int
    namespaces: bool
    unsafe: bool
    libraries: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("memory_mb", 64), ("disk_mb", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 < self.timeout <= 3600:
            raise ConfigurationError(f"timeout={self.timeout} must lie in (0, 3600] seconds")
        for name in self.libraries:
            if not name.isidentifier():
                raise ConfigurationError(f"libraries: {name!r} must be the name of a package")

    @property
    def levels(self) -> list[str]:
        """Levels to try, in order."""
        return [*LEVELS[0 if self.namespaces else 1 : 2], *(LEVELS[2:] if self.unsafe else ())]


class Sandbox:
    """Checks programs in isolation; batched, usable from several threads, started at the first check.

    Dropped from pickle and deepcopy (a copy starts processes of its own), and from a process that forks.

    Args:
        workers: Programs checked at the same time.
        timeout: Seconds for loading a program and all calls of its tests; with ``cases``, of each run. What it waits
            for a core does not count.
        memory_mb: Address space of a program in MiB.
        disk_mb: Size of its private folder in MiB.
        namespaces: Use namespaces where the system allows them; False is the fallback, for tests of it.
        unsafe: Run even where Landlock or seccomp is missing. A program can then do what this user can.
        libraries: Packages beside the standard library that programs may import; left out where not installed.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    def __init__(
        self,
        workers: int = 1,
        timeout: float = 3.0,
        memory_mb: int = 1024,
        disk_mb: int = 16,
        namespaces: bool = True,
        unsafe: bool = False,
        libraries: Sequence[str] = ("numpy",),
    ) -> None:
        self.options = SandboxOptions(workers, timeout, memory_mb, disk_mb, namespaces, unsafe, tuple(libraries))
        self._pool: Pool | None = None
        self._lock = threading.Lock()

    def check(self, checks: Sequence[CodeCheck]) -> list[CodeVerdict]:
        """Return one verdict per check, in order.

        Raises:
            SandboxUnavailableError: this system cannot isolate programs; ``unsafe=True`` runs them nevertheless.
        """
        if not checks:
            return []
        return self._ensure_running().check(checks)

    @property
    def level(self) -> str:
        """The level of isolation; starts the sandbox."""
        return self._ensure_running().level

    def _ensure_running(self) -> Pool:
        with self._lock:
            if self._pool is None or self._pool.owner != os.getpid():
                self._pool = Pool(self.options)
                weakref.finalize(self, self._pool.close)
            return self._pool

    def close(self) -> None:
        """End all processes; the next check starts new ones."""
        with self._lock:
            if self._pool is not None and self._pool.owner == os.getpid():
                self._pool.close()
            self._pool = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return asdict(self.options)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@lru_cache(maxsize=8)
def shared_sandbox(**options: Any) -> Sandbox:
    """Return the sandbox with these options that all environments of this process share."""
    return Sandbox(**options)


# -- the pool ---------------------------------------------------------------------------------------------------------


class Batch:
    """Verdicts on their way, and who waits for them."""

    def __init__(self, size: int) -> None:
        self.verdicts: list[CodeVerdict | None] = [None] * size
        self.missing = size
        self.error: BaseException | None = None
        self.changed = threading.Condition()

    def put(self, index: int, verdict: CodeVerdict | None, error: BaseException | None = None) -> None:
        """Take one verdict, or the error that came instead."""
        with self.changed:
            self.verdicts[index] = verdict
            self.error = self.error or error
            self.missing -= 1
            self.changed.notify_all()

    def wait(self) -> list[CodeVerdict]:
        """Return all verdicts once they are there."""
        with self.changed:
            self.changed.wait_for(lambda: self.missing == 0)
        if self.error is not None:
            raise self.error
        return [verdict for verdict in self.verdicts if verdict is not None]


class Pool:
    """The running workers and a thread for each."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options, self.owner = options, os.getpid()
        self.workers: set[WorkerProcess] = set()
        self.closed = False
        first = self._worker(levels_for(options))
        self.level = _PROBED[options.levels[0]] = first.level
        self.tasks: queue.SimpleQueue[tuple[CodeCheck, int, Batch] | None] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=self._serve, args=(first if n == 0 else None,), daemon=True, name="g2rpo-sandbox")
            for n in range(options.workers)
        ]
        for thread in self.threads:
            thread.start()

    def check(self, checks: Sequence[CodeCheck]) -> list[CodeVerdict]:
        """Return one verdict per check, in order."""
        batch = Batch(len(checks))
        for index, check in enumerate(checks):
            if len(check.source) > MAX_PROGRAM:
                batch.put(index, report_refused(check, self.level))
            else:
                self.tasks.put((check, index, batch))
        return batch.wait()

    def _serve(self, worker: WorkerProcess | None) -> None:
        while (task := self.tasks.get()) is not None:
            check, index, batch = task
            try:
                worker = worker or self._worker([self.level])
                verdict, worker = self._check(check, worker)
            except BaseException as error:
                batch.put(index, None, error)
                worker = None
            else:
                batch.put(index, verdict)
            del task, check, batch
        if worker is not None:
            worker.close()

    def _check(self, check: CodeCheck, worker: WorkerProcess) -> tuple[CodeVerdict, WorkerProcess | None]:
        """Return the verdict and the worker for the next check; a worker that died is replaced and asked once more."""
        for attempt in range(2):
            try:
                return worker.check(check), worker
            except TimeoutError:
                worker.close()
                return report_lost(CodeOutcome.SANDBOX_ERROR, "the tests did not end", self.level), None
            except (EOFError, OSError):
                status = worker.close()
                if status == -signal.SIGXCPU:  # tests that no exception could stop
                    return report_lost(CodeOutcome.TIMEOUT, "the tests took too long", self.level), None
            if self.closed:
                break
            if attempt == 0:
                worker = self._worker([self.level])
        message = "the sandbox was closed" if self.closed else "the worker died twice"
        return report_lost(CodeOutcome.SANDBOX_ERROR, message, self.level), None

    def _worker(self, levels: list[str]) -> WorkerProcess:
        worker = WorkerProcess(self.options, levels)
        self.workers = {other for other in self.workers if other.process.poll() is None} | {worker}
        return worker

    def close(self) -> None:
        """End the workers, whatever they are doing, and wait for them; what was not checked is a sandbox error."""
        if self.closed or self.owner != os.getpid():
            return
        self.closed = True
        with contextlib.suppress(queue.Empty):
            while (task := self.tasks.get_nowait()) is not None:
                task[2].put(task[1], report_lost(CodeOutcome.SANDBOX_ERROR, "the sandbox was closed", self.level))
        for worker in list(self.workers):
            worker.hang_up()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join()


_PROBED: dict[str, str] = {}
"""Level that was found for the strongest level asked; a system is probed once."""


def levels_for(options: SandboxOptions) -> list[str]:
    """Return the levels to try: the one that was found before, if it is allowed."""
    found = _PROBED.get(options.levels[0])
    return [found] if found in options.levels else options.levels


def report_refused(check: CodeCheck, level: str) -> CodeVerdict:
    """Return the verdict on a program that is too long."""
    message = f"the program has {len(check.source)} bytes, more than {MAX_PROGRAM}"
    return CodeVerdict(CodeOutcome.REFUSED, message=message, level=level)


def report_lost(outcome: CodeOutcome, message: str, level: str) -> CodeVerdict:
    """Return the verdict where the worker gave none."""
    return CodeVerdict(outcome, message=message, level=level)


# -- one worker -------------------------------------------------------------------------------------------------------

_SOCKETS: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forget() -> None:
    for sock in list(_SOCKETS):  # a fork must not keep the workers of its parent alive
        sock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class WorkerProcess:
    """A worker as its owner sees it.

    Raises:
        SandboxUnavailableError: no level can be had.
    """

    def __init__(self, options: SandboxOptions, levels: list[str]) -> None:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailableError(
                f"the sandbox needs Linux (Landlock, seccomp), and this is {sys.platform}: run in a Linux container, "
                "a virtual machine, or WSL 2"
            )
        self.timeout = options.timeout
        self.folder = tempfile.mkdtemp(prefix="g2rpo-sandbox-")
        scratch = os.path.join(self.folder, "scratch")
        os.mkdir(scratch, 0o700)
        site, libraries = find_installed(options.libraries)
        settings = {
            "levels": levels,
            "timeout": options.timeout,
            "memory": options.memory_mb << 20,
            "disk": options.disk_mb << 20,
            "scratch": scratch,
            "site": site,
            "libraries": libraries,
            "packages": [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")],
        }
        self.sock, theirs = socket.socketpair()
        _SOCKETS.add(self.sock)
        script = str(Path(__file__).with_name("bootstrap.py"))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", script, "worker", json.dumps(settings)],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip
        try:
            opened = json.loads(wire.receive_frame(self.sock, time.monotonic() + START))
        except (EOFError, OSError, wire.WireError) as error:
            self.close()
            raise SandboxUnavailableError(f"a worker of the sandbox did not start: {error}") from None
        self.level: str = opened["level"]
        if not self.level:
            self.close()
            raise SandboxUnavailableError(
                "this system cannot isolate untrusted programs; it takes Linux 5.13 or newer with Landlock and seccomp "
                f"({'; '.join(opened['failures'])}). unsafe=True runs them nevertheless, with the rights of this user"
            )

    def check(self, check: CodeCheck) -> CodeVerdict:
        """Return the verdict of the worker; raises EOFError, OSError or TimeoutError if there is none."""
        runs = max(1, len(check.cases))
        wire.send_frame(self.sock, json.dumps(check.request()).encode(), time.monotonic() + GRACE)
        answer = json.loads(
            wire.receive_frame(self.sock, time.monotonic() + 3 * PATIENCE * self.timeout * runs + GRACE)
        )
        return CodeVerdict(**{**answer, "outcome": CodeOutcome(answer["outcome"])})

    def hang_up(self) -> None:
        """Make the worker end, and whoever waits for its verdict wake up."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> int:
        """End the worker and what it started, remove its folder, and return its exit status."""
        self.hang_up()
        self.sock.close()
        try:
            status = self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        empty(self.folder)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)
        return status


@lru_cache(maxsize=8)
def find_installed(libraries: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the folder that holds the first of the libraries that are installed, and those that lie in it."""
    places = {}
    for name in libraries:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            places[name] = str(Path(next(iter(spec.submodule_search_locations))).parent.resolve())
    site = next(iter(places.values()), "")
    return site, [name for name, place in places.items() if place == site]
