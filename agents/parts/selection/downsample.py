"""DownSample: many answers are sampled of each problem, and few of them are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import stream

TIE = 1e-12
"""Variances of rewards, scaled to [0, 1], that differ by less are equal."""


def choose_variance(reward_G: np.ndarray, order_G: np.ndarray, kept: int) -> np.ndarray:
    """Return the k highest and kept - k lowest rewards with the greatest variance; see :class:`DownSample`.

    Of equal variances that with k nearest kept / 2 is taken, then that with the greater k.

    Args:
        reward_G: Rewards.
        order_G: Members by rising reward.
        kept: Number of members to choose, in [1, G].
    """
    value_G = reward_G[order_G] - reward_G.min()
    value_G = value_G / max(value_G[-1], np.finfo(np.float64).tiny)
    sum_G, square_G = (np.concatenate([[0.0], np.cumsum(value_G**power)]) for power in (1, 2))
    high = np.arange(kept + 1)  # k, of all candidates

    def of_both_ends(prefix_G: np.ndarray) -> np.ndarray:
        return prefix_G[kept - high] + prefix_G[-1] - prefix_G[len(reward_G) - high]

    variance = of_both_ends(square_G) / kept - (of_both_ends(sum_G) / kept) ** 2
    best = high[variance >= variance.max() - TIE]
    k = min(best, key=lambda number: (abs(number - kept / 2), -number))
    return np.concatenate([order_G[: kept - k], order_G[len(reward_G) - k :]])


def choose_percentile(reward_G: np.ndarray, order_G: np.ndarray, kept: int) -> np.ndarray:
    """Return the members at evenly spaced ranks: round((j + 1/2) G / kept - 1/2), half to even.

    >>> choose_percentile(np.arange(8.0), np.arange(8), 4).tolist()
    [0, 2, 4, 6]
    """
    rank = np.rint((np.arange(kept) + 0.5) * len(reward_G) / kept - 0.5).astype(np.int64)
    return order_G[rank]


RULES: Mapping[str, Callable[[np.ndarray, np.ndarray, int, np.ndarray], np.ndarray]] = {
    "variance": lambda reward_G, order_G, kept, key_G: choose_variance(reward_G, order_G, kept),
    "best": lambda reward_G, order_G, kept, key_G: order_G[len(order_G) - kept :],
    "random": lambda reward_G, order_G, kept, key_G: np.argsort(key_G)[:kept],
    "percentile": lambda reward_G, order_G, kept, key_G: choose_percentile(reward_G, order_G, kept),
}
"""Rule -> (rewards, members by rising reward, how many, random keys) -> the members that are kept."""


@dataclass(frozen=True)
class DownSample:
    """PODS: of the G members of each group m = max(ceil(share G), least) are trained, the others leave the update.

    Generating is cheap, for it is done many at a time, and training is not (arXiv 2504.13818). Rules:

    - ``variance``: the subset whose rewards have the greatest variance. It is made of the k highest and the m - k
      lowest for some k, so sums of the sorted rewards find it. Of equal variances that with k nearest m / 2 is taken.
    - ``best``: the m highest.
    - ``random``: any m.
    - ``percentile``: the members at evenly spaced ranks, round((j + 1/2) G / m - 1/2) for j = 0, ..., m - 1.

    Advantages are those of the subset. Read in the official code, YixuanEvenXu/pods 187f43b, maxvargrpo_trainer.py
    lines 515-533 and open-r1/src/open_r1/grpo_trainer.py lines 1099-1118; ``percentile`` stands in the paper alone,
    and its ranks are from memory. The subset is no sample of the policy, and no weight makes up for that, as there:
    rare outcomes weigh more than they happen.

    Deviations:

    1. Members of equal rewards are ordered by a random stream of their group, not by the order of sorting: guided
       members stand first, and would be preferred.
    2. At least ``least`` members stay: a single one has nothing to be compared with.

    Args:
        share: Share of the members of a group that is kept, in (0, 1].
        rule: ``variance``, ``best``, ``random`` or ``percentile``.
        least: Fewest members that are kept, where there are as many, >= 1.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    share: float = 0.25
    rule: str = "variance"
    least: int = 2

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"share={self.share} must lie in (0, 1]")
        if self.rule not in RULES:
            raise ConfigurationError(f"rule={self.rule!r} must be one of {', '.join(RULES)}")
        if self.least < 1:
            raise ConfigurationError(f"least={self.least} must be at least 1")

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return groups of the members that are kept, in their order, and their rewards."""
        kept, rewards = Groups(), []
        for group, reward_G in zip(groups, reward_PG, strict=True):
            chosen = self._choose(group, reward_G)
            kept.append(Group(tuple(group.episodes[i] for i in chosen)))
            rewards.append(reward_G[chosen])
        return kept, rewards

    def _choose(self, group: Group, reward_G: np.ndarray) -> np.ndarray:
        """Return the places of the members that are kept, rising."""
        kept = min(len(group), max(math.ceil(self.share * len(group) - 1e-9), self.least))
        if kept == len(group):
            return np.arange(kept)
        member_G = np.array([e.member for e in group.episodes])
        # A key per member, not per place: what else was left out of the group changes no key.
        key_G = stream(group.episodes[0].seed, "select", group.group).random(member_G.max() + 1)[member_G]
        return np.sort(RULES[self.rule](reward_G, np.lexsort((key_G, reward_G)), kept, key_G))
