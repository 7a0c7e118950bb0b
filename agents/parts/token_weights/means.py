"""Token weights: which tokens the loss counts, and how much. Numpy arrays, one episode at a time.

What a weight ``requires`` is computed for it and given by name: ``advantage`` (float, that of the episode) and
``entropy_T`` (float (T,), of the policy's distribution at each revealed token, 0 elsewhere).

The loss is sum(weight * term) / sum(weight) over the whole update, so the weights decide the normalisation too:
1 per token gives the token mean, 1/length the mean over episodes of their token means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError


def in_loss(episode: Episode, sampled: bool, revealed: bool) -> np.ndarray:
    """Return bool (T,), the tokens that count: those of the chosen roles. Prompts and environment tokens never do."""
    role_T = episode.role_T
    return ((role_T == Role.SAMPLED) & sampled) | ((role_T == Role.REVEALED) & revealed)


class RevealFilter(Protocol):
    """Which of the revealed tokens count, where they count at all."""

    @property
    def requires(self) -> frozenset[str]:
        """What it must be given: ``advantage``, ``entropy``."""
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


def filtered(which: RevealFilter | str) -> RevealFilter:
    """Return a filter, found by its name if it is one.

    Raises:
        ConfigurationError: there is no filter of that name, or the object is none.
    """
    if isinstance(which, str) and which in FILTERS:
        return FILTERS[which]
    if isinstance(which, str) or not (callable(which) and hasattr(which, "requires")):
        raise ConfigurationError(f"which={which!r} must be one of {', '.join(FILTERS)}, or an object: TopEntropy(0.5)")
    return which


@dataclass(frozen=True)
class TokenMean:
    """Every counted token weighs 1 (DAPO's normalisation, arXiv 2503.14476).

    Args:
        sampled: Count the tokens that the policy wrote.
        revealed: Count the revealed tokens.
        which: Which of them: ``every`` one, those of episodes with ``positive`` advantage, the fifth of highest
            ``entropy``, or an object such as ``TopEntropy(0.5)``.

    Raises:
        ConfigurationError: no token is left, or there is no such filter.
    """

    sampled: bool = True
    revealed: bool = False
    which: RevealFilter | str = "every"

    def __post_init__(self) -> None:
        if not (self.sampled or self.revealed):
            raise ConfigurationError("sampled=False and revealed=False leave no token for the loss")
        filtered(self.which)

    @property
    def requires(self) -> frozenset[str]:
        """What the filter needs, if revealed tokens count."""
        return filtered(self.which).requires if self.revealed else frozenset()

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return weights, float32 (T,)."""
        counts_T = in_loss(episode, self.sampled, self.revealed)
        if self.revealed:
            counts_T &= (episode.role_T != Role.REVEALED) | filtered(self.which)(episode, **given)
        return counts_T.astype(np.float32)


@dataclass(frozen=True)
class SequenceMean(TokenMean):
    """Every episode weighs 1, shared by its counted tokens (GRPO's normalisation, and the official G²RPO-A code's)."""

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return weights, float32 (T,)."""
        weight_T = super().__call__(episode, **given)
        return weight_T / max(weight_T.sum(), 1.0)
