"""Experiments: several ways to train one base, compared on the same problems.

>>> from g2rpo_env.experiments import compare, make_setting
>>> setting = make_setting("g2rpo_env/Addition-v0", updates=100)
>>> setting.task, setting.problems, setting.group_size
({'digits': 4, 'running': True}, 8, 8)

``compare(["grpo@unguided", "g2rpo-a"], setting, "runs/mine", seeds=(0, 1))`` then trains both algorithms from one base
per seed and returns a :class:`Comparison`: accuracies with intervals, sampled tokens and curves per seed and algorithm.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from g2rpo_env.experiments.arms import Arm, Result, Setting
    from g2rpo_env.experiments.comparison import Comparison, Entry, compare
    from g2rpo_env.experiments.families import make_setting

__all__ = ["Arm", "Comparison", "Entry", "Result", "Setting", "compare", "make_setting"]

_MODULES = {
    "arms": ("Arm", "Result", "Setting"),
    "comparison": ("Comparison", "Entry", "compare"),
    "families": ("make_setting",),
}
"""Module -> what it gives to this package, on demand: `environments` is imported where there is no torch."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
