"""Losses: pure functions of log-probabilities, advantages and weights; each returns a sum.

A sum, not a mean: an update may be split into passes, and only the denominator of the whole batch normalises it exactly
(:attr:`~g2rpo_env.agents.batch.Batch.count`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.options import check_types
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
    cap: float | None = None,
) -> torch.Tensor:
    """Return -min(min(r, cap) A, clip(r, 1 - clip_low, 1 + clip_high) A) per token, r = exp(log_probs - old_log_probs).

    PPO's clipped objective (arXiv 1707.06347, equation 7) as a loss; without a cap, min(r, cap) is r. All arrays have
    one shape, which is returned.
    """
    assert log_probs.shape == old_log_probs.shape == advantage.shape, "clipped_surrogate takes arrays of one shape"
    ratio = torch.exp(log_probs - old_log_probs)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    bounded = ratio if cap is None else ratio.clamp(max=cap)
    return -torch.minimum(bounded * advantage, clipped * advantage)


def find_clipped(
    ratio: torch.Tensor, advantage: torch.Tensor, clip_low: float, clip_high: float, cap: float | None = None
) -> torch.Tensor:
    """Return where the clipped surrogate has no gradient for the ratio, bool; the shapes must broadcast."""
    low, high = (ratio < 1 - clip_low) & (advantage < 0), (ratio > 1 + clip_high) & (advantage > 0)
    return low | high if cap is None else low | high | ((ratio > cap) & (advantage < 0))


def count_clipped(clipped_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the sum that, divided by the denominator of the loss, is the share of clipped tokens.

    Tokens weigh as in the loss where its denominator is the sum of the weights; else they weigh alike.
    """
    if batch.count_N1 is None:
        return (batch.weight_NT * clipped_NT).sum()
    inside_NT = batch.weight_NT > 0
    tokens = int(inside_NT.sum()) if batch.step_tokens is None else batch.step_tokens
    count = batch.count if batch.step_count is None else batch.step_count
    return (clipped_NT & inside_NT).sum() * (count / max(tokens, 1))


@dataclass(frozen=True)
class ClippedSurrogate:
    """GRPO's policy loss (arXiv 2402.03300, equation 3, without its KL term, which is a part of its own).

    With one gradient step per rollout r = 1 and clipping is inactive: the gradient is that of -A log pi, which is what
    the official G²RPO-A code computes.

    With ``cap`` the term is -min(min(r, cap) A, clip(r, 1 - clip_low, 1 + clip_high) A): where A < 0, which no clip
    bounds from above, it is at most -cap A, and a token beyond has no gradient. That is the two-sided clipping of
    INTELLECT-2 (arXiv 2505.07291), TRL's ``delta``, and, as a function of r and A, the dual clip of arXiv 1912.09729,
    verl's ``clip_ratio_c``.

    Args:
        clip_low: r is clipped below 1 - clip_low, in [0, 1].
        clip_high: r is clipped above 1 + clip_high, >= 0; 0.28 is DAPO's clip-higher.
        cap: Greatest r where A < 0, above 1 + clip_high; None for none. 3.0 is verl's.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    cap: float | None = field(default=None, kw_only=True)  # losses that derive from this have more fields

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.clip_low <= 1 or not self.clip_high >= 0:
            raise ConfigurationError(
                f"clip_low={self.clip_low} must lie in [0, 1] and clip_high={self.clip_high} must be at least 0"
            )
        if self.cap is not None and not self.cap > 1 + self.clip_high:
            raise ConfigurationError(f"cap={self.cap} must be None or above 1 + clip_high={1 + self.clip_high}")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        check_shapes(log_probs_NT, batch)
        # Tokens outside the loss may hold anything, also values whose exponential overflows: 0 * inf would be NaN.
        inside = batch.weight_NT > 0
        old = torch.where(inside, batch.old_log_probs_NT, 0.0)
        new = torch.where(inside, log_probs_NT, 0.0)
        term = clipped_surrogate(new, old, batch.advantage_NT, self.clip_low, self.clip_high, self.cap)
        with torch.no_grad():
            clipped = find_clipped(torch.exp(new - old), batch.advantage_NT, self.clip_low, self.clip_high, self.cap)
        metrics = {"clip_fraction": count_clipped(clipped, batch)}
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
