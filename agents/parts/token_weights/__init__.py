"""Token weights: which tokens the loss counts, and how much."""

from g2rpo_env.agents.parts.token_weights.means import (
    ByRole,
    FixedLength,
    RisingMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
)
from g2rpo_env.agents.parts.token_weights.revealed import FILTERS, Every, OfPositive, RevealFilter, TopEntropy

__all__ = [
    "ByRole",
    "Every",
    "FILTERS",
    "FixedLength",
    "OfPositive",
    "RevealFilter",
    "RisingMean",
    "SequenceMean",
    "SequenceSum",
    "TokenMean",
    "TopEntropy",
]
