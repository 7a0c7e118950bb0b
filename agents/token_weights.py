"""Token weights: which tokens the loss counts, and how much. Numpy arrays, one episode at a time.

The loss is sum(weight * term) / sum(weight) over the whole update, so the weights decide the normalisation too:
1 per token gives the token mean, 1/length the mean over episodes of their token means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError


def in_loss(episode: Episode, sampled: bool, revealed: bool) -> np.ndarray:
    """Return bool (T,), the tokens that count: those of the chosen roles. Prompts and environment tokens never do."""
    role_T = episode.role_T
    return ((role_T == Role.SAMPLED) & sampled) | ((role_T == Role.REVEALED) & revealed)


@dataclass(frozen=True)
class TokenMean:
    """Every counted token weighs 1 (DAPO's normalisation, arXiv 2503.14476).

    Args:
        sampled: Count the tokens that the policy wrote.
        revealed: Count the revealed tokens.
    """

    sampled: bool = True
    revealed: bool = False

    def __post_init__(self) -> None:
        if not (self.sampled or self.revealed):
            raise ConfigurationError("sampled=False and revealed=False leave no token for the loss")

    def __call__(self, episode: Episode) -> np.ndarray:
        """Return weights, float32 (T,)."""
        return in_loss(episode, self.sampled, self.revealed).astype(np.float32)


@dataclass(frozen=True)
class SequenceMean(TokenMean):
    """Every episode weighs 1, shared by its counted tokens (GRPO's normalisation, and the official G²RPO-A code's)."""

    def __call__(self, episode: Episode) -> np.ndarray:
        """Return weights, float32 (T,)."""
        weight_T = super().__call__(episode)
        return weight_T / max(weight_T.sum(), 1.0)
