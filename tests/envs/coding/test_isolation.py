"""Limits that the kernel enforces once a process is confined, tried in forks of this one."""

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from g2rpo_env.envs.coding import isolation
from g2rpo_env.envs.coding.syscalls import AUDIT_ARCH, DENIED, FILTERED, FIRST_UNKNOWN, number

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's means of isolation")


def in_fork(work: Callable[[], object]) -> str:
    """Return repr of what some work returns in a fork, or the exception's class and error number."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = repr(work())
        except OSError as error:
            text = errno.errorcode.get(error.errno or 0, "?")
        except BaseException as error:
            text = type(error).__name__
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        text = answer.read().decode()
    return text if os.waitpid(pid, 0)[1] == 0 else f"died {text}"


def filtered(work: Callable[[], object]) -> str:
    """Run work in a fork under the filter for samples."""

    def confined() -> object:
        isolation.forbid_privileges()
        isolation.seccomp_enforce(isolation.for_process(isolation.seccomp_program(isolation.ANY), os.getpid()))
        return work()

    answer = in_fork(confined)
    if answer in ("EINVAL", "ENOSYS"):
        pytest.skip("this kernel takes no filter of system calls")
    return answer


def simulate(program: bytes, call: int, arguments: tuple[int, ...] = (), arch: int | None = None) -> int:
    """Return the action of a filter, by an interpreter of its instructions written for this test."""
    lines = [(int.from_bytes(program[i : i + 2], "little"), program[i + 2], program[i + 3],
              int.from_bytes(program[i + 4 : i + 8], "little")) for i in range(0, len(program), 8)]  # fmt: skip
    words = {0: call, 4: AUDIT_ARCH[platform.machine()] if arch is None else arch}
    for index, value in enumerate((*arguments, 0, 0, 0, 0, 0, 0)[:6]):
        words[16 + 8 * index], words[20 + 8 * index] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    at = held = 0
    while True:
        code, yes, no, value = lines[at]
        if code == isolation.RETURN:
            return value
        if code == isolation.LOAD:
            held, jump = words[value], 0
        else:
            test = {isolation.JUMP_EQ: held == value, isolation.JUMP_GE: held >= value,
                    isolation.JUMP_SET: bool(held & value)}[code]  # fmt: skip
            jump = yes if test else no
        at += 1 + jump


DENY, MISSING = isolation.RET_ERRNO | isolation.EPERM, isolation.RET_ERRNO | isolation.ENOSYS


def test_every_call_gets_the_action_that_the_tables_say() -> None:
    program = isolation.seccomp_program(1)
    denied = {number(DENIED, name) for name in DENIED}
    special = {number(FILTERED, name) for name in FILTERED}
    for call in set(range(FIRST_UNKNOWN)) - special:
        assert simulate(program, call) == (DENY if call in denied else isolation.RET_ALLOW), call
    for call in (FIRST_UNKNOWN, 600, 0x40000000, 0x40000000 | 59, 0xFFFFFFFF):  # the last three: x32 and -1
        assert simulate(program, call) == MISSING
    assert simulate(program, 0, arch=0x40000003) == isolation.RET_KILL  # 32-bit x86


@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (0x3D0F00,), True),  # the flags of pthread_create
        ("clone", (signal.SIGCHLD,), False),
        ("clone", (isolation.CLONE_NEWUSER | signal.SIGCHLD,), False),
        ("kill", (7, 15), True),
        ("kill", (0, 15), False),
        ("kill", (0, 9), False),
        ("kill", (0xFFFFFFFF, 9), False),
        ("tgkill", (7, 8, 15), True),
        ("tgkill", (8, 8, 9), False),
        ("prctl", (isolation.PR_SET_NAME,), True),
        ("prctl", (isolation.PR_SET_PDEATHSIG, 0), False),
        ("prctl", (isolation.PR_SET_DUMPABLE, 1), False),
        ("prlimit64", (0, 7, 0, 0x7FFF00001000), True),
        ("prlimit64", (0, 7, 0x7FFF00001000, 0), False),
        ("prlimit64", (0, 7, 0x7FFF00000000, 0), False),  # a pointer whose low half is zero
        ("socketpair", (1, 1), True),
        ("socketpair", (1, 1 | os.O_CLOEXEC), True),
        ("socketpair", (1, 2), False),
        ("socketpair", (2, 1), False),
        ("sendto", (3, 1, 1, 0, 0), True),
        ("sendto", (3, 1, 1, 0, 0x7FFF00000000), False),
        ("ioctl", (0, 0x5413), True),
        ("ioctl", (0, 0x5412), False),
        ("ioctl", (0, 0x541C), False),
    ],
)
def test_arguments_decide(name: str, arguments: tuple[int, ...], allowed: bool) -> None:
    program = isolation.for_process(isolation.seccomp_program(isolation.ANY), 7)
    assert simulate(program, number(FILTERED, name) or -1, arguments) == (isolation.RET_ALLOW if allowed else DENY)


@pytest.mark.parametrize(("name", "arguments"), [("kill", (7, 9)), ("kill", (7, 11)), ("tgkill", (7, 8, 6))])
def test_what_nobody_can_handle_ends_who_sends_it_to_itself(name: str, arguments: tuple[int, ...]) -> None:
    program = isolation.for_process(isolation.seccomp_program(isolation.ANY), 7)
    assert simulate(program, number(FILTERED, name) or -1, arguments) == isolation.RET_KILL


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (lambda: os.execv("/bin/true", ["true"]), "EPERM"),
        (os.fork, "EPERM"),
        (lambda: subprocess.run(["true"]), "EPERM"),
        (lambda: socket.socket(), "EPERM"),
        (lambda: os.kill(os.getppid(), 0), "EPERM"),
        (lambda: os.kill(os.getpid(), 0), "None"),
        (lambda: os.memfd_create("x"), "EPERM"),
        (lambda: os.symlink("a", "b"), "EPERM"),
        (lambda: os.pidfd_open(os.getpid()), "EPERM"),
        (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)), "PermissionError"),
        (lambda: [s.close() for s in socket.socketpair()], "[None, None]"),
        (lambda: ctypes.CDLL(None).ptrace(0, 0, 0, 0), "-1"),
        (lambda: os.path.exists("/"), "True"),
    ],
)
def test_the_filter_holds_in_the_kernel(work: Callable[[], object], found: str) -> None:
    answer = filtered(work)
    assert answer == found or (found == "PermissionError" and answer in ("EPERM", "ValueError"))


def test_landlock_opens_only_what_is_named(tmp_path: Path) -> None:
    if not isolation.landlock_version():
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a").write_text("a")
    (tmp_path / "closed").write_text("b")

    def work() -> tuple[str, bool, bool]:
        rules = isolation.landlock_rules([(str(tmp_path / "open"), isolation.READ), ("/no/such/path", isolation.READ)])
        isolation.forbid_privileges()
        isolation.landlock_enforce(rules)
        return ((tmp_path / "open/a").read_text(), fails(tmp_path / "closed", "r"), fails(tmp_path / "open/a", "w"))

    assert in_fork(work) == "('a', True, True)"


def fails(path: Path, mode: str) -> bool:
    try:
        open(path, mode).close()
    except PermissionError:
        return True
    return False


def test_limits_hold_for_good(tmp_path: Path) -> None:
    def work() -> list[str]:
        isolation.limit(memory=1 << 30, file_size=1 << 20, files=200, tasks=10_000, cpu=5)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        return [
            in_fork(lambda: bytearray(2 << 30)),
            in_fork(lambda: (tmp_path / "big").write_bytes(b"x" * (2 << 20))),
            in_fork(lambda: [os.dup(1) for _ in range(300)]),
        ]

    assert in_fork(work) == "['MemoryError', 'EFBIG', 'EMFILE']"


def test_a_filter_for_any_process_names_none() -> None:
    program = isolation.seccomp_program(isolation.ANY)
    assert isolation.for_process(program, 7) == isolation.seccomp_program(7) != program


def test_failed_calls_are_named() -> None:
    with pytest.raises(OSError, match="mount"):
        isolation.mount("none", "/no/such/place", "tmpfs", 0)
    with pytest.raises(OSError, match="umount2"):
        isolation.unmount("/no/such/place")
