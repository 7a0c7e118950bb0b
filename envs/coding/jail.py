"""The warm process that holds no secret, and its forks, each of which holds one untrusted program.

It is started with an empty environment and knows no tests. A worker (worker.py) sends commands through a socket:
start a sample (with the descriptors it gets), end it. A sample is a fork in full isolation: it receives the program
and calls, and answers with plain data (wire.py). Whatever it says, only answers travel: no verdict is made here.

Standard library only.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import signal
import site
import socket
import struct
import sys
import threading
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from g2rpo_env.envs.coding import isolation, jail_root, wire
from g2rpo_env.envs.coding.serving import Server, Turns, describe_failure

FULL, FILTERED, NONE = "namespaces+landlock+seccomp", "landlock+seccomp", "none"
"""Levels of isolation, strongest first."""

START, END = b"s", b"e"
STATUS = struct.Struct("<idI")
"""Answer to END: wait status, CPU seconds, peak memory in KiB."""
TOKEN = 8
"""Bytes before each request that its answer repeats."""
MAX_FILES = 64
MAX_TASKS = 64
MAX_INODES = 512
_CONTROL, _RULES = 20, 21  # descriptors; a sample closes them

_WARM = (
    "array bisect cmath collections copy datetime decimal fractions functools heapq itertools json math operator "
    "random re statistics string textwrap typing"
).split()
"""Modules that most programs import. Each costs every fork some microseconds, so the rest is imported when asked."""


@dataclass(frozen=True)
class JailOptions:
    """The settings that a jail gets from its worker.

    Attributes:
        level: FULL, FILTERED or NONE.
        user: Throw-away user to become, or None.
        scratch: Folder for samples where there are no namespaces.
        site: Folder that the libraries are imported from.
        libraries: Names of packages to import before the first sample.
        folders: The folders of these packages, which samples may read.
        memory: Bytes of address space of a sample.
        disk: Bytes of files of a sample.
        cpu: Seconds of CPU of a sample.
    """

    level: str
    user: int | None
    scratch: str
    site: str
    libraries: tuple[str, ...]
    folders: tuple[str, ...]
    memory: int
    disk: int
    cpu: int


def main(argv: Sequence[str]) -> None:
    """Confine this process, say so (or why it failed) through descriptor 0, and serve samples until it closes."""
    options = JailOptions(**json.loads(argv[0]))
    os.dup2(0, _CONTROL, inheritable=False)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    control = socket.socket(fileno=_CONTROL)
    try:
        jail = Jail(options)
    except OSError as error:
        wire.send_frame(control, json.dumps(["failed", str(error)]).encode())
        return
    wire.send_frame(control, json.dumps(["ready", options.level]).encode())
    jail.serve(control)


class Jail:
    """A confined process that forks samples."""

    def __init__(self, options: JailOptions) -> None:
        self.options = options
        self.full = options.level == FULL
        tasks = 0
        if self.full:
            jail_root.enter(options.folders, options.user)
        elif options.user is not None:
            isolation.become(options.user, keep_reading=True)
        else:
            tasks = tasks_of(os.getuid())
        isolation.die_with_parent()
        isolation.hide_memory()
        self.tasks = tasks + MAX_TASKS + 8
        self.scratch = jail_root.SCRATCH if self.full else options.scratch
        os.environ.clear()
        os.environ.update(HOME=self.scratch, TMPDIR=self.scratch, PATH="/usr/bin:/bin", LANG="C.UTF-8", USER="sandbox")
        os.environ.update(LOGNAME="sandbox", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        sys.path[:] = jail_root.own_path()
        sys.argv[:] = sys.orig_argv[:] = ["solution.py"]
        site.setquit()  # exit, quit and help: this process was started without them
        site.sethelper()
        self._import()
        if options.level != NONE:
            place = jail_root.BOX if self.full else self.scratch
            rules = isolation.landlock_rules(jail_root.readable(options.folders, place))
            os.dup2(rules, _RULES, inheritable=False)
            os.close(rules)
        self.filter = isolation.seccomp_program(1 if self.full else isolation.ANY)
        self.pids: dict[bytes, int] = {}
        warm_up()
        bound_recursion()
        self.server = Server({})
        gc.collect()
        gc.freeze()

    def _import(self) -> None:
        for name in _WARM:
            importlib.import_module(name)
        sys.path.append(self.options.site)
        for name in self.options.libraries:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise OSError(f"libraries: {name!r} needs packages that are not named: {error}") from None
        sys.path.remove(self.options.site)
        sys.path_importer_cache.clear()

    def serve(self, control: socket.socket) -> None:
        """Start and end samples as told, until the worker is gone. A command is its letter and the sample's slot."""
        while True:
            command, fds, *_ = socket.recv_fds(control, 2, 3)
            if command[:1] == START:
                pid = self._start(fds)
                self.pids[command[1:]] = pid
                control.sendall(struct.pack("<i", pid))
            elif command[:1] == END:
                control.sendall(end(self.pids.pop(command[1:], 0)))
            else:
                break
        for pid in self.pids.values():
            end(pid)

    def _start(self, fds: list[int]) -> int:
        try:
            pid = isolation.clone(isolation.CLONE_NEWPID | isolation.CLONE_NEWNS) if self.full else os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            try:
                self._sample(fds)
            except BaseException:
                os._exit(99)
            os._exit(0)
        for fd in fds:
            os.close(fd)
        return pid

    def _sample(self, fds: list[int]) -> None:
        self._confine(fds)
        sock = socket.socket(fileno=3)
        if len(fds) == 3:
            os._exit(run_script(sock))
        serve_calls(sock, self.server)

    def _confine(self, fds: list[int]) -> None:
        """Isolate this fork; from here on it can reach nothing but descriptors 0 to 3 and its scratch folder."""
        isolation.die_with_parent()
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for signum in _DEADLY:
            # The first process of a namespace ignores signals that it does not handle, and must not survive them.
            signal.signal(signum, _end_by_signal if self.full else signal.SIG_DFL)
        os.dup2(fds[0], 3) if fds[0] != 3 else None
        for target, fd in enumerate(fds[1:]):
            os.dup2(fd, target)
        if self.full:
            jail_root.mount_scratch(self.options.disk, MAX_INODES)
        os.chdir(self.scratch)
        options = self.options
        isolation.limit(options.memory, options.disk, MAX_FILES, self.tasks, options.cpu)
        isolation.forbid_privileges()
        if not self.full and options.user is None:
            isolation.hide_memory(False)  # the worker looks at its open files; nothing in here may look at others
        keep = not self.full and options.user is not None
        isolation.set_capabilities(1 << isolation.CAP_DAC_READ_SEARCH if keep else 0)
        if options.level != NONE:
            isolation.landlock_enforce(_RULES)
        isolation.close_from(4)
        if options.level != NONE:
            own = isolation.for_process(self.filter, os.getpid()) if not self.full else self.filter
            isolation.seccomp_enforce(own)


_DEADLY = (
    signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGVTALRM,
    signal.SIGPROF, signal.SIGXCPU,
)  # fmt: skip
"""Signals that end a process that does not handle them; those of faults are for the filter (isolation.py)."""


def _end_by_signal(signum: int, frame: Any) -> None:
    os._exit(128 + signum)


def end(pid: int) -> bytes:
    """Kill a sample, which ends all it started, and return its STATUS."""
    if pid <= 0:
        return STATUS.pack(-1, 0.0, 0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return STATUS.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def tasks_of(user: int) -> int:
    """Return how many threads a user's processes have now; the limit of tasks counts them all."""
    count = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


# -- inside a sample --------------------------------------------------------------------------------------------------


MOST_CALLS = 1_000_000
"""Highest recursion limit that a program can set; deeper recursion would succeed or fail as the machine is fast."""


def bound_recursion() -> None:
    """Put a ``sys.setrecursionlimit`` in the place of the interpreter's that sets no limit above ``MOST_CALLS``."""
    set_limit = sys.setrecursionlimit

    def setrecursionlimit(limit: int, /) -> None:
        """Set the maximum depth of the Python interpreter stack to n."""
        set_limit(min(limit, MOST_CALLS))

    sys.setrecursionlimit = setrecursionlimit


def load(source: bytes, name: str) -> dict[str, Any]:
    """Execute a program as a module of some name and return its namespace."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(decode_program(source), "<solution>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def decode_program(source: bytes) -> bytes:
    """Return a program; raise SyntaxError where it is not in its encoding, which ``compile`` overlooks in comments."""
    try:
        source.decode()
    except UnicodeDecodeError:
        import tokenize  # the rare case pays

        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        try:
            source.decode(encoding)
        except UnicodeDecodeError as error:
            raise SyntaxError(str(error)) from None
    return source


def warm_up(rounds: int = 32) -> None:
    """Do what a sample does, so that the interpreter has specialized this code before the first fork, not after each.

    A fork copies each page of memory that it writes to, also those whose objects are only counted.
    """
    for _ in range(rounds):
        server = Server(load(b"def same(x):\n    return x\n", "solution"), Turns(bytes, lambda data: None, TOKEN).ask)
        wire.dumps(["ok", None])
        for argument in (1, [1, 2.0], "text", {"tuple": [True, None]}):
            server.answer(json.dumps(["call", "same", [argument], {"dict": []}]).encode())
        server.answer(b'["call", "other"]')
    del sys.modules["solution"]


def serve_calls(sock: socket.socket, server: Server) -> None:
    """Load the program that comes first, then answer calls until the worker hangs up."""
    request = wire.receive_frame(sock)
    try:
        namespace = load(request[TOKEN:], "solution")
        answer = wire.dumps(["ok", None])
    except BaseException as error:
        wire.send_frame(sock, request[:TOKEN] + failure(error))
        return
    wire.send_frame(sock, request[:TOKEN] + answer)
    turns = Turns(lambda: wire.receive_frame(sock), lambda data: wire.send_frame(sock, data), TOKEN)
    turns.server, server.namespace, server.ask_back = server, namespace, turns.ask
    with contextlib.suppress(EOFError):
        while True:
            turns.give(server.answer(turns.take()))


def answer_to(request: bytes, namespace: dict[str, Any]) -> bytes:
    """Return the answer to one request, see serving.py."""
    return Server(namespace).answer(request)


def failure(error: BaseException) -> bytes:
    """Return the answer that tells of an exception: its nearest builtin class and its message."""
    return json.dumps(describe_failure(error)).encode()


def run_script(sock: socket.socket) -> int:
    """Run the program as a script on descriptors 0 and 1 and return its exit status."""
    request = wire.receive_frame(sock)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="replace", closefd=False)  # type: ignore[misc]
    out = sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # type: ignore[misc]
    try:
        load(request[TOKEN:], "__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        status = 1
        with contextlib.suppress(BaseException):
            wire.send_frame(sock, request[:TOKEN] + failure(error))
    # As the interpreter does at its end: wait for threads, then what atexit was told, then what is still unwritten.
    endings = threading._shutdown, atexit._run_exitfuncs, lambda: sys.stdout.flush(), out.flush  # type: ignore[attr-defined]
    for last in endings:
        with contextlib.suppress(BaseException):
            last()
    return status & 0xFF
