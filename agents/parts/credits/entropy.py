"""Credits by the entropy at a token: only where the policy could have gone another way is something decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.credits.probability import pair_advantages, scale_written
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Groups
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class TopEntropyTokens:
    """The advantage goes to the tokens of highest entropy in the update; the others get 0, and stay in the denominator.

    Formula: A_t = A where H_t >= the (1 - share) quantile of H (linear between ranks) over the sampled tokens of the
    update, else 0. Revealed tokens are held to the same bound; prompt and environment tokens keep A.

    Source: arXiv 2506.01939; read in TRL 1.16, grpo_trainer.py (``top_entropy_quantile``).

    Deviations: 1. Entropies and quantile are those of the policy before the update, over all its episodes; there they
    are those of each micro-batch as it is trained.

    Args:
        share: Share of the sampled tokens that keep their advantage, in (0, 1]; 1 keeps all.

    Raises:
        ConfigurationError: ``share`` breaks its rule.
    """

    share: float = 0.2

    requires = frozenset({"entropy"})

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"share={self.share} must lie in (0, 1]")

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float64 (T,) per episode."""
        pairs = list(pair_advantages(groups, advantage_PG))
        entropies = [np.asarray(entropy_T, np.float64) for entropy_T in given["entropy_GT"]]
        sampled = [entropy_T[e.sampled_T] for (e, _), entropy_T in zip(pairs, entropies, strict=True)]
        if not any(map(len, sampled)):
            return [np.full(len(e.tokens_T), a) for e, a in pairs]
        bound = np.quantile(np.concatenate(sampled), 1 - self.share) if self.share < 1 else -np.inf
        rows = zip(pairs, entropies, strict=True)
        return [scale_written(a, (entropy_T >= bound).astype(np.float64), e) for (e, a), entropy_T in rows]
