"""Threads: how many torch uses, by the size of the model and by the cores that are free.

Threads that wait for each other cost more than they gain where a model is small, and where another program holds one
of the cores: each operation then lasts as long as the thread that waits for that core.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.machine import available_cores, idle_cores

SMALL = 10_000_000
"""Parameters below which one thread is used: its operations take microseconds, as long as waking another thread."""

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables with which a user states the number; torch follows them."""

TOLERANCE = 0.3
"""Share of a core that may be busy while it still counts as idle: the system itself takes some of each."""


@dataclass(frozen=True)
class Threads:
    """Torch threads, and why that many.

    Attributes:
        number: How many, >= 1.
        reason: Why.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        """Return a line about them."""
        return f"{self.number} torch thread{'s' * (self.number != 1)}: {self.reason}"


class _Record:
    """The number that torch had when it was loaded, or that this module set last: any other one is the user's."""

    number = torch.get_num_threads()


def choose_threads(parameters: int, cores: int, idle: float) -> int:
    """Return the number of torch threads for a model on a processor, in [1, cores].

    Args:
        parameters: Of the model.
        cores: Cores that this process may use, >= 1.
        idle: How many of them are idle, >= 0.

    >>> small, large = 357_360, 135_000_000
    >>> choose_threads(small, 8, 8.0), choose_threads(large, 8, 8.0), choose_threads(large, 8, 2.9)
    (1, 8, 3)
    """
    return 1 if parameters < SMALL else max(1, min(cores, int(idle + TOLERANCE)))


def fit_threads(model: Any, threads: int | None = None) -> Threads:
    """Set the number of torch threads of this process for a model, and return it with the reason.

    Commands call it once; nothing else in the library changes the threads of the process that it is used in. What the
    user set, by ``OMP_NUM_THREADS``, ``MKL_NUM_THREADS`` or ``torch.set_num_threads``, stays as it is.

    Args:
        model: A torch module, or a policy with one; on another device than the processor the threads stay as they are.
        threads: The number, >= 1; None chooses it, which takes a quarter of a second for a model that is not small.

    Raises:
        ConfigurationError: ``threads`` is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigurationError(f"threads={threads} must be at least 1")
    if threads is not None:
        return _set(Threads(threads, "as asked for"))
    now = torch.get_num_threads()
    named = [name for name in VARIABLES if os.environ.get(name)]
    if named:
        return Threads(now, f"as {named[0]}={os.environ[named[0]]} says")
    if now != _Record.number:
        return Threads(now, "as torch.set_num_threads was told")
    module = getattr(model, "model", model)
    weights = list(module.parameters())
    if weights and weights[0].device.type != "cpu":
        return Threads(now, f"the model is on {weights[0].device}")
    parameters, cores = sum(weight.numel() for weight in weights), available_cores()
    if parameters < SMALL or cores == 1:
        why = "of the single core" if cores == 1 else "more would wait for each other"
        return _set(Threads(1, f"{parameters:,} parameters, {why}"))
    idle = idle_cores()
    number = choose_threads(parameters, cores, idle)
    return _set(Threads(number, f"{parameters:,} parameters, {idle:.1f} of {cores} cores are idle"))


def _set(threads: Threads) -> Threads:
    torch.set_num_threads(threads.number)
    _Record.number = threads.number
    return threads
