"""Losses whose ratio is that of a whole answer: a geometric mean over its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.soft import take_inside
from g2rpo_env.agents.parts.losses.surrogate import (
    ClippedSurrogate,
    LossResult,
    clipped_surrogate,
    count_clipped,
    find_clipped,
)
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError


def mean_inside(value_NT: torch.Tensor, inside_NT: torch.Tensor) -> torch.Tensor:
    """Return the mean of the values inside the loss per row, (N, 1); 0 for a row without any.

    Args:
        value_NT: float, 0 outside.
        inside_NT: bool.
    """
    return value_NT.sum(-1, keepdim=True) / inside_NT.sum(-1, keepdim=True).clamp(min=1)


def lend_gradient(value: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """Return numbers that have the value of the first and the gradient of the second array; the shapes broadcast."""
    return log_probs - log_probs.detach() + value.detach()


@dataclass(frozen=True)
class SequenceSurrogate(ClippedSurrogate):
    """GSPO: the clipped surrogate of one ratio per answer, the geometric mean of the ratios of its tokens.

    Formula: the clipped surrogate of s_t = exp(lp_t - sg(lp_t) + sg(mean_t(lp - lo))), sg without gradient, the mean
    over the loss tokens of the answer: the value is that of the answer, the gradient that of the token.

    Source: arXiv 2507.18071, section 4.3 (GSPO-token); read in TRL 1.16 (``importance_sampling_level="sequence"``) and
    verl (core_algos.py). Where an answer has one advantage, both forms have one gradient. With a credit part, the
    advantages of tokens stay with their tokens here, where TRL's form would take their mean over the answer.

    Args:
        clip_low: The ratio of the answer is clipped below 1 - clip_low, in [0, 1].
        clip_high: It is clipped above 1 + clip_high, >= 0. Ratios of answers stay near 1, so the bounds are narrow.
        cap: See ClippedSurrogate.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, inside = take_inside(log_probs_NT, batch)
        mean_N1 = mean_inside(new - old, inside).detach()
        log_ratio = lend_gradient(mean_N1, new)
        bounds = self.clip_low, self.clip_high, self.cap
        term = clipped_surrogate(log_ratio, torch.zeros_like(log_ratio), batch.advantage_NT, *bounds)
        clipped = find_clipped(torch.exp(mean_N1), batch.advantage_NT, *bounds)
        return LossResult((batch.weight_NT * term).sum(), {"clip_fraction": count_clipped(clipped, batch)})


@dataclass(frozen=True)
class GeometricMean:
    """GMPO: the geometric mean of the clipped ratios of an answer.

    Formula: per answer -exp(mean_t l_t) A over its loss tokens, l_t = min(log r_t, clip(log r_t, -low, high)) where
    A > 0 and max of both elsewhere. The clip is in log space, and each token is clipped by itself.

    It is computed as the mean over tokens of -A exp(sg(mean l) + l_t - sg(l_t)), sg without gradient: the same value
    and the same gradient where an answer has one advantage and its tokens one weight; with a credit part, the
    advantages of tokens stay with their tokens.

    Source: arXiv 2507.20673; read in TRL 1.16, experimental/gmpo.

    Args:
        clip_low: log r is clipped below -clip_low, >= 0; 0.4 is a ratio of 0.67.
        clip_high: log r is clipped above clip_high, >= 0; 0.4 is a ratio of 1.49.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    clip_low: float = 0.4
    clip_high: float = 0.4

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("clip_low", "clip_high"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, inside = take_inside(log_probs_NT, batch)
        raw, advantage_NT = new - old, batch.advantage_NT
        bounded = raw.clamp(-self.clip_low, self.clip_high)
        log_ratio = torch.where(advantage_NT > 0, torch.minimum(raw, bounded), torch.maximum(raw, bounded))
        mean_N1 = mean_inside(log_ratio, inside)
        term = -advantage_NT * torch.exp(lend_gradient(mean_N1, log_ratio))
        with torch.no_grad():
            up, down = (raw > self.clip_high) & (advantage_NT > 0), (raw < -self.clip_low) & (advantage_NT < 0)
        return LossResult((batch.weight_NT * term).sum(), {"clip_fraction": count_clipped(up | down, batch)})
