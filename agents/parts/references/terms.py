"""References: what keeps the policy near an earlier one, and the model that it is kept near."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class NoReference:
    """No term, no reference model."""

    requires = frozenset[str]()

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return 0."""
        return torch.zeros((), device=log_probs_NT.device)


def k3(log_probs: torch.Tensor, reference_log_probs: torch.Tensor) -> torch.Tensor:
    """Return exp(l_ref - l) - (l_ref - l) - 1 per token, Schulman's k3, >= 0.

    As a loss on the policy's own samples its expected gradient is that of KL(ref || pi), the forward divergence.
    """
    difference = reference_log_probs - log_probs
    return torch.exp(difference) - difference - 1


@dataclass(frozen=True)
class KLToStart:
    """beta * k3 against the policy that training started from (arXiv 2402.03300, equation 4).

    Args:
        beta: Coefficient, > 0; 0.04 in the GRPO paper.
    """

    beta: float = 0.04

    requires = frozenset({"reference_log_probs"})

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ConfigurationError(f"beta={self.beta} must be above 0 (use NoReference for none)")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over tokens, a scalar, normalised by the same count as the loss."""
        assert batch.reference_log_probs_NT is not None, "the column is filled where a part requires it"
        assert batch.reference_log_probs_NT.shape == log_probs_NT.shape == batch.weight_NT.shape
        inside = batch.weight_NT > 0
        term = k3(torch.where(inside, log_probs_NT, 0.0), torch.where(inside, batch.reference_log_probs_NT, 0.0))
        return self.beta * (batch.weight_NT * term).sum()
