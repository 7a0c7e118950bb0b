"""Faults: the ways in which the raw rule fails, each shown in simulation, most beside a rule that does not.

A fault is a stream of successes that needs no learner, or a modelled learner. The first five are derived from the rule
itself: drift, a trend that counts more than once, a curriculum taken for a loss of ability, zero success, and copying
once the length has reached the whole solution; collapse and sticking at zero follow from the fourth and the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from g2rpo_env.controllers.base import Controller
from g2rpo_env.controllers.rules import AdaptiveGuidance, FixedGuidance, OfficialCadence
from g2rpo_env.controllers.self_tuning import SelfTuning
from g2rpo_env.controllers.simulator import LearnerModel, Simulation, simulate_controller

WHOLE = 100.0
START = 40.0
SETTINGS = 20
"""Simulated trainings per figure; the figure is their median."""


def make_raw() -> Controller:
    """Return the paper's rule."""
    return AdaptiveGuidance(length=START, max_length=WHOLE, max_factor=None)


def make_default() -> Controller:
    """Return the default of this library."""
    return SelfTuning(length=START, max_length=WHOLE)


def make_official() -> Controller:
    """Return the rule of the official code."""
    return OfficialCadence(length=START, max_length=WHOLE)


def get_lengths(rule: Controller, rewards: list[float]) -> list[float]:
    """Return the lengths of a rule after each of some mean successes."""
    return [rule.update(reward=reward) for reward in rewards]


def measure_drift(rule: Callable[[], Controller], success: float = 0.3, updates: int = 200) -> float:
    """Return the median length after a constant success measured on 64 answers, as a multiple of the start."""
    ends = []
    for seed in range(SETTINGS):
        random = np.random.default_rng(seed)
        one = rule()
        ends.append(get_lengths(one, [float(random.binomial(64, success)) / 64 for _ in range(updates)])[-1] / START)
    return float(np.median(ends))


def make_unbounded(max_factor: float | None) -> Callable[[], Controller]:
    """Return the raw or the bounded rule without a cap that would hide a drift."""
    return lambda: AdaptiveGuidance(length=START, max_length=1e9, max_factor=max_factor)


def simulate(rule: Callable[[], Controller], learner: LearnerModel) -> Simulation:
    """Return simulated trainings, one per difference of the problems."""
    return simulate_controller([rule() for _ in range(SETTINGS)], [learner] * SETTINGS, updates=150, whole=WHOLE)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: Its name.
        measure: Returns the figure of the raw rule and that of a better one.
        text: The sentence, with both figures.
        is_shown: Whether the figures show the fault.
    """

    name: str
    measure: Callable[[], tuple[float, float]]
    text: str
    is_shown: Callable[[float, float], bool]

    @cached_property
    def figures(self) -> tuple[float, float]:
        """Both figures, measured once."""
        return self.measure()

    def describe(self) -> str:
        """Return the sentence with its figures."""
        return f"simulation, {self.name}: " + self.text.format(*self.figures)

    def holds(self) -> bool:
        """Return whether the fault is there, and not in the other rule."""
        return self.is_shown(*self.figures)


def _measure_collapse() -> tuple[float, float]:
    rewards = [0.05, 0.05, 0.6, 0.05, 0.05, 0.05]
    return get_lengths(make_raw(), rewards)[2], min(get_lengths(make_default(), rewards))


def _measure_jump() -> tuple[float, float]:
    rewards = [0.2, 0.2, 0.0, 0.2, 0.2]
    lengths = get_lengths(make_raw(), rewards)
    return lengths[2], lengths[3]


def _measure_stuck() -> tuple[float, float]:
    learner = LearnerModel(ability=-12.0, help=14.0, bend=3.0, imitation=0.3)
    length, accuracy = simulate(make_official, learner).length, simulate(make_default, learner).accuracy
    return float(np.median(length[:, -1])), float(np.median(accuracy[:, -1]))


def _measure_harder() -> tuple[float, float]:
    learner = LearnerModel(ability=-1.0, help=4.0, rate=0.05, harder=0.03)
    found = simulate(make_raw, learner)
    return float(np.median(found.length[:, -1])), float(np.median(found.ability[:, -1] - found.ability[:, 0]))


def _measure_trend() -> tuple[float, float]:
    learner = LearnerModel(ability=-2.0, spread=0.0, help=0.0, rate=0.0, trend=0.02)
    slopes = []
    for window in (2, 4):
        rule = AdaptiveGuidance(length=1e6, window=window, max_length=None, max_factor=None)
        found = simulate_controller(rule, [learner] * 4, updates=100, problems=100, group_size=100, whole=1.0)
        rise = np.log(found.reward[:, -1] / found.reward[:, 0])
        slopes.append(float(np.median(np.log(found.length[:, -1] / 1e6) / rise)))
    return slopes[0], slopes[1]


def _measure_copying() -> tuple[float, float]:
    learner = LearnerModel(ability=-4.0, spread=0.0, help=20.0, rate=0.0)
    rules = FixedGuidance(length=WHOLE), SelfTuning(length=WHOLE, max_length=WHOLE)
    copied, held = (simulate_controller(rule, learner, updates=60, whole=WHOLE, ratio=1) for rule in rules)
    return float(copied.reward[0, -20:].mean()), float(held.reward[0, -20:].mean())


FAULTS: tuple[Fault, ...] = (
    Fault(
        "drift",
        lambda: (measure_drift(make_unbounded(None)), measure_drift(make_unbounded(1.25))),
        "after 200 updates of constant success 0.3 the raw length is {:.1f} times its start, the bounded one {:.2f}",
        lambda raw, other: raw > 1.5 > 1.25 > other > 0.8,
    ),
    Fault(
        "trend",
        _measure_trend,
        "where success rises the length falls as its power {:.1f} with a window of 2 and {:.1f} with one of 4, not -1",
        lambda two, four: -1.7 < two < -1.3 and -2.8 < four < -2.2,
    ),
    Fault(
        "copying",
        _measure_copying,
        "with the whole solution shown to all members success is {:.2f} and nothing differs; the default holds {:.2f}",
        lambda copied, held: copied == 1.0 and 0.4 < held < 0.6,
    ),
    Fault(
        "collapse",
        _measure_collapse,
        "one lucky batch takes the raw length from 40 to {:.1f}; the default stays at {:.0f} or above",
        lambda raw, other: raw < START / 4 and other > START / 4,
    ),
    Fault(
        "jump",
        _measure_jump,
        "one batch without success sends the raw length from 40 to its cap, {:.0f}; the next one takes it to {:.0f}",
        lambda capped, after: capped == WHOLE and after < capped,
    ),
    Fault(
        "stuck at zero",
        _measure_stuck,
        "without any success the official rule stays where it began, at {:.0f}; the default reaches accuracy {:.2f}",
        lambda length, accuracy: length == START and accuracy > 0.5,
    ),
    Fault(
        "curriculum",
        _measure_harder,
        "while problems get harder the raw length grows from 40 to {:.0f}, although ability grew by {:.1f} logits",
        lambda length, ability: length > 1.2 * START and ability > 0,
    ),
)
"""All of them."""
