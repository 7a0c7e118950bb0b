"""The folder for files of a program: how much it takes, and how it is emptied, whatever a program has built in it.

Standard library only; no depth of folders is a depth of calls or of a path here.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import count

_WRITABLE = 0o700


def within(folder: str, size: int, files: int) -> bool:
    """Return whether the files below a folder take no more than ``size`` bytes and are no more than ``files``."""
    stack = [folder]
    try:
        while size >= 0 and stack:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    files -= 1
                    size -= entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    if files < 0:
                        return False
    except FileNotFoundError:  # removed in between
        return True
    except OSError:  # a folder that was closed to be looked at, or is nested deeper than a path is long
        return False
    return size >= 0


def measure_hidden(pid: int, folder: str) -> int:
    """Return the bytes of files that a process holds open or mapped although nobody can find them; 0 where unknown.

    Args:
        pid: The process.
        folder: Where mapped files count.
    """
    total, seen = 0, set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0 and status.st_ino not in seen:
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            if line.endswith("(deleted)\n") and folder in line and int(line.split()[4]) not in seen:
                low, high = line.split()[0].split("-")
                total += int(high, 16) - int(low, 16)
    return total


def empty(folder: str) -> None:
    """Remove all that lies in a folder, whatever rights a program gave it and however deep it is.

    What lies in a folder of the folder is moved up before that one is removed, so that every path stays short.
    """
    names = (os.path.join(folder, f".moved-{number}") for number in count())
    with contextlib.suppress(OSError):
        os.chmod(folder, _WRITABLE)
        while entries := list(os.scandir(folder)):
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _lift(entry.path, names)
                else:
                    os.unlink(entry.path)


def _lift(path: str, names: Iterator[str]) -> None:
    """Move the folders in a folder to new names, and remove all else in it and the folder itself."""
    os.chmod(path, _WRITABLE)
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, _WRITABLE)  # a folder that may not be written to cannot be moved
            os.rename(entry.path, next(name for name in names if not os.path.lexists(name)))
        else:
            os.unlink(entry.path)
    os.rmdir(path)
