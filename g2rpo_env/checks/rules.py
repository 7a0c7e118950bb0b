"""Common parts of all rules: one error, copies, equality."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from g2rpo_env.errors import ConformanceError

SEED = 123
"""Root seed of every check."""


def require(kept: bool, broken: str) -> None:
    """Raise ConformanceError with the text ``broken`` unless a rule is kept."""
    if not kept:
        raise ConformanceError(broken)


@contextlib.contextmanager
def no_error_escapes(what: str) -> Iterator[None]:
    """Report any error of the code that is checked as a broken rule."""
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"the {what} raises {type(error).__name__} in ordinary use: {error}") from error


def check_raises(call: Callable[[], Any], kind: type[Exception], what: str) -> None:
    """Require that a call, named ``what``, raises an error of this kind."""
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise ConformanceError(f"{what} must raise {kind.__name__}, not {type(error).__name__}: {error}") from error
    raise ConformanceError(f"{what} must raise {kind.__name__}, but is taken")


def check_base(env: Any, kind: type) -> None:
    """Require that an environment is built on TokenEnv or TokenVectorEnv."""
    base = getattr(env, "unwrapped", env)
    require(
        isinstance(base, kind),
        f"{type(base).__name__} must be a {kind.__name__}: give a Task to {kind.__name__}, or subclass it",
    )


def deep_copy(env: Any) -> Any:
    """Return a deep copy."""
    try:
        return copy.deepcopy(env)
    except Exception as error:
        raise ConformanceError(
            f"copy.deepcopy fails with {type(error).__name__}: {error}; "
            "open files, processes and threads lazily, and leave them out of __getstate__"
        ) from error


def twin(env: Any) -> Any:
    """Return a copy that shares the task."""
    return copy.deepcopy(env, {id(env.task): env.task})


def pickle_round_trip(env: Any) -> Any:
    """Return the object that pickling gives back."""
    try:
        return pickle.loads(pickle.dumps(env))
    except Exception as error:
        raise ConformanceError(
            f"pickling fails with {type(error).__name__}: {error}; sources, verifiers and rules must be picklable: "
            "classes and functions of a module, not lambdas or local ones"
        ) from error


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, arrays included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and (all(map(same, one.flat, other.flat)) if one.dtype == object else np.array_equal(one, other))
    return bool(one == other)
