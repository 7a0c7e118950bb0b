"""The benchmarks by name.

>>> sorted(BENCHMARKS)
['env', 'memory', 'recipes', 'record', 'rollout', 'sandbox', 'step', 'update', 'verify']
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from g2rpo_env.bench.environment import bench_env
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.bench.sandbox import bench_sandbox
from g2rpo_env.bench.verify import bench_verify

WITH_TORCH = ("rollout", "step", "update", "memory", "recipes", "record")
"""Benchmarks that also take the arguments of a :class:`~g2rpo_env.bench.device.Place`."""


def _measure_with_torch(name: str, repeats: int, **place: Any) -> list[Measurement]:
    """Return the measurements of a module that needs torch, which the others do without."""
    from g2rpo_env.bench.device import Place

    module = importlib.import_module(f"g2rpo_env.bench.{name}")
    return getattr(module, f"bench_{name}")(repeats, Place(**place))


BENCHMARKS: dict[str, Callable[..., list[Measurement]]] = {
    "env": bench_env,
    "sandbox": bench_sandbox,
    "verify": bench_verify,
    **{name: partial(_measure_with_torch, name) for name in WITH_TORCH},
}
"""Name -> function of the number of repeats that returns the measurements."""


def _family_table() -> str:
    """Return the table of a module that needs torch and transformers."""
    from g2rpo_env.bench.families import make_table

    return make_table()


TABLES: dict[str, Callable[[], str]] = {"families": _family_table}
"""Name -> function that returns a table in Markdown, of what is right rather than how fast it is."""

TITLES = {
    "env": "Stepping, one process",
    "sandbox": "Checking programs",
    "verify": "Checking answers, one process",
    "rollout": "Rollouts",
    "step": "A step of GRPO: rollout, verdicts, update",
    "update": "One gradient step",
    "memory": "Memory of an update, a fresh process each",
    "recipes": "An update of every recipe, sampling left out",
    "record": "Records of a run, time of the processor",
}
"""Name -> title of its table."""
