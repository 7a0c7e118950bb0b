"""Open-loop guidance: reveal lengths that do not look at the reward."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from g2rpo_env.controllers.base import Controller
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import stream


@dataclass
class Schedule(Controller):
    """Base class of rules that only count updates: ``length`` is where they start, ``_at`` says where they are.

    Args:
        length: Length of the first update, in the unit of the guidance wrapper.
        updates: Update after which nothing changes any more, >= 1.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    updates: int = 100
    follows_success: ClassVar[bool] = False
    _done: int = field(default=0, init=False, repr=False)
    _start: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.updates < 1:
            raise ConfigurationError(f"updates={self.updates} must be at least 1")
        self._start = self.length

    @property
    def progress(self) -> float:
        """Share of the schedule that is over, in [0, 1]."""
        return min(self._done / self.updates, 1.0)

    def _at(self) -> float:
        """Return the length after ``_done`` updates."""
        raise NotImplementedError

    def _next(self, reward: float) -> float:
        self._done += 1
        return self._at()

    def _next_unseen(self, reward: float) -> float:
        return self._next(reward)

    def state_dict(self) -> dict[str, Any]:
        """Return length, history, where the schedule began and the number of updates done."""
        return {**super().state_dict(), "_done": self._done, "_start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._done, self._start = state["_done"], state["_start"]


@dataclass
class LinearDecay(Schedule):
    """l_t = start + (end - start) t / T, and ``end`` from update T on.

    The rule that the official G²RPO-A code ships beside its adaptive one, 3072 to 0 over the training (read in
    T-Lab-CUHKSZ/G2RPO-A 0d98af8, trainer/rule-based-decay.py lines 553 and 638). Deviation: T counts updates, and start
    and end are arguments.

    Args:
        length: Start.
        updates: T, >= 1.
        end: Last length, >= 0; it may lie above the start.

    >>> decay = LinearDecay(length=40, updates=4)
    >>> [decay.update(reward=0.5) for _ in range(5)]
    [30.0, 20.0, 10.0, 0.0, 0.0]
    """

    end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.end >= 0 and math.isfinite(self.end)):
            raise ConfigurationError(f"end={self.end} must be finite and at least 0")

    def _at(self) -> float:
        return self._start + (self.end - self._start) * self.progress


@dataclass
class CosineDecay(LinearDecay):
    """l_t = end + (start - end) (1 + cos(pi t / T)) / 2, and ``end`` from update T on.

    The common cosine schedule, as a baseline; no paper's claim hangs on it.

    >>> decay = CosineDecay(length=40, updates=4)
    >>> [round(decay.update(reward=0.5), 3) for _ in range(4)]
    [34.142, 20.0, 5.858, 0.0]
    """

    def _at(self) -> float:
        return self.end + (self._start - self.end) * _half_cosine(self.progress)


@dataclass
class StepDecay(LinearDecay):
    """l_t = max(end, start * factor^floor(t / every)) until update T, ``end`` from then on.

    The common step schedule, as a baseline; no paper's claim hangs on it.

    Args:
        length: Start.
        updates: T, >= 1.
        end: Last length, in [0, start].
        factor: Share that is left after each step, in (0, 1).
        every: Updates between two steps, >= 1.

    >>> decay = StepDecay(length=40, updates=5, every=2)
    >>> [decay.update(reward=0.5) for _ in range(5)]
    [40.0, 20.0, 20.0, 10.0, 0.0]
    """

    factor: float = 0.5
    every: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end > self.length:
            raise ConfigurationError(f"end={self.end} must lie in [0, length={self.length}]")
        if not 0 < self.factor < 1:
            raise ConfigurationError(f"factor={self.factor} must lie in (0, 1)")
        if self.every < 1:
            raise ConfigurationError(f"every={self.every} must be at least 1")

    def _at(self) -> float:
        if self._done >= self.updates:
            return self.end
        return max(self.end, self._start * self.factor ** (self._done // self.every))


@dataclass
class _RandomSchedule(Schedule):
    """A schedule that draws a share of the whole for each episode or each problem, from a stream of its own.

    The draw belongs to (seed, number of updates, problem, member): the same problem twice in one update gets the same
    lengths, and a resumed run those it would have had. With ``per="problem"`` the member is no part of the key: all
    guided members of a group share one reveal, so that they are comparable.
    """

    seed: int = 0
    low: float = 0.05
    high: float = 0.95
    per: str = "member"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low <= self.high <= 1:
            raise ConfigurationError(f"low={self.low} and high={self.high} must keep 0 <= low <= high <= 1")
        if self.seed < 0:
            raise ConfigurationError(f"seed={self.seed} must be at least 0")
        if self.per not in KEYS:
            raise ConfigurationError(f"per={self.per!r} must be one of {', '.join(KEYS)}")

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the reveal length of each episode, float (N,), one draw each, or one for each problem."""
        keys = [KEYS[self.per](p, int(m)) for p, m in zip(problem_ids, members, strict=True)]
        return np.array([self._start * self._draw(stream(self.seed, "schedule", self._done, *key)) for key in keys])

    def _draw(self, random: np.random.Generator) -> float:
        """Return a share of the whole in [0, 1]."""
        raise NotImplementedError


KEYS: dict[str, Callable[[str, int], tuple[int, ...]]] = {
    "member": lambda problem_id, member: (zlib.crc32(problem_id.encode()), member),
    "problem": lambda problem_id, member: (zlib.crc32(problem_id.encode()),),
}
"""Name -> (problem, member) -> key of the draw."""


@dataclass
class CosineBinomial(_RandomSchedule):
    """UFT's schedule: k ~ Binomial(slices, p_t) slices are shown, p_t = low + (high - low)(1 + cos(pi t / T)) / 2.

    From update T on nothing is shown. Source: UFT, read in liumy2010/UFT, rl_dataset.py lines 143-161: 5 slices,
    p_t = 0.05 + 0.45 (1 + cos(pi t / 300)) and nothing after step 300 of 500.

    Deviations: a slice is a fifth of ``length``, not of each solution (with unit ``fraction`` and length 1 it is);
    UFT's likelihood of the hint with weight 0.001 belongs to the loss, not here.

    Args:
        length: The whole; after each update it shows the expected length, whole * p_t.
        updates: T, >= 1.
        seed: Of the draws, >= 0.
        low: p at the end, in [0, high].
        high: p at the start, in [low, 1].
        per: ``member``, or ``problem``: all guided members of a group share one draw.
        slices: Number of equal slices, >= 1.

    >>> rule = CosineBinomial(length=1.0, updates=2)
    >>> round(rule.update(reward=0.5), 6), rule.update(reward=0.5)
    (0.5, 0.0)
    """

    updates: int = 300
    slices: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slices < 1:
            raise ConfigurationError(f"slices={self.slices} must be at least 1")

    @property
    def probability(self) -> float:
        """p_t, 0 once the schedule is over."""
        return 0.0 if self._done >= self.updates else self.low + (self.high - self.low) * _half_cosine(self.progress)

    def _at(self) -> float:
        return self._start * self.probability

    def _draw(self, random: np.random.Generator) -> float:
        return float(random.binomial(self.slices, self.probability)) / self.slices


@dataclass
class UniformWindow(_RandomSchedule):
    """Prefix-RFT's schedule: l ~ U(low_t, high) of the whole, low_t falling from high to low along a cosine.

    low_t = low + (high - low)(1 + cos(pi t / T)) / 2. Source: Prefix-RFT as a secondary note gives it (third-party: the
    lower end falls from 95 % to 5 % along a cosine; the upper end is from memory, low confidence).

    Deviation: one hybrid episode in N is the ``ratio`` of the guidance wrapper, not part of the rule.

    Args:
        length: The whole; after each update it shows the expected length, whole * (low_t + high) / 2.
        updates: T, >= 1.
        seed: Of the draws, >= 0.
        low: Lower end of the window at the end, in [0, high].
        high: Upper end of the window, in [low, 1].
        per: ``member``, or ``problem``: all guided members of a group share one draw.

    >>> rule = UniformWindow(length=100, updates=2)
    >>> round(rule.update(reward=0.5), 6), round(rule.update(reward=0.5), 6)     # low_t: 0.5, then 0.05
    (72.5, 50.0)
    """

    @property
    def floor(self) -> float:
        """low_t."""
        return self.low + (self.high - self.low) * _half_cosine(self.progress)

    def _at(self) -> float:
        return self._start * (self.floor + self.high) / 2

    def _draw(self, random: np.random.Generator) -> float:
        return float(random.uniform(self.floor, self.high))


@dataclass
class UniformDraw(_RandomSchedule):
    """l ~ U(low, high) of the whole, every update alike; with ``anneal`` high_t = high + (low - high) t / T.

    Our own baseline. With ``per="problem"`` and ratio 1 all members of a group share one reveal, and reveals of all
    lengths are seen: where masked guidance worked best in the measurements this library was designed by.

    Args:
        length: The whole; after each update it shows the expected length, whole * (low + high_t) / 2.
        updates: T, >= 1.
        seed: Of the draws, >= 0.
        low: Lower end, in [0, high].
        high: Upper end at the start, in [low, 1].
        per: ``member``, or ``problem``: all guided members of a group share one draw.
        anneal: Whether the upper end falls to the lower one until update T.

    >>> rule = UniformDraw(length=100, updates=2, anneal=True)
    >>> np.unique(rule.plan(["a", "a", "a"], [0, 1, 2])).size, rule.update(reward=0.5), rule.update(reward=0.5)
    (1, 25.0, 0.0)
    """

    low: float = 0.0
    high: float = 1.0
    per: str = "problem"
    anneal: bool = False

    @property
    def ceiling(self) -> float:
        """high_t."""
        return self.high + (self.low - self.high) * self.progress * self.anneal

    def _at(self) -> float:
        return self._start * (self.low + self.ceiling) / 2

    def _draw(self, random: np.random.Generator) -> float:
        return float(random.uniform(self.low, self.ceiling))


@dataclass
class StartStates(_RandomSchedule):
    """R3: l = share of the whole, one of ``stages`` shares from low to high, drawn evenly; or each in turn.

    share_k = low + (high - low) k / (stages - 1), k in 0..stages - 1. With ``mixed`` every k is as likely as every
    other in every update; without it the start slides from the end of the solution to its beginning: k = stages - 1
    first and one less after every 1/stages of the schedule.

    Source: R3 (arXiv 2402.05808), abstract [paper], and the mixed data of its code, read in
    WooooDyy/LLM-Reverse-Curriculum-RL 55df1bf, R3_math/data/gsm8k_nl_mix_example.json: each question with the first
    0, 1, ... lines of its solution; the staged form is the paper's baseline.

    Deviations: 1. Shares are those of each solution with the unit ``fraction``; with ``steps`` they end at lines, as
    there, and are shares of the longest one. 2. Draws are new in every update, there they are a data set.

    Args:
        length: The whole; after each update it shows the expected length.
        updates: T, >= 1; only the sliding form looks at it.
        seed: Of the draws, >= 0.
        low: Least share, in [0, high].
        high: Greatest share, in [low, 1].
        per: ``problem``: all guided members of a group start from one state; ``member``: each from its own.
        stages: Number of shares, >= 1; one is ``high`` alone.
        mixed: All stages in every update, or one behind the other.

    >>> slide = StartStates(length=100, updates=5, mixed=False)
    >>> [slide.length, *(round(slide.update(reward=0.5), 9) for _ in range(5))]
    [100.0, 60.0, 40.0, 20.0, 0.0, 0.0]
    >>> np.unique(StartStates(length=100, per="member").plan(["a"] * 64, range(64))).round().tolist()
    [0.0, 20.0, 40.0, 60.0, 80.0]
    """

    low: float = 0.0
    high: float = 0.8
    per: str = "problem"
    stages: int = 5
    mixed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages < 1:
            raise ConfigurationError(f"stages={self.stages} must be at least 1")

    def _share(self, stage: int) -> float:
        return self.high if self.stages == 1 else self.low + (self.high - self.low) * stage / (self.stages - 1)

    @property
    def stage(self) -> int:
        """k of the sliding form, stages - 1 at its start and 0 at its end."""
        return self.stages - 1 - min(int(self.progress * self.stages + 1e-9), self.stages - 1)

    def _at(self) -> float:
        if not self.mixed:
            return self._start * self._share(self.stage)
        return self._start * (self._share(0) + self.high) / 2

    def _draw(self, random: np.random.Generator) -> float:
        return self._share(int(random.integers(self.stages)) if self.mixed else self.stage)


def _half_cosine(progress: float) -> float:
    """Return (1 + cos(pi x)) / 2, from 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * progress)) / 2


@dataclass
class Replay(Controller):
    """Plays back a list of lengths, one per update; the last one stays.

    With the lengths and the seed of a guided run, another algorithm sees exactly the tokens that were revealed there:
    how supervised training is compared on the same revealed tokens.

    Args:
        lengths: Reveal length of the first update, the second, and so on; at least one.

    >>> replay = Replay(lengths=(45.0, 44.0, 40.0))
    >>> replay.length, [replay.update(reward=0.5) for _ in range(3)]
    (45.0, [44.0, 40.0, 40.0])
    """

    length: float = 0.0
    lengths: tuple[float, ...] = (0.0,)
    follows_success: ClassVar[bool] = False
    _played: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ConfigurationError("lengths must hold at least one length")
        self.lengths = tuple(float(length) for length in self.lengths)
        wrong = [length for length in self.lengths if not (length >= 0 and math.isfinite(length))]
        if wrong:
            raise ConfigurationError(f"lengths must all be finite and at least 0, got {wrong[0]}")
        self.length = self.lengths[0]
        super().__post_init__()

    def _next(self, reward: float) -> float:
        self._played += 1
        return self.lengths[min(self._played, len(self.lengths) - 1)]

    _next_unseen = _next

    def state_dict(self) -> dict[str, Any]:
        """Return length, history and the position in the list."""
        return {**super().state_dict(), "_played": self._played}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._played = state["_played"]
