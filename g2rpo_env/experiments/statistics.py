"""Statistics: interquartile means with stratified bootstrap intervals, of one way to train and of two, paired.

A score is stratum -> bool (S, P): S seeds, P test problems. A stratum is what must not be mixed in resampling: a task,
a starting length. Seeds are resampled within their stratum, then the problems within each seed; two ways that are
compared get the same draws, because a seed has the same base and the same problems in both.

Source: Agarwal et al., Deep reinforcement learning at the edge of the statistical precipice (arXiv 2108.13264), section
4; resampling the problems too is ours: the accuracy of a run is itself measured on a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from g2rpo_env.errors import ConfigurationError

Score = Mapping[str, np.ndarray]

REPEATS = 2000
"""Resamples of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The number.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Whether all of the interval lies above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether all of the interval lies below 0."""
        return self.high < 0

    @property
    def standing(self) -> str:
        """``above``, ``below`` or ``not told apart``."""
        return "above" if self.above else "below" if self.below else "not told apart"


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def interquartile_mean(value: np.ndarray) -> np.ndarray:
    """Return the mean without the lowest and the highest quarter, over the last axis.

    Of fewer than four values none is left out, and it is their mean.

    >>> float(interquartile_mean(np.array([0.0, 0.5, 0.7, 9.0])))
    0.6
    """
    from scipy import stats

    return stats.trim_mean(value, 0.25, axis=-1)


def estimate(score: Score, repeats: int = REPEATS) -> Estimate:
    """Return the interquartile mean of the accuracies of all runs with its interval.

    Args:
        score: See the module.
        repeats: Number of resamples; they are seeded.
    """
    return _estimate(score, None, repeats)


def estimate_difference(one: Score, other: Score, repeats: int = REPEATS) -> Estimate:
    """Return the interquartile mean of accuracy(one) - accuracy(other), pairs of the same seed, with its interval.

    Raises:
        ConfigurationError: the two have not the same strata, seeds and problems.
    """
    shapes = [{stratum: array.shape for stratum, array in score.items()} for score in (one, other)]
    if shapes[0] != shapes[1]:
        raise ConfigurationError(f"pairs must have equal strata, seeds and problems, got {shapes[0]} and {shapes[1]}")
    return _estimate(one, other, repeats)


def _estimate(one: Score, other: Score | None, repeats: int) -> Estimate:
    rng = np.random.default_rng(0)
    found, drawn = [], []
    for stratum, right_SP in one.items():
        value_SP = right_SP.astype(float)
        if other is not None:
            value_SP = value_SP - other[stratum]
        seeds, problems = value_SP.shape
        found.append(value_SP.mean(axis=1))
        seed_RS = rng.integers(seeds, size=(repeats, seeds))
        mean_RS = np.empty((repeats, seeds))
        for place in range(seeds):
            problem_RP = rng.integers(problems, size=(repeats, problems))
            mean_RS[:, place] = value_SP[seed_RS[:, place, None], problem_RP].mean(axis=1)
        drawn.append(mean_RS)
    if not found:
        return UNKNOWN
    low, high = np.percentile(interquartile_mean(np.concatenate(drawn, axis=1)), [2.5, 97.5])
    return Estimate(float(interquartile_mean(np.concatenate(found))), float(low), float(high))
