"""Exceptions across the boundary of a trial: what ends one, and what stands for an exception of the program.

Standard library only: both processes load this module.
"""

from __future__ import annotations

import builtins
import contextlib
import re
import sys
from typing import Any


class Control(BaseException):
    """What ends a trial whatever its tests catch."""


class Obstacle(Control):
    """The tests need something that cannot be had across the boundary: no verdict on the program."""


class NeedsLibraries(Control):
    """A trial has to be run again where the program's side has the libraries."""


class CandidateError(Exception):
    """An exception of the program whose class cannot be raised here."""


class ProgramExit(SystemExit):
    """The program called exit, which does not end the tests."""


EXITS: dict[str, Any] = {name: ProgramExit for name in ("SystemExit", "KeyboardInterrupt", "GeneratorExit")}
EXITS["BaseException"] = BaseException


def exception_of(parts: list[Any]) -> BaseException:
    """Return the exception that a program reported: its builtin class if it is an ordinary one, else CandidateError."""
    name, kind, message = (str(part) for part in [*parts, "", "", ""][:3])
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, Exception) and found.__name__ == name:
        with contextlib.suppress(TypeError):  # UnicodeDecodeError asks for five arguments
            return found(message)
    return CandidateError(f"{name}: {message}")


def name_missing(message: str) -> str:
    """Return the name that a NameError is about, "" if it does not say."""
    return found[1] if (found := re.search(r"name '(\w+)' is not defined", message)) else ""


def build_error(cls: Any, message: str, args: list[Any]) -> BaseException:
    """Return an exception of a class of the standard library."""
    for given in (args, [message]):
        with contextlib.suppress(Exception):
            error: BaseException = cls(*given)
            if str(error) == message or (args and issubclass(cls, OSError)):  # its text names the file
                return error
    try:
        error = cls(message)
    except Exception:
        error = cls.__new__(cls)
        error.args = (message,)
    return error


def standard_class(module: str, name: str) -> Any:
    """Return a class of a module of the standard library that the tests have imported, else None."""
    found = getattr(sys.modules.get(module), name, None) if module.split(".")[0] in sys.stdlib_module_names else None
    return found if isinstance(found, type) else None


def exception_class(module: str, name: str) -> Any:
    """Return an exception class of a module of the standard library that the tests have imported, else None."""
    if module.split(".")[0] in sys.stdlib_module_names - {"unittest"}:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return None
