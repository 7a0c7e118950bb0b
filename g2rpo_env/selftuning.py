"""Self-tuning guidance: holds the success at a set point with a step that finds its own size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from g2rpo_env.controller import Bounded, Feedback
from g2rpo_env.errors import ConfigurationError


@dataclass
class SelfTuning(Bounded):
    source: str = "guided"
    min_length: float = 0.0
    max_length: float | None = 120.0
    target: float = 0.5
    grow: float = 1.3
    shrink: float = 0.6
    first: float = 0.25
    least: float = 0.02
    greatest: float = 0.5
    _SCALARS: ClassVar = ("_step", "_sign")
    _step: float = field(default=0.0, init=False, repr=False)
    _sign: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._step = self.first

    def _next(self, reward: float) -> float:
        error = (self.target - reward) / (self.target if reward < self.target else 1 - self.target)
        sign = float((error > 0) - (error < 0))
        if sign * self._sign > 0:
            self._step = min(self._step * self.grow, self.greatest)
        elif sign * self._sign < 0:
            self._step = max(self._step * self.shrink, self.least)
        self._sign = sign or self._sign
        return self._clip(self.length + self._ceiling * self._step * error)
