"""Rules with one length for all problems, which follow the success: the paper's, the official code's, a set point."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from g2rpo_env.controllers.base import Bounded, Controller
from g2rpo_env.errors import ConfigurationError


@dataclass
class FixedGuidance(Controller):
    """The same length for ever; records the reward, so that plots compare.

    >>> FixedGuidance(length=8).update(reward=0.9)
    8.0
    """

    follows_success: ClassVar[bool] = False

    def _next(self, reward: float) -> float:
        return self.length


@dataclass
class Withheld(Controller):
    """Nothing is revealed to anybody, whatever the length: the start of methods that help a group once it has failed.

    Strategies that sample failed groups again say themselves how much they show, such as
    :class:`~g2rpo_env.agents.parts.strategies.Reroll`. Records the reward, so that plots compare.

    Args:
        length: Always 0; any other number is taken for it.
        source: Whose success the history shows.

    >>> rule = Withheld(length=45)
    >>> rule.length, rule.update(reward=0.1), rule.plan(["a"], [0]).tolist()
    (0.0, 0.0, [0.0])
    """

    length: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.length = 0.0  # also where an agent fits it to the length of its wrapper

    def _next(self, reward: float) -> float:
        return 0.0


@dataclass
class AdaptiveGuidance(Bounded):
    """G²RPO-A: the reveal length follows the inverse of the success, l <- l * (past success) / (current success).

    **Raw rule** (``max_factor=None``), arXiv 2508.13023 as a press article gives it (third-party; the paper's body
    could not be read): l <- l * mean(r_{k-1}, ..., r_{k-m}) / r_k, m = min(window, number of earlier updates), clipped
    to [min_length, max_length]. The first update changes nothing. At r_k = 0 the length goes to ``max_length`` (0/0
    changes nothing, and neither does 0 without a bound). Known faults: for window >= 2 it drifts upwards under
    stationary noise, E[d log l] is about (1 - 1/m) CV^2 / 2 per update; one lucky batch collapses it; zero reward gives
    a jump or nothing.

    **Bounded rule** (default). Deviations from the paper:

    1. Past and current success are two successive running averages s_{k-1} and s_k, not one batch against a few: the
       logarithms telescope, so that under stationary success there is no drift, and a lasting change of success from
       a to b still changes the length by a/b.
    2. The averages span W updates, W = (CV / 0.07)^2 within [window, 48], CV the coefficient of variation of the
       rewards as estimated from their successive differences: noisy rewards are averaged longer.
    3. While fewer than W rewards are known, the change is raised to the power k/W: an average that rests on few
       rewards moves the length little.
    4. One update changes the length by at most ``max_factor`` either way; what is left of a greater change follows
       with the next updates.
    5. When neither this update nor any of the ``window`` before had a success, the length grows by ``max_factor``: a
       policy stuck at zero gets more help.
    6. Where the length rises at the floor, it rises by at least one unit; from below 1 (fractions) by at least a
       twentieth of ``max_length``, but not more than one unit. A factor alone would never leave 0.

    Args:
        length: Starting length, in the unit of the guidance wrapper.
        source: Whose success counts, see Controller.
        window: Number of earlier rewards of the paper's rule; the least W of the bounded one. >= 1.
        min_length: Least length, >= 0.
        max_length: Greatest length; None for no bound (reveals are capped at each problem's steps in any case).
        max_factor: Greatest change per update, > 1; None for the raw rule.

    >>> raw = AdaptiveGuidance(length=40, window=2, max_factor=None)
    >>> [round(raw.update(reward=r), 6) for r in (0.2, 0.4, 0.3)]
    [40.0, 20.0, 20.0]
    """

    window: int = 2
    max_factor: float | None = 1.25
    _SCALARS: ClassVar = ("_count", "_average", "_variance", "_owed")
    _rewards: list[float] = field(default_factory=list, init=False, repr=False)
    _count: int = field(default=0, init=False, repr=False)
    _average: float = field(default=0.0, init=False, repr=False)
    _variance: float = field(default=0.0, init=False, repr=False)
    _owed: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise ConfigurationError(f"window={self.window} must be at least 1")
        if self.max_factor is not None and not self.max_factor > 1:
            raise ConfigurationError(f"max_factor={self.max_factor} must be above 1, or None for the raw rule")

    def _next(self, reward: float) -> float:
        past = self._rewards[-self.window :]
        factor = self._raw_factor(past, reward) if self.max_factor is None else self._bounded_factor(past, reward)
        self._rewards = [*past, reward][-self.window :]
        length = self.length * factor
        if self.max_factor is not None and factor > 1 and self.length <= self.min_length:
            length = max(length, self.length + (1 if self.length >= 1 else min(1, self._ceiling / 20)))
        clipped = self._clip(length)
        if clipped != length:
            self._owed = 0.0  # no wind-up at the bounds
        return clipped

    def _raw_factor(self, past: list[float], reward: float) -> float:
        if not past:
            return 1.0
        mean = float(np.mean(past))
        if reward == 0:
            return math.inf if mean > 0 and self.length > 0 and self.max_length is not None else 1.0
        return mean / reward

    def _bounded_factor(self, past: list[float], reward: float) -> float:
        assert self.max_factor is not None
        before = self._average
        span = self._observe(past, reward)
        if not past:
            return 1.0
        if reward == 0 and not any(past):
            self._owed = 0.0
            return self.max_factor
        if before > 0:  # otherwise the first success ever: nothing to compare it with
            self._owed += math.log(before / self._average) * min(1.0, self._count / span)
        limit = math.log(self.max_factor)
        step = min(max(self._owed, -limit), limit)
        self._owed -= step
        return math.exp(step)

    def _observe(self, past: list[float], reward: float) -> float:
        """Take one reward into the running average and its variance; return the span W."""
        self._count += 1
        if past:
            # Half the squared difference of neighbours estimates the noise and ignores slow trends.
            self._variance += ((reward - past[-1]) ** 2 / 2 - self._variance) / min(self._count - 1, SPAN_MAX)
        # The prior is the noise of 64 episodes at the current average, worth PRIOR observations.
        level = max(self._average, 1 / 64)
        prior = level * (1 - min(level, 0.9)) / 64
        weight = PRIOR / (PRIOR + self._count - 1)
        variation = (weight * prior + (1 - weight) * self._variance) / level**2
        span = float(min(max(variation / NOISE**2, self.window), SPAN_MAX))
        self._average += (reward - self._average) / min(self._count, span)
        return span

    def state_dict(self) -> dict[str, Any]:
        """Return length, history, recent rewards and the running averages."""
        mine = {name: getattr(self, name) for name in self._SCALARS}
        return {**super().state_dict(), **mine, "_rewards": list(self._rewards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        for name in self._SCALARS:
            setattr(self, name, state[name])
        self._rewards = list(state["_rewards"])


SPAN_MAX = 48
"""Longest average of the bounded rule, in updates."""
NOISE = 0.07
"""Relative noise that the average of the bounded rule aims at."""
PRIOR = 8.0
"""Weight of the prior noise, in updates."""


@dataclass
class OfficialCadence(Bounded):
    """The rule of the official code (read in T-Lab-CUHKSZ/G2RPO-A 0d98af8, g2rpoa_trainer.py lines 640-690).

    Every third update: l <- int(l * mean(r of the two before) / r), clipped; nothing changes where either is 0, so a
    policy stuck at zero never gets more help. Deviation: starts and cap are arguments (there: 3072, 3072, floor 1).

    >>> rule = OfficialCadence(length=100)
    >>> [rule.update(reward=r) for r in (0.2, 0.4, 0.6)]
    [100.0, 100.0, 50.0]
    """

    _rewards: list[float] = field(default_factory=list, init=False, repr=False)

    def _next(self, reward: float) -> float:
        self._rewards.append(reward)
        if len(self._rewards) < 3:
            return self.length
        mean, self._rewards = sum(self._rewards[:2]) / 2, []
        if mean == 0 or reward == 0:
            return self.length
        return self._clip(int(self.length * mean / reward + 1e-9))

    def state_dict(self) -> dict[str, Any]:
        """Return length, history and the rewards of the running cycle."""
        return {**super().state_dict(), "_rewards": list(self._rewards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._rewards = list(state["_rewards"])


@dataclass
class TargetSuccess(Bounded):
    """Holds the success at a set point: l <- l * exp(-gain * (r - target)).

    Our own rule, not the paper's. It needs no history, cannot drift (the set point pulls it back) and grows at zero
    reward. Where the length rises, it rises by at least ``min_length * gain``, so that it leaves the floor.

    Args:
        length: Starting length, in the unit of the guidance wrapper.
        source: Whose success is held, by default that of the guided episodes.
        min_length: Least length.
        max_length: Greatest length, None for no bound.
        target: Set point in (0, 1).
        gain: Relative change per unit of error, > 0.

    >>> round(TargetSuccess(length=20).update(reward=0.0), 3)
    21.025
    """

    source: str = "guided"
    target: float = 0.5
    gain: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < 1:
            raise ConfigurationError(f"target={self.target} must lie in (0, 1)")
        if not self.gain > 0:
            raise ConfigurationError(f"gain={self.gain} must be above 0")

    def _next(self, reward: float) -> float:
        return self._clip(self.length * math.exp(-self.gain * (reward - self.target)))
