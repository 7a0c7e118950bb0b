"""The kernel's means to confine a process, through ctypes: namespaces, mounts, capabilities, Landlock, seccomp, limits.

Each function does one thing, raises OSError with the name of the call that failed, and keeps no state. Nothing here
imports more than the standard library: the process that holds untrusted code loads it.

Sources of the constants: ``linux/prctl.h``, ``linux/sched.h``, ``linux/mount.h``, ``linux/capability.h``,
``linux/landlock.h``, ``linux/seccomp.h``, ``linux/filter.h``, ``linux/bpf_common.h`` (Linux 6.1); what they do:
the manual pages clone(2), mount(2), capabilities(7), landlock(7) and seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable

from g2rpo_env.envs.coding.syscalls import AUDIT_ARCH, DENIED, FILTERED, FIRST_UNKNOWN, USED, number

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_GET_NAME = 1, 4, 8, 15, 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_VMA = 22, 38, 0x53564D41
SECCOMP_MODE_FILTER = 2

CLONE_THREAD = 0x00010000
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2

CAP_VERSION_3 = 0x20080522
CAP_DAC_READ_SEARCH = 2

READ_FILE, READ_DIR, WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _TRUNCATE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 14
READ = READ_FILE | READ_DIR
SCRATCH = READ | WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_FILE_RIGHTS = READ_FILE | WRITE_FILE | _TRUNCATE  # what a rule on something else than a folder may name

# Landlock's rights by version of its interface (1 to 7): files, network, scopes.
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_RIGHTS = 3  # bind and connect, from version 4
_SCOPES = 3  # abstract sockets and signals, from version 6

EPERM, ENOSYS = 1, 38
RET_ALLOW, RET_ERRNO, RET_KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_EQ, JUMP_GE, JUMP_SET, JUMP, RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06

_libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock during the call


def _check(result: int, call: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")
    return result


def _syscall(name: str, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number(USED, name) or -1), *arguments), name)


# -- processes --------------------------------------------------------------------------------------------------------


def prctl(option: int, value: int, call: str) -> None:
    """Call prctl(option, value, 0, 0, 0)."""
    unsigned = ctypes.c_ulong
    _check(_libc.prctl(option, unsigned(value), unsigned(0), unsigned(0), unsigned(0)), call)


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends. A change of user or of capabilities undoes it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, "PR_SET_PDEATHSIG")


def hide_memory(hidden: bool = True) -> None:
    """Forbid other processes of this user to look at this one (or allow it again)."""
    prctl(PR_SET_DUMPABLE, int(not hidden), "PR_SET_DUMPABLE")


def forbid_privileges() -> None:
    """Give up every way to gain privileges; Landlock and seccomp ask for it."""
    prctl(PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")


def become(user: int, keep_reading: bool) -> None:
    """Become another user for good (as root); ``keep_reading`` keeps the right to read what that user could not."""
    os.setgroups([])
    if keep_reading:
        prctl(PR_SET_KEEPCAPS, 1, "PR_SET_KEEPCAPS")
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    set_capabilities(1 << CAP_DAC_READ_SEARCH if keep_reading else 0)


def set_capabilities(kept: int) -> None:
    """Keep at most these capabilities, given as bits."""
    header = struct.pack("=Ii", CAP_VERSION_3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    _syscall("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))


def clone(flags: int) -> int:
    """Fork like os.fork, with flags such as CLONE_NEWPID; the process must have one thread."""
    pythonapi = ctypes.pythonapi
    pythonapi.PyOS_BeforeFork()
    pid = _held.syscall(ctypes.c_long(number(USED, "clone") or -1), ctypes.c_ulong(flags | signal.SIGCHLD), 0, 0, 0, 0)
    error = ctypes.get_errno()
    if pid == 0:
        pythonapi.PyOS_AfterFork_Child()
        return 0
    pythonapi.PyOS_AfterFork_Parent()
    ctypes.set_errno(error)
    return _check(pid, "clone")


def close_from(first: int) -> None:
    """Close every descriptor from a number on."""
    _syscall("close_range", ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0))


def limit(memory: int, file_size: int, files: int, tasks: int, cpu: int) -> None:
    """Set the limits of this process for good: bytes, bytes, descriptors, tasks of the user, seconds."""
    values = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_NPROC: tasks,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_STACK: 8 << 20,
    }
    for name, value in values.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


# -- namespaces and mounts --------------------------------------------------------------------------------------------


def unshare(flags: int) -> None:
    """Move into new namespaces; CLONE_NEWUSER needs a process with one thread."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount; see mount(2)."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _check(_libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount({target})")


def pivot(root: str, old: str) -> None:
    """Make ``root`` the root of this mount namespace and mount the old one at ``old``."""
    _syscall("pivot_root", root.encode(), old.encode())


def unmount(target: str) -> None:
    """Detach a mount and all below it."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount2({target})")


# -- Landlock ---------------------------------------------------------------------------------------------------------


def landlock_version() -> int:
    """Return the version of Landlock's interface; 0 where the kernel has none."""
    try:
        return _syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG))
    except OSError:
        return 0


def landlock_rules(paths: Iterable[tuple[str, int]]) -> int:
    """Return the descriptor of a rule set that forbids all files and TCP but the rights given for each path.

    A rule holds for what lies below the path; on a mount point it must stand on the folder above it, because Landlock
    does not ask the folder that a mount hides. Paths that do not exist are left out.
    """
    version = landlock_version()
    if not version:
        raise OSError(ENOSYS, "landlock_create_ruleset: this kernel has no Landlock")
    files = _FS_RIGHTS[min(version, 5)]
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("=QQQ", files, _NET_RIGHTS, _SCOPES)[:size]
    rules = _syscall("landlock_create_ruleset", attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    for path, rights in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = rights & files & (-1 if os.path.isdir(path) else _FILE_RIGHTS)
        rule = struct.pack("=Qi", allowed, place)
        try:
            _syscall("landlock_add_rule", ctypes.c_int(rules), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
        finally:
            os.close(place)
    return rules


def landlock_enforce(rules: int) -> None:
    """Confine this process and all it starts to a rule set."""
    _syscall("landlock_restrict_self", ctypes.c_int(rules), ctypes.c_uint(0))


# -- seccomp ----------------------------------------------------------------------------------------------------------

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, value."""

_NUMBER, _ARCH = 0, 4


FATAL = tuple(
    int(value)
    for value in (
        signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
        signal.SIGTRAP, signal.SIGSYS, signal.SIGQUIT,
    )
)  # fmt: skip
"""Signals that end the program which sends them to itself."""

ANY = 0x5A17AB1E
"""Stands for a process id in a filter that is made before the process."""


def _argument(index: int, high: bool = False) -> Instruction:
    return (LOAD, 0, 0, 16 + 8 * index + 4 * high)  # little-endian, as x86-64 and 64-bit ARM are


def _give(value: int) -> Instruction:
    return (RETURN, 0, 0, value)


_ALLOW, _DENY, _MISSING = _give(RET_ALLOW), _give(RET_ERRNO | EPERM), _give(RET_ERRNO | ENOSYS)


def _if_zero(*arguments: int) -> list[Instruction]:
    """Allow if these 64-bit arguments are all zero, else deny."""
    loads = [_argument(index, high) for index in arguments for high in (False, True)]
    lines: list[Instruction] = []
    for left, load in zip(range(len(loads) - 1, -1, -1), loads, strict=True):
        lines += [load, (JUMP_EQ, 0, 2 * left + 1, 0)]
    return [*lines, _ALLOW, _DENY]


def _if_equal(index: int, values: Iterable[int]) -> list[Instruction]:
    """Allow if the low half of an argument is one of some values, else deny."""
    values = list(values)
    tests = [(JUMP_EQ, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [_argument(index), *tests, _DENY, _ALLOW]


def _to_itself(own: int, index: int) -> list[Instruction]:
    """Allow a signal (argument ``index``) to the own process alone; one that nobody can handle ends it at once.

    The kernel would keep such signals from the first process of a namespace, which then survived its own ``kill``.
    """
    tests = [(JUMP_EQ, len(FATAL) - at, 0, value) for at, value in enumerate(FATAL)]
    return [_argument(0), (JUMP_EQ, 1, 0, own), _DENY, _argument(index), *tests, _ALLOW, _give(RET_KILL)]


def _filters(own: int) -> dict[str, list[Instruction]]:
    return {
        # Threads only; a new process would have limits of its own. glibc tries clone3 first, whose flags a filter
        # cannot see, and falls back to clone where there is none.
        "clone": [_argument(0), (JUMP_SET, 1, 0, CLONE_THREAD), _DENY, _ALLOW],
        "clone3": [_MISSING],
        "prctl": _if_equal(0, (PR_SET_NAME, PR_GET_NAME, PR_SET_VMA)),
        "kill": _to_itself(own, 1),
        "tgkill": _to_itself(own, 2),
        "tkill": _to_itself(own, 1),
        "rt_sigqueueinfo": _to_itself(own, 1),
        "rt_tgsigqueueinfo": _to_itself(own, 2),
        "prlimit64": _if_zero(2),  # reading a limit
        # Pairs of streams (asyncio needs one) reach nobody else; datagrams could be sent to any address.
        "socketpair": [
            _argument(0),
            (JUMP_EQ, 0, 3, 1),
            _argument(1),
            (JUMP_EQ, 2, 0, 1),
            (JUMP_EQ, 1, 0, 1 | os.O_CLOEXEC),
            _DENY,
            _ALLOW,
        ],
        "sendto": _if_zero(4),  # to the other end, never to an address
        # Pushing characters into a terminal (TIOCSTI, TIOCLINUX) is as good as typing them.
        "ioctl": [_argument(1), (JUMP_EQ, 2, 0, 0x5412), (JUMP_EQ, 1, 0, 0x541C), _ALLOW, _DENY],
    }


def _tree(runs: list[tuple[int, bool]]) -> list[Instruction]:
    """Return a binary search over runs of call numbers: (first number, denied).

    The kernel tries a new filter on every number to remember what is always allowed, so its depth costs time.
    """
    if len(runs) == 1:
        return [_DENY if runs[0][1] else _ALLOW]
    middle = len(runs) // 2
    left, right = _tree(runs[:middle]), _tree(runs[middle:])
    return [(JUMP_GE, len(left), 0, runs[middle][0]), *left, *right]


def _runs(denied: set[int]) -> list[tuple[int, bool]]:
    numbers = range(FIRST_UNKNOWN)
    return [(n, n in denied) for n in numbers if n == 0 or (n in denied) != (n - 1 in denied)]


def seccomp_program(own: int) -> bytes:
    """Return the filter for a sample: EPERM for what it may not call, ENOSYS for what is unknown, death for x86-32.

    Args:
        own: The process id of the sample as it sees it; signals to others are denied.
    """
    lines: list[Instruction] = [
        (LOAD, 0, 0, _ARCH),
        (JUMP_EQ, 1, 0, AUDIT_ARCH[platform.machine()]),
        _give(RET_KILL),
        (LOAD, 0, 0, _NUMBER),
        (JUMP_GE, 0, 1, FIRST_UNKNOWN),
        _MISSING,
    ]
    for name, test in _filters(own).items():
        call = number(FILTERED, name)
        if call is not None:
            lines += [(JUMP_EQ, 0, len(test), call), *test]
    lines += _tree(_runs({call for name in DENIED if (call := number(DENIED, name)) is not None}))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def for_process(program: bytes, own: int) -> bytes:
    """Return a filter that was made for the process ANY as one for process ``own``."""
    return program.replace(struct.pack("=I", ANY), struct.pack("=I", own))


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def seccomp_enforce(program: bytes) -> None:
    """Filter the system calls of this process for good."""
    filter_ = _Program(len(program) // 8, program)
    unsigned = ctypes.c_ulong
    _check(
        _libc.prctl(PR_SET_SECCOMP, unsigned(SECCOMP_MODE_FILTER), ctypes.byref(filter_), unsigned(0), unsigned(0)),
        "PR_SET_SECCOMP",
    )
