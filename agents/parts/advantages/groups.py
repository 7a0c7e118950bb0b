"""Advantages: the rewards of one group to one number per member. Pure functions of numpy arrays.

One that ``requires`` the groups sees all rewards of an update at once, and who was shown what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.protocols import check_inner, get_requirements
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError


def center(reward_G: np.ndarray) -> np.ndarray:
    """Return R - mean(R), exactly 0 where all rewards are equal: the mean of three times 0.1 is not 0.1."""
    relative_G = reward_G - reward_G[0]
    return relative_G - relative_G.mean()


def check_eps(eps: float) -> None:
    """Raise ConfigurationError unless a number can be added to a deviation."""
    if not 0 <= eps < np.inf:
        raise ConfigurationError(f"eps={eps} must be finite and at least 0")


def compute_inner(inner: Any, reward_PG: Sequence[np.ndarray], groups: Sequence[Group]) -> list[np.ndarray]:
    """Return the advantages that another part gives to all groups, whether it asks for one of them or for all."""
    if "groups" in get_requirements(inner):
        return list(inner(reward_PG, groups))
    return [inner(reward_G) for reward_G in reward_PG]


@dataclass(frozen=True)
class GroupNormalized:
    """GRPO: A_i = (R_i - mean(R)) / (std(R) + eps), arXiv 2402.03300.

    The standard deviation is the unbiased one (divisor G - 1), as in TRL and in the official G²RPO-A code, which is
    built on it. A group of one has no baseline: its advantage is 0.

    Args:
        eps: Added to the standard deviation, >= 0; 1e-4 in TRL and the official code, 1e-6 in verl.

    Raises:
        ConfigurationError: ``eps`` breaks its rule.
    """

    eps: float = 1e-4

    def __post_init__(self) -> None:
        check_types(self)
        check_eps(self.eps)

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        if len(reward_G) < 2:
            return np.zeros_like(reward_G)
        return center(reward_G) / (reward_G.std(ddof=1) + self.eps)


@dataclass(frozen=True)
class GroupCentered:
    """A_i = R_i - mean(R): GRPO without the standard deviation (Dr. GRPO, arXiv 2503.20783)."""

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        return center(reward_G)


@dataclass(frozen=True)
class Ones:
    """A_i = 1: maximum likelihood of what was selected (supervised training, RAFT)."""

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return ones, float64 (G,)."""
        return np.ones_like(reward_G)


@dataclass(frozen=True)
class Raw:
    """A_i = R_i: no baseline, no scale. Rewards of both signs, or a selection, make it learn from mistakes.

    Reinforce-Rej (arXiv 2504.11343) takes it for groups with right and wrong answers; read in RLHFlow/Minimal-RL
    e3b49f0, core_algos.py lines 130-171.
    """

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return a copy of the rewards, float64 (G,)."""
        return np.array(reward_G, np.float64)


@dataclass(frozen=True)
class LeaveOneOut:
    """RLOO: A_i = R_i - mean of the other members' rewards = G / (G - 1) (R_i - mean(R)), arXiv 2402.14740.

    A group of one has no other member: its advantage is 0. Read in TRL's RLOOTrainer and in verl.
    """

    needs = frozenset({"members"})

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        size = len(reward_G)
        return center(reward_G) * (size / max(size - 1, 1))


@dataclass(frozen=True)
class MeanNormalized:
    """MaxRL: A_i = (R_i - mean(R)) / mean(R), 0 where the mean is 0; arXiv 2602.02710, read in prime-rl and SkyRL.

    For rewards of 0 and 1 and a success probability p, the expected gradient is that of the sum over k = 1, ..., G - 1
    of pass@k / k, the beginning of the series of log p: rare successes weigh more than they do in REINFORCE, where
    the gradient is that of pass@1.

    Deviations:

    1. The order is G - 1 and not G, as prime-rl's pages have it: a group without a success gives 0, which takes the
       last term away.
    2. A group of one gives 0.

    Raises:
        ConfigurationError: when called, a reward is below 0: a mean that is no share of successes says nothing.
    """

    needs = frozenset({"members"})

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        if np.min(reward_G) < 0:
            raise ConfigurationError(f"reward={float(np.min(reward_G))} must be at least 0 for MeanNormalized")
        mean = float(np.mean(reward_G))
        return center(reward_G) / mean if mean > 0 else np.zeros(len(reward_G))


@dataclass(frozen=True)
class Leaning:
    """A_i = least + (1 - least) R_i for rewards in [0, 1]: likelihood of every answer, that of the better ones most.

    All weights are positive, so this is weighted maximum likelihood; ``least=1`` is ``Ones``, ``least=0`` is ``Raw``.
    Source: our own, as the weight that return-conditioned training gives to answers of each level (GAC, arXiv
    2512.21527, abstract only).

    Args:
        least: Weight of an answer of reward 0, in [0, 1].

    Raises:
        ConfigurationError: ``least`` breaks its rule; when called, a reward lies outside [0, 1].
    """

    least: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.least <= 1:
            raise ConfigurationError(f"least={self.least} must lie in [0, 1]")

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return weights, float64 (G,), in [least, 1]."""
        wrong_G = reward_G[(reward_G < 0) | (reward_G > 1)]
        if len(wrong_G):
            raise ConfigurationError(f"reward={float(wrong_G[0])} must lie in [0, 1] for Leaning")
        return self.least + (1 - self.least) * reward_G


@dataclass(frozen=True)
class Clamped:
    """A_i = max(A_i, low) of another advantage: wrong answers are pushed away no harder than that.

    GRPO-lambda (arXiv 2510.00194, third-party text) clamps at -0.1.

    Args:
        inner: Any advantage, also one that requires the groups of the update.
        low: Lowest advantage, a finite number; ``-inf`` would be the inner advantage.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    inner: Any = field(default_factory=GroupNormalized)
    low: float = -0.1

    requires = frozenset({"groups"})

    def __post_init__(self) -> None:
        check_types(self)
        check_inner(self.inner, "reward_G")
        if not np.isfinite(self.low):
            raise ConfigurationError(f"low={self.low} must be finite")

    @property
    def needs(self) -> frozenset[str]:
        """What the inner advantage needs of the environment."""
        return frozenset(getattr(self.inner, "needs", ()))

    def __call__(self, reward_PG: Sequence[np.ndarray], groups: Sequence[Group]) -> list[np.ndarray]:
        """Return the advantages of all groups, float64 (G,) each."""
        return [np.maximum(advantage_G, self.low) for advantage_G in compute_inner(self.inner, reward_PG, groups)]
