"""Losses: pure functions of log-probabilities, advantages and weights; each returns a sum.

A sum, not a mean: an update may be split into passes, and only the denominator of the whole batch normalises it exactly
(:attr:`~g2rpo_env.agents.batch.Batch.count`).
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
        metrics: Detached sums of weight * quantity, to be divided by the same denominator.
    """

    total: torch.Tensor
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)


def check_shapes(log_probs_NT: torch.Tensor, batch: Batch) -> None:
    """Assert that log-probabilities and the columns of a batch that losses read have one shape (N, T)."""
    shapes = {
        "log_probs_NT": log_probs_NT.shape,
        "old_log_probs_NT": batch.old_log_probs_NT.shape,
        "advantage_NT": batch.advantage_NT.shape,
        "weight_NT": batch.weight_NT.shape,
    }
    assert len(set(shapes.values())) == 1 and log_probs_NT.ndim == 2, f"arrays must have one shape (N, T): {shapes}"


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
    assert log_probs.shape == old_log_probs.shape == advantage.shape, "clipped_surrogate takes arrays of one shape"
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
        check_shapes(log_probs_NT, batch)
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
        return LossResult((batch.weight_NT * term).sum(), metrics)


@dataclass(frozen=True)
class LogLikelihood:
    """-A log pi: maximum likelihood for A = 1 (supervised training, RAFT), REINFORCE otherwise. No ratio, no clip."""

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        check_shapes(log_probs_NT, batch)
        inside = batch.weight_NT > 0
        term = -batch.advantage_NT * torch.where(inside, log_probs_NT, 0.0)
        return LossResult((batch.weight_NT * term).sum())
