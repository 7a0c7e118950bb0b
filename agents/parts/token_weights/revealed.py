"""Filters of revealed tokens: which of them count, where they count at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError


class RevealFilter(Protocol):
    """Which of the revealed tokens count, where they count at all."""

    @property
    def requires(self) -> frozenset[str]:
        """Names of what it must be given: ``advantage``, ``entropy``."""
        ...

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return bool (T,); what it says of other tokens does not matter."""
        ...


@dataclass(frozen=True)
class Every:
    """All revealed tokens, as the official G²RPO-A code has it."""

    requires = frozenset[str]()

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return True everywhere, bool (T,)."""
        return np.ones(len(episode.role_T), np.bool_)


@dataclass(frozen=True)
class OfPositive:
    """Revealed tokens of episodes with an advantage above 0: filtered imitation, no blame for what was shown.

    Sources: StepHint gives the hint of a wrong answer no negative credit (from memory, low confidence); RAFT's filter,
    applied to the reveal.
    """

    requires = frozenset({"advantage"})

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return whether the episode was better than its group, bool (T,)."""
        return np.full(len(episode.role_T), given["advantage"] > 0)


@dataclass(frozen=True)
class TopEntropy:
    """The revealed tokens at which the policy was least sure: the ceil(share n) of n with the highest entropy.

    Source: Prefix-RFT as a secondary note gives it: the usual policy loss, on the top 20 % of the prefix by entropy.
    Deviation: of equal entropies the earlier token counts.

    Args:
        share: Share of the revealed tokens of each episode, in (0, 1].

    Raises:
        ConfigurationError: ``share`` breaks its rule.
    """

    share: float = 0.2

    requires = frozenset({"entropy"})

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"share={self.share} must lie in (0, 1]")

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return the chosen tokens, bool (T,)."""
        entropy_T = given["entropy_T"]
        places = np.flatnonzero(episode.role_T == Role.REVEALED)
        kept = math.ceil(self.share * len(places) - 1e-9)
        chosen = np.zeros(len(episode.role_T), np.bool_)
        chosen[places[np.argsort(-entropy_T[places], kind="stable")[:kept]]] = True
        return chosen


FILTERS: Mapping[str, RevealFilter] = {"every": Every(), "positive": OfPositive(), "entropy": TopEntropy()}
"""Filters by name."""


def get_filter(which: RevealFilter | str) -> RevealFilter:
    """Return a filter, found by its name if it is one.

    Raises:
        ConfigurationError: there is no filter of that name, or the object is none.
    """
    if isinstance(which, str) and which in FILTERS:
        return FILTERS[which]
    if isinstance(which, str) or not (callable(which) and hasattr(which, "requires")):
        raise ConfigurationError(f"which={which!r} must be one of {', '.join(FILTERS)}, or an object: TopEntropy(0.5)")
    return which
