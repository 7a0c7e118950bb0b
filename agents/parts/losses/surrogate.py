"""Losses: pure functions of log-probabilities, advantages and weights; each returns a sum and a count.

Sum and count, not a mean: an update may be split into parts, and only the global count normalises it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class LossResult:
    """A loss before it is normalised.

    Attributes:
        total: Scalar tensor with gradient, sum over the tokens of weight * term.
        count: Sum of the weights; the loss of an update is sum(total) / sum(count) over its parts.
        metrics: Detached sums of weight * quantity, to be divided by the same count.
    """

    total: torch.Tensor
    count: torch.Tensor
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)


def clipped_surrogate(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantage: torch.Tensor,
    clip_low: float,
    clip_high: float,
) -> torch.Tensor:
    """Return -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) per token, r = exp(log_probs - old_log_probs).

    PPO's clipped objective (arXiv 1707.06347, equation 7) as a loss. All arguments have one shape, which is returned.
    """
    ratio = torch.exp(log_probs - old_log_probs)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio * advantage, clipped * advantage)


@dataclass(frozen=True)
class ClippedSurrogate:
    """GRPO's policy loss (arXiv 2402.03300, equation 3, without its KL term, which is a part of its own).

    With one gradient step per rollout r = 1 and clipping is inactive: the gradient is that of -A log pi, which is what
    the official G²RPO-A code computes.

    Args:
        clip_low: r is clipped below 1 - clip_low, in [0, 1].
        clip_high: r is clipped above 1 + clip_high, >= 0; 0.28 is DAPO's clip-higher.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.clip_low <= 1 or not self.clip_high >= 0:
            raise ConfigurationError(
                f"clip_low={self.clip_low} must lie in [0, 1] and clip_high={self.clip_high} must be at least 0"
            )

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        # Tokens outside the loss may hold anything, also values whose exponential overflows: 0 * inf would be NaN.
        inside = batch.weight_NT > 0
        old = torch.where(inside, batch.old_log_probs_NT, 0.0)
        new = torch.where(inside, log_probs_NT, 0.0)
        term = clipped_surrogate(new, old, batch.advantage_NT, self.clip_low, self.clip_high)
        with torch.no_grad():
            ratio = torch.exp(new - old)
            outside = ((ratio < 1 - self.clip_low) & (batch.advantage_NT < 0)) | (
                (ratio > 1 + self.clip_high) & (batch.advantage_NT > 0)
            )
        metrics = {"clip_fraction": (batch.weight_NT * outside).sum()}
        return LossResult((batch.weight_NT * term).sum(), batch.weight_NT.sum(), metrics)


@dataclass(frozen=True)
class LogLikelihood:
    """-A log pi: maximum likelihood for A = 1 (supervised training, RAFT), REINFORCE otherwise. No ratio, no clip."""

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        inside = batch.weight_NT > 0
        term = -batch.advantage_NT * torch.where(inside, log_probs_NT, 0.0)
        return LossResult((batch.weight_NT * term).sum(), batch.weight_NT.sum())
