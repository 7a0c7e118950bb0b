"""The file system of a jail: a root of read-only binds in namespaces of its own, and what Landlock lets a sample read.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from g2rpo_env.envs.coding import isolation
from g2rpo_env.envs.coding.isolation import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC

BOX = "/box"
SCRATCH = BOX + "/scratch"
"""Private folder of a sample where there are namespaces; a file system of its own, gone with the sample."""

STANDARD = os.path.dirname(os.__file__)  # not sysconfig, which reads files that are out of reach in between
LIBRARIES = os.path.join(sys.base_prefix, "lib")
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_SPACES = isolation.CLONE_NEWNS | isolation.CLONE_NEWNET | isolation.CLONE_NEWIPC | isolation.CLONE_NEWUTS
_PASSWD = "root:x:0:0:root:/:/bin/false\nsandbox:x:1000:1000:sandbox:/box/scratch:/bin/false\n"
_INSIDE = 1000  # the only user that exists in the jail

# Flags of statvfs (nosuid, nodev, noexec, noatime, nodiratime, relatime) and of mount(2): a mount may not lose them.
_KEPT = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}


def enter(folders: Sequence[str], user: int | None) -> None:
    """Move this process into user, mount, net, ipc and uts namespaces whose root shows Python and nothing else.

    Args:
        folders: More folders to show, such as a library's.
        user: Throw-away user to become (as root), or None to stay.

    Raises:
        OSError: the system does not allow one of the steps.
    """
    if user is None:
        ids = (os.getuid(), os.getgid())
        isolation.unshare(isolation.CLONE_NEWUSER | _SPACES)
        _map_user("/proc", *ids)
        _build(folders)
    else:
        # The binds come first: the throw-away user may not be able to reach them.
        isolation.unshare(isolation.CLONE_NEWNS)
        _build(folders)
        isolation.become(user, keep_reading=False)
        isolation.hide_memory(False)  # becoming another user hid it, and with it /proc/self
        isolation.unshare(isolation.CLONE_NEWUSER | _SPACES)
        _map_user("/old/proc", user, user)
    # Mounts from above cannot be moved; a bind of the new root over itself can.
    isolation.mount("/new", "/new", None, MS_BIND | MS_REC)
    os.chdir("/new")
    isolation.pivot(".", ".")
    isolation.unmount(".")
    os.chdir("/")
    isolation.hide_memory()


def _map_user(proc: str, uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{_INSIDE} {uid} 1"), ("gid_map", f"{_INSIDE} {gid} 1")):
        with open(f"{proc}/self/{name}", "w") as file:
            file.write(text)


def _build(folders: Sequence[str]) -> None:
    """Make /new, the future root, and leave the present one at /old."""
    isolation.mount("none", "/", None, MS_REC | MS_PRIVATE)
    isolation.mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    isolation.pivot("/tmp", "/tmp/old")
    os.chdir("/")
    isolation.mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in (*_SYSTEM, *_outermost(folders)):
        _show(path)
    os.makedirs("/new/dev", exist_ok=True)
    for path in _DEVICES:
        with open("/new" + path, "w"):
            pass
        isolation.mount("/old" + path, "/new" + path, None, MS_BIND)
    os.mkdir("/new/etc")
    with open("/new/etc/passwd", "w") as file:
        file.write(_PASSWD)
    os.makedirs("/new" + SCRATCH)
    with contextlib.suppress(OSError):  # a program may write to /tmp by name, unless a bind lies below it
        os.symlink(SCRATCH, "/new/tmp")
    with contextlib.suppress(OSError):
        isolation.mount("none", "/new", None, isolation.MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _outermost(folders: Sequence[str]) -> list[str]:
    wanted = sorted({*map(os.path.realpath, folders), *map(os.path.realpath, (STANDARD, LIBRARIES))})
    return [p for p in wanted if not any(p.startswith(q + "/") for q in (*_SYSTEM, *wanted))]


def _show(path: str) -> None:
    """Bind one folder read-only; keep a symbolic link as what it is."""
    source, target = "/old" + path, "/new" + path
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        isolation.mount(source, target, None, MS_BIND | MS_REC)
        present = os.statvfs(target).f_flag
        flags = sum(flag for bit, flag in _KEPT.items() if present & bit)
        with contextlib.suppress(OSError):  # Landlock forbids writing as well
            isolation.mount("none", target, None, isolation.MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | flags)


def mount_scratch(size: int, files: int) -> None:
    """Mount an empty file system of ``size`` bytes and ``files`` files at SCRATCH."""
    options = f"size={size},nr_inodes={files},mode=700"
    isolation.mount("tmpfs", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def readable(folders: Sequence[str], scratch: str) -> Iterator[tuple[str, int]]:
    """Yield the rules of Landlock: the standard library, shared libraries, ``folders``, and writing in scratch.

    Installed packages are left out: among them may be the very data sets that hold the tests.
    """
    yield scratch, isolation.SCRATCH
    for device in _DEVICES:
        yield device, isolation.READ_FILE | (isolation.WRITE_FILE if device == "/dev/null" else 0)
    yield "/etc/passwd" if scratch == BOX else "", isolation.READ_FILE
    for path in ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", *folders):
        yield path, isolation.READ
    yield STANDARD, isolation.READ_DIR
    for path in _children(STANDARD, ("site-packages", "dist-packages")):
        yield path, isolation.READ
    for place in {LIBRARIES, "/lib", "/lib64", "/usr/lib", "/usr/lib64"}:
        for path in _children(place, ("python",)):
            yield path, isolation.READ


def _children(folder: str, without: tuple[str, ...]) -> list[str]:
    with contextlib.suppress(OSError):
        return [f"{folder}/{name}" for name in os.listdir(folder) if not name.startswith(without)]
    return []


def own_path() -> list[str]:
    """Return the import path of a jail: the standard library alone."""
    return [path for path in sys.path if path.startswith(STANDARD)] or [STANDARD, STANDARD + "/lib-dynload"]
