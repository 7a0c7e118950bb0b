"""The trusted process of the sandbox: it holds tests and expected values, asks a jailed program, and gives verdicts.

It never compiles, imports, unpickles or formats anything of the program. It is started by sandbox.py, one per core,
and ends when the socket to its owner closes; its jails end with it. Standard library only.
"""

# Covered here, that is, defended against whatever a program in its jail does:
# - A forged verdict. Tests and expected values never leave this process. Answers are plain data that wire.py rebuilds,
#   capped in bytes, depth and parts, and each must repeat the random token of its question (Remote.ask). An object that
#   is no plain data equals nothing. Tests that ask nothing are not passed.
# - A program that is late, also one that stops reading or writing: wall time for loading and all calls
#   (Remote.check_time), and a guard on this process itself, because tests can run long on answers that are allowed
#   (guard). Time that the sample waited for a core is given back (clock.py).
# - Floods of output, answers and, without a file system of the sample's own, files (Remote.look_up).
# - Texts of the program in messages: bounded and printable (printable, trial.brief).
# - A level of isolation that the system claims and does not keep: the first sample tries it (Worker._probe).
# - An owner that is gone: its socket closes, and the jails end.
#
# Not covered here:
# - Isolation itself. That a sample reaches no file, socket, process or memory of others is up to jail.py, isolation.py
#   and jail_root.py, and to the kernel. A fault there gives a program the rights of the user that it runs as.
# - Tests and setup. They run here as trusted code: they come with the data set, never from a policy.
# - Programs that pass by knowing the tests, or by counting calls.
# - Files between two looks where there are no namespaces: a program may write for WATCH seconds unseen.

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2rpo_env.envs.coding import jail, wire
from g2rpo_env.envs.coding.clock import PATIENCE, Clock
from g2rpo_env.envs.coding.exceptions import Control, NeedsLibraries, Obstacle, name_missing
from g2rpo_env.envs.coding.outputs import same_output
from g2rpo_env.envs.coding.references import Session
from g2rpo_env.envs.coding.scratch import empty, measure_hidden, within
from g2rpo_env.envs.coding.trial import (
    Score,
    TestError,
    brief,
    not_installed,
    prepare,
    run_asserts,
    run_check,
    top_names,
    unreached,
)

MAX_OUTPUT = 4 << 20
"""Bytes that a script may write."""
WATCH = 0.02
"""Seconds between two looks at the files of a sample, where no file system of its own bounds them."""
FIRST_USER = 1_870_000_000
"""Throw-away users (as root) are numbered from here; no system gives such numbers to people."""

Result = dict[str, Any]


class OwnerGone(Control):
    """The owner closed its socket while a program was being checked."""


class Stop(Control):
    """The end of a trial, whatever its tests catch: outcome and message."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(outcome, message)
        self.outcome, self.message = outcome, message


def main(argv: Sequence[str]) -> None:
    """Answer requests from descriptor 0 until it closes."""
    sys.setrecursionlimit(3000)  # functions of tests and programs may call each other in turn
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the owner decides
    owner = socket.socket(fileno=os.dup(0))
    worker = Worker(owner, **json.loads(argv[0]))
    try:
        wire.send_frame(owner, json.dumps(worker.open()).encode())
        while True:
            request = json.loads(wire.receive_frame(owner, most=1 << 30))
            wire.send_frame(owner, json.dumps(worker.check(request)).encode())
    except (EOFError, OSError, OwnerGone):
        pass
    finally:
        worker.close()


PROBE = b"""
import os, socket
def reached():
    found = []
    for name, attempt in (("socket", socket.socket), ("/", lambda: os.listdir("/")), ("fork", os.fork)):
        try:
            attempt()
            found.append(name)
        except OSError:
            pass
    return found
"""
"""A program that tries the forbidden; whatever it reaches shows that a level does not hold."""


class Worker:
    """One worker: its settings and its jails, one without libraries and one with them.

    Args:
        owner: Socket to the owner, who says nothing while a program is checked unless it is gone.
        levels: Levels of isolation to try, in order.
        timeout: Seconds of wall time for loading and all calls of one program.
        memory: Bytes of address space of a program.
        disk: Bytes of files of a program.
        scratch: Folder for files of programs where there are no namespaces.
        site: Folder of the libraries.
        libraries: Names of packages that programs may import.
        packages: Folders of packages that tests may import.
    """

    def __init__(
        self,
        owner: socket.socket,
        levels: list[str],
        timeout: float,
        memory: int,
        disk: int,
        scratch: str,
        site: str,
        libraries: list[str],
        packages: list[str],
    ) -> None:
        sys.path += packages
        self.owner = owner
        self.levels, self.timeout, self.disk, self.scratch = levels, timeout, disk, scratch
        self.site, self.libraries = site, libraries
        self.limits = {"memory": memory, "disk": disk, "cpu": int(timeout) + 2}
        self.user = FIRST_USER + os.getpid() if os.geteuid() == 0 else None
        self.jails: dict[bool, JailProcess] = {}
        self.needs_libraries = re.compile(rb"\b(" + "|".join(libraries).encode() + rb")\b") if libraries else None
        self.level = ""
        self.clock: Clock | None = None
        self.past_turns = 0.0

    def turns(self) -> float:
        """Return how long programs have had the word since the last check began, in seconds."""
        return self.past_turns + (self.clock.passed() if self.clock else 0.0)

    def open(self) -> Result:
        """Start the first jail at the strongest level that the system allows, and say which it is."""
        if self.user is not None:
            os.chmod(self.scratch, 0o700)
            with contextlib.suppress(OSError):
                os.chown(self.scratch, self.user, self.user)
                os.chmod(os.path.dirname(self.scratch), 0o711)
        failures = []
        for level in self.levels:
            try:
                self.level = level
                self.jails[False] = self._start(level, [])
                self._probe()
            except (OSError, EOFError, Stop, Obstacle) as error:
                self.level = ""
                failures.append(f"{level}: {error}")
            else:
                break
        return {"level": self.level, "failures": failures}

    def _probe(self) -> None:
        """Raise OSError if a sample does not start, or reaches anything forbidden."""
        process = self.jails[False]
        with process.sample([]) as sample:
            try:
                remote = Remote(self, sample)
                remote.load(PROBE)
                session = RemoteSession(remote)
                reached = session.call("reached", (), {}) if self.level != jail.NONE else []
            finally:
                process.end(sample)
        if reached:
            process.close()
            raise OSError(f"a sample can reach {', '.join(map(str, reached))}")

    def close(self) -> None:
        """End the jails and remove the scratch folder."""
        for process in self.jails.values():
            process.close()
        empty(self.scratch)
        with contextlib.suppress(OSError):
            os.rmdir(self.scratch)
            os.rmdir(os.path.dirname(self.scratch))

    def _start(self, level: str, libraries: list[str]) -> JailProcess:
        folders = [f"{self.site}/{name}{end}" for name in libraries for end in ("", ".libs")]
        settings = {
            "level": level,
            "user": self.user,
            "scratch": self.scratch,
            "site": self.site,
            "libraries": libraries,
            "folders": [folder for folder in folders if os.path.isdir(folder)],
            **self.limits,
        }
        return JailProcess(settings)

    def _jail_for(self, wants: bool) -> JailProcess:
        """Return the jail with libraries, or the one without."""
        process = self.jails.get(wants)
        if process is None or process.dead:
            process = self.jails[wants] = self._start(self.level, self.libraries if wants else [])
        return process

    def check(self, request: Result) -> Result:
        """Return the verdict on one request, see checks.CodeCheck."""
        started = time.monotonic()
        program = request["program"].encode("latin-1")
        score, usage = Score(), {"memory": 0, "cpu": 0.0}
        outcome, message = "sandbox_error", ""
        self.clock, self.past_turns = None, 0.0
        try:
            prepare(request["test"] or "", request["setup"], request["asserts"])
            with guard(2 * self.timeout * max(1, len(request["cases"])), self.turns):
                outcome, message = self._outcome(request, program, score, usage)
        except Stop as stop:
            outcome, message = stop.outcome, stop.message
        except (TestError, Obstacle) as error:
            outcome, message = ("wrong", score.message) if score.failed else ("sandbox_error", str(error))
        except (OSError, EOFError) as error:  # a jail that died
            message = f"the jail failed: {brief(error)}"
            for process in self.jails.values():
                process.close()
        if self.level != jail.FULL:
            empty(self.scratch)
        called = f"{request['name']}: " if request["name"] and outcome == "sandbox_error" else ""
        return {
            "outcome": outcome,
            "share": 1.0 if outcome == "passed" else min(score.share, 1.0) if outcome != "sandbox_error" else 0.0,
            "message": printable(called + message),
            "level": self.level,
            "seconds": time.monotonic() - started,
            "memory_mb": usage["memory"] / 1024,
        }

    def _outcome(self, request: Result, program: bytes, score: Score, usage: dict[str, Any]) -> tuple[str, str]:
        wants = bool(self.needs_libraries and self.needs_libraries.search(program))
        process = self._jail_for(wants)
        if request["cases"]:
            return self._scripts(process, request, program, score, usage)
        try:
            session = self._trial(process, request, program, score, usage)
        except NeedsLibraries:
            if wants or not self.libraries:
                raise Obstacle("an array of the tests cannot be passed to the program: no libraries") from None
            process = self._jail_for(True)
            score.clear()
            session = self._trial(process, request, program, score, usage)
        if session.answers == 0 and not score.failed:
            raise Obstacle("the tests ask nothing of the program")
        if score.failed or not score.passed:
            self._excuse(request, program, score)
            return "wrong", score.message
        if session.doubts:
            return judge_doubts(session)
        if session.changed:
            again = Score()
            with contextlib.suppress(Stop):
                self._trial(process, request, program, again, usage, copies=True)
            if again.failed or not again.passed:
                raise Obstacle("it passes only by changing arguments of calls that also return something")
        return "passed", ""

    @staticmethod
    def _excuse(request: Result, program: bytes, score: Score) -> None:
        """Raise an Obstacle if tests that failed do what cannot work here."""
        source = request["test"] or "", request["setup"], request["asserts"]
        reason = ""
        if package := not_installed(*source):
            reason = f"the tests import {package!r}, which is not installed"
        elif word := unreached(*source, program, request["entry_point"]):
            reason = f"the tests use {word!r}, which does not reach the program"
        if reason:
            score.clear()
            raise Obstacle(reason)

    def _trial(
        self,
        process: JailProcess,
        request: Result,
        program: bytes,
        score: Score,
        usage: dict[str, Any],
        copies: bool = False,
    ) -> RemoteSession:
        """Run all tests of a program once."""
        with process.sample([]) as sample:
            try:
                remote = Remote(self, sample)
                try:
                    remote.load(program)
                except Stop as stop:
                    name = name_missing(stop.message) if stop.outcome == "crash" else ""
                    if name in top_names(request["setup"]):
                        raise Obstacle(f"the program needs a name of the setup: {stop.message}") from None
                    raise
                session = RemoteSession(remote, copies, libraries=process is self.jails.get(True))
                if request["test"]:
                    run_check(session, request["entry_point"], request["test"], request["setup"], score)
                else:
                    run_asserts(session, request["asserts"], request["setup"], score)
                if session.ended is not None:  # a test may have caught it
                    raise session.ended
                remote.end()
            finally:
                usage.update(process.end(sample))
        return session

    def _scripts(
        self, process: JailProcess, request: Result, program: bytes, score: Score, usage: dict[str, Any]
    ) -> tuple[str, str]:
        score.planned, crashed = len(request["cases"]), ""
        for number, (given, wanted) in enumerate(request["cases"], 1):
            found, status, error = self._script(process, program, given, usage)
            if status:
                crashed = crashed or f"case {number}: {error or f'exit status {status}'}"
            same = not status and same_output(found, wanted, request["compare"], request["tolerance"])
            score.record(same, crashed or f"case {number}: another output")
            if self.level != jail.FULL:
                empty(self.scratch)
        if not score.failed:
            return "passed", ""
        return ("crash" if crashed else "wrong"), score.message

    def _script(
        self, process: JailProcess, program: bytes, given: str, usage: dict[str, Any]
    ) -> tuple[bytes, int, str]:
        """Return the output of a script, its exit status (0: it ended well) and its exception."""
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        ends = {}
        with open(in_write, "wb", 0) as feed, open(out_read, "rb", 0) as output:
            try:
                with process.sample([in_read, out_write]) as sample:
                    for fd in (in_read, out_write):
                        os.close(fd)
                    try:
                        remote = Remote(self, sample)
                        remote.ask(program)
                        found = exchange(feed, output, given.encode("utf-8", "surrogatepass"), remote)
                        error = remote.last_words()
                    finally:
                        ends = process.end(sample)
            finally:
                usage["memory"] = max(usage["memory"], ends.get("memory", 0))
        return found, ends["status"], error


class RemoteSession(Session):
    """The session with a program in its jail."""

    def __init__(self, remote: Remote, copies: bool = False, libraries: bool = False) -> None:
        super().__init__(remote.exchange, copies, libraries)

    def refuse(self, message: str) -> Control:
        """See Session."""
        return Stop("refused", message)


class Remote:
    """The program in its jail: messages and time."""

    def __init__(self, worker: Worker, sample: Sample) -> None:
        self.sample, self.pid = sample.sock, sample.pid
        self.clock = Clock(worker.timeout, sample.pid)
        worker.past_turns, worker.clock = worker.turns(), self.clock
        self.watched = worker.scratch if worker.level != jail.FULL else None
        self.disk, self.owner = worker.disk, worker.owner
        self.token = b""
        self.arrived = b""
        """What was received and not yet asked for."""

    def load(self, program: bytes) -> None:
        """Send the program and wait until it is loaded."""
        self.ask(program)
        try:
            answer = wire.loads(self._receive())
        except wire.WireError as error:
            raise Stop("refused", str(error)) from None
        if type(answer) is not list or not answer or answer[0] not in ("ok", "error", "refused"):
            raise Stop("refused", "malformed answer")
        kind, *rest = answer
        if kind != "ok":
            raise Stop("refused" if kind == "refused" else "crash", ": ".join(map(str, rest[::2])))

    def exchange(self, data: bytes) -> bytes:
        """Send a message and return the next one of the program's side."""
        self.ask(data)
        return self._receive()

    def ask(self, data: bytes) -> None:
        """Send a frame with a new token, which the answer must repeat: none can be given before the question."""
        self.token = os.urandom(jail.TOKEN)
        self.clock.start()
        try:
            wire.send_frame(self, self.token + data)
        except OSError:
            raise Stop("crash", "the process ended") from None

    def end(self) -> None:
        """Look at the files once more."""
        self.watch()

    def check_time(self) -> None:
        """Stop a program whose time is over."""
        try:
            over = self.clock.is_over()
        except TimeoutError as error:
            raise Obstacle(str(error)) from None
        if over:
            raise Stop("timeout", "the program took too long")

    def watch(self) -> None:
        """Stop a program whose files take more than they may, where nothing else bounds them."""
        if self.watched is None:
            return
        if not within(self.watched, self.disk - measure_hidden(self.pid, self.watched), jail.MAX_INODES):
            raise Stop("refused", f"the files take more than {self.disk >> 20} MiB")

    def last_words(self) -> str:
        """Return the exception that a script reported, if any."""
        with contextlib.suppress(OSError, EOFError, wire.WireError, ValueError):
            data = wire.receive_frame(self.sample, time.monotonic() + 0.2)
            _, name, _, message = wire.loads(data[jail.TOKEN :])
            return f"{name}: {message}"
        return ""

    def look_up(self, ready: list[Any]) -> None:
        """Look at the owner, the files and the time while waiting for the program."""
        if self.owner in ready:
            raise OwnerGone
        self.watch()
        self.check_time()

    def pause(self) -> float:
        """Return how long to wait before looking at time and files again, in seconds."""
        left = self.clock.left()
        return left if self.watched is None else min(left, WATCH)

    def recv(self, size: int) -> bytes:
        """Return some bytes of the program's side, and look at the time and the rest while waiting for them."""
        if not self.arrived:
            while self.sample not in (ready := select.select([self.sample, self.owner], [], [], self.pause())[0]):
                self.look_up(ready)
            self.arrived = self.sample.recv(max(size, 1 << 12))
        data, self.arrived = self.arrived[:size], self.arrived[size:]
        return data

    def sendall(self, data: bytes) -> None:
        """Send bytes to the program's side, and look at the time and the rest while it does not take them."""
        rest = memoryview(data)
        rest = rest[self.sample.send(rest, socket.MSG_DONTWAIT) :]
        while rest:
            ready, writable, _ = select.select([self.owner], [self.sample], [], self.pause())
            if writable:
                rest = rest[self.sample.send(rest, socket.MSG_DONTWAIT) :]
            self.look_up(ready)

    def _receive(self) -> bytes:
        try:
            data = wire.receive_frame(self)
        except (EOFError, OSError):
            raise Stop("crash", "the process ended before it answered") from None
        except wire.WireError as error:
            raise Stop("refused", str(error)) from None
        self.clock.stop()
        if data[: jail.TOKEN] != self.token:
            raise Stop("refused", "an answer to no question")
        return data[jail.TOKEN :]


def judge_doubts(session: Session) -> tuple[str, str]:
    """Return the verdict on a program that passed by its own word: see references.py.

    Where the tests name a class of the program, they may compare its objects so, and nobody can tell. Where they ask
    for plain data, an object that says of itself that it is the right answer is a wrong one.
    """
    doubt = next((doubt for doubt in session.doubts if doubt.plain), session.doubts[0])
    message = f"only the program's own {doubt.asked} says that it is right"
    if session.objects_wanted or not doubt.plain:
        raise Obstacle(message)
    return "wrong", message


def exchange(feed: Any, output: Any, given: bytes, remote: Remote) -> bytes:
    """Feed a script and return what it wrote until it closed its output."""
    os.set_blocking(feed.fileno(), False)
    found, rest = bytearray(), memoryview(given)
    if not rest:
        feed.close()
    while True:
        waiting = [] if feed.closed else [feed]
        ready, writable, _ = select.select([output, remote.owner], waiting, [], remote.pause())
        if writable:
            try:
                rest = rest[os.write(feed.fileno(), rest[: 1 << 16]) :]
            except BrokenPipeError:  # it reads no further, which is its right
                rest = rest[:0]
            except BlockingIOError:
                pass
            if not rest:
                feed.close()
        if output in ready:
            data = os.read(output.fileno(), 1 << 16)
            if not data:
                return bytes(found)
            found += data
            if len(found) > MAX_OUTPUT:
                raise Stop("refused", f"the output is longer than {MAX_OUTPUT} bytes")
        remote.look_up(ready)


@dataclass
class Sample:
    """A running sample: the socket to it, the slot by which the jail knows it, its process id (0: not known yet)."""

    sock: socket.socket
    slot: int
    pid: int = 0


class JailProcess:
    """A jail (jail.py) as its worker sees it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.control, theirs = socket.socketpair()
        script = str(Path(__file__).with_name("bootstrap.py"))
        environment = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "LANG": "C.UTF-8"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", script, "jail", json.dumps(settings)],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd="/",
            )  # fmt: skip
        self.dead, self.slot = False, 0
        self.spare: Sample | None = None
        state, message = json.loads(wire.receive_frame(self.control, time.monotonic() + PATIENCE * 10))
        if state != "ready":
            self.close()
            raise OSError(message)

    @contextlib.contextmanager
    def sample(self, fds: list[int]) -> Iterator[Sample]:
        """Yield a fresh sample; the caller ends it.

        One without descriptors of its own is taken from the one that was started in advance, while the sample before
        it ran; it has seen nothing yet.
        """
        if fds:
            sample = self._start(fds)
        else:
            sample, self.spare = self.spare or self._start([]), None
        self._settle(sample)
        try:
            if not fds:
                self.spare = self._start([])
            yield sample
        finally:
            sample.sock.close()

    def _start(self, fds: list[int]) -> Sample:
        ours, theirs = socket.socketpair()
        self.slot = (self.slot + 1) % 256
        with theirs:
            socket.send_fds(self.control, [jail.START + bytes([self.slot])], [theirs.fileno(), *fds])
        return Sample(ours, self.slot)

    def _settle(self, sample: Sample | None) -> None:
        """Read the process id of a sample that was started."""
        if sample is not None and sample.pid == 0:
            sample.pid = int.from_bytes(self._read(4), "little", signed=True)
            if sample.pid < 0:
                raise OSError(-sample.pid, f"a sample cannot be started: {os.strerror(-sample.pid)}")

    def end(self, sample: Sample) -> dict[str, Any]:
        """Kill a sample and return its exit status, CPU seconds and peak memory in KiB."""
        self.control.sendall(jail.END + bytes([sample.slot]))
        self._settle(self.spare)  # answers come in the order of the commands
        status, cpu, memory = jail.STATUS.unpack(self._read(jail.STATUS.size))
        return {"status": status, "cpu": cpu, "memory": memory}

    def _read(self, size: int) -> bytes:
        self.control.settimeout(PATIENCE * 10)
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            if not part:
                raise EOFError("the jail ended")
            data += part
        return data

    def close(self) -> None:
        """End the jail."""
        self.dead = True
        if self.spare is not None:
            self.spare.sock.close()
        self.control.close()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def guard(seconds: float, excused: Callable[[], float] = float) -> Iterator[None]:
    """Stop tests that run past the deadline themselves: by an exception, or where that cannot reach, by the kernel.

    Args:
        seconds: What they may take, and a second more.
        excused: Gives the seconds so far in which they waited for the program, whose time is its own.
    """
    began, clock = time.monotonic(), Clock(seconds, os.getpid())
    over = False

    def stop_tests(signum: int, frame: Any) -> None:
        if over:  # an alarm on its way while the timer was switched off: set again, it would end this process later
            return
        left = began + seconds + 1.0 + excused() + clock.waited() - time.monotonic()
        if left <= 0:
            raise Stop("timeout", "the tests took too long")
        signal.setitimer(signal.ITIMER_REAL, left + 0.01)

    used = resource.getrusage(resource.RUSAGE_SELF)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 4, hard))
    previous = signal.signal(signal.SIGALRM, stop_tests)
    signal.setitimer(signal.ITIMER_REAL, seconds + 1.0)
    try:
        try:
            yield
        finally:
            over = True
    finally:  # also where the alarm came before that line
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def printable(text: str) -> str:
    """Return a text in printable ASCII of bounded length."""
    return text[:400].encode("unicode_escape").decode("ascii")[:400]
