"""Advantages that look at all groups of an update: at their lengths, at their tokens, at how many have signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, center, compute_inner
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.protocols import check_inner
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError

EPS = 1e-8
"""Added to the variance of whitened advantages, as in verl."""


def count_sampled(groups: Sequence[Group]) -> list[np.ndarray]:
    """Return the number of sampled tokens of each member, int64 (G,) per group."""
    return [np.array([int(e.sampled_T.sum()) for e in group.episodes]) for group in groups]


def subtract_length_baseline(reward_G: np.ndarray, length_G: np.ndarray) -> np.ndarray:
    """Return R - sum(n R) / sum(n), exactly 0 where all rewards are equal; R - mean(R) where all lengths are 0."""
    relative_G = reward_G - reward_G[0]
    if not length_G.any():
        return center(reward_G)
    return relative_G - (length_G * relative_G).sum() / length_G.sum()


def whiten(value_N: np.ndarray, count_N: np.ndarray) -> np.ndarray:
    """Return (x - m) / sqrt(v + 1e-8), float64 (N,): m and v of a list that holds each value ``count`` times.

    The variance has the divisor sum(count) - 1. Equal values give exactly 0, and so do fewer than two entries.

    >>> whiten(np.array([1.0, 0.0]), np.array([1, 3])).round(3).tolist()
    [1.5, -0.5]
    """
    total = count_N.sum()
    if total < 2:
        return np.zeros(len(value_N))
    relative_N = value_N - value_N[0]
    relative_N = relative_N - (count_N * relative_N).sum() / total
    return relative_N / np.sqrt((count_N * relative_N**2).sum() / (total - 1) + EPS)


@dataclass(frozen=True)
class LengthBaseline:
    """OPO: A_i = R_i - sum_j n_j R_j / sum_j n_j over the members of a group, n the number of sampled tokens.

    The baseline of least variance for one action is the mean reward weighted by the squared norm of the gradient; with
    a norm that grows with the length, that is this one (arXiv 2505.23585). Read in verl. Where all answers are equally
    long it is ``GroupCentered``.
    """

    requires = frozenset({"groups"})
    needs = frozenset({"members"})

    def __call__(self, reward_PG: Sequence[np.ndarray], groups: Sequence[Group]) -> list[np.ndarray]:
        """Return the advantages of all groups, float64 (G,) each."""
        return [subtract_length_baseline(r, n) for r, n in zip(reward_PG, count_sampled(groups), strict=True)]


@dataclass(frozen=True)
class Whitened:
    """REINFORCE++: A_i = (x_i - m) / sqrt(v + 1e-8), where m and v are over all sampled tokens of the update.

    x_i is R_i (``within="batch"``), or R_i less the mean of its group (``within="group"``, REINFORCE++-baseline). Each
    token counts with the x of its episode, so long answers weigh more in m and v; the divisor of v is the number of
    tokens less 1. arXiv 2501.03262, read in verl.

    With ``within="batch"`` a group in which all members did equally well has an advantage too: it is compared with the
    other groups. With ``within="group"`` its x is 0, and its advantage -m / sqrt(v + 1e-8), which is 0 where right and
    wrong answers are equally long.

    Args:
        within: ``batch`` or ``group``, where the baseline is taken.

    Raises:
        ConfigurationError: ``within`` is neither.
    """

    within: str = "batch"

    requires = frozenset({"groups"})

    def __post_init__(self) -> None:
        check_types(self)
        if self.within not in ("batch", "group"):
            raise ConfigurationError(f"within={self.within!r} must be 'batch' or 'group'")

    @property
    def needs(self) -> frozenset[str]:
        """Groups of two or more, where they have a mean of their own."""
        return frozenset({"members"} if self.within == "group" else ())

    def __call__(self, reward_PG: Sequence[np.ndarray], groups: Sequence[Group]) -> list[np.ndarray]:
        """Return the advantages of all groups, float64 (G,) each."""
        if not groups:
            return []
        value_PG = [center(reward_G) for reward_G in reward_PG] if self.within == "group" else reward_PG
        white_N = whiten(np.concatenate(value_PG), np.concatenate(count_sampled(groups)))
        return np.split(white_N, np.cumsum([len(reward_G) for reward_G in reward_PG])[:-1])


@dataclass(frozen=True)
class ValidScaled:
    """GPG: alpha A_i with alpha = P / (P - M), P groups, of which M have equal rewards; all 0 where M = P.

    Groups of equal rewards give no gradient but stand in the denominator of the loss; alpha makes up for them. arXiv
    2504.02546, equations 5 to 8; read in AMAP-ML/GPG e096da8, open-r1/src/open_r1/gpg_trainer.py lines 299-316 and
    541-626. A constant alpha cancels under Adam; what remains is that updates with few groups to learn from weigh as
    much as others.

    Args:
        inner: Any advantage, also one that requires the groups of the update.

    Raises:
        ConfigurationError: ``inner`` breaks its rule.
    """

    inner: Any = field(default_factory=GroupCentered)

    requires = frozenset({"groups"})

    def __post_init__(self) -> None:
        check_inner(self.inner, "reward_G")

    @property
    def needs(self) -> frozenset[str]:
        """Groups of two or more, and what the inner advantage needs of the environment."""
        return frozenset({"members"}) | frozenset(getattr(self.inner, "needs", ()))

    def __call__(self, reward_PG: Sequence[np.ndarray], groups: Sequence[Group]) -> list[np.ndarray]:
        """Return the advantages of all groups, float64 (G,) each."""
        advantages = compute_inner(self.inner, reward_PG, groups)
        valid = sum(np.ptp(reward_G) > 0 for reward_G in reward_PG)
        alpha = len(reward_PG) / valid if valid else 0.0
        return [alpha * advantage_G for advantage_G in advantages]
