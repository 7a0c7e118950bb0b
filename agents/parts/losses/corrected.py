"""Losses for episodes that are trained in another context than they were sampled in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LossResult, check_shapes
from g2rpo_env.errors import ConfigurationError


def off_policy_scale(log_probs_NT: torch.Tensor, batch: Batch, quantile: float = 0.9, least: float = 1e-4) -> float:
    """Return Guide's gamma: a quantile of r = exp(log_probs - old) over the off-policy tokens in the loss.

    Args:
        log_probs_NT: Log-probabilities under the policy that is about to be trained.
        batch: The whole minibatch.
        quantile: In [0, 1].
        least: Lower bound, > 0.
    """
    inside_NT = (batch.weight_NT > 0) & (batch.off_policy_N1 if batch.off_policy_N1 is not None else False)
    ratio_M = torch.exp(log_probs_NT[inside_NT] - batch.old_log_probs_NT[inside_NT])
    return max(least, float(np.quantile(ratio_M.double().cpu().numpy(), quantile))) if len(ratio_M) else least


@dataclass(frozen=True)
class CorrectedSurrogate(ClippedSurrogate):
    """The clipped surrogate, and Guide's importance correction where the context of training is not that of sampling.

    Off-policy tokens: r = pi(o | q) / pi_old(o | q, hint), the term is -A r / (r + gamma), never clipped; gamma, a
    constant, is the 0.9 quantile of r over the off-policy tokens of the minibatch, at least 1e-4. On-policy tokens are
    clipped as ever; without off-policy episodes it is ``ClippedSurrogate``, bit for bit.

    Source: Guide (arXiv 2506.13923), read in guide_rl 2f27715, core_algos.py lines 329-353, dp_actor.py lines 190-208.

    Deviations: 1. The quantile is over tokens in the loss of the whole minibatch; there it is over all positions of a
    micro-batch, padding included, so that gamma depends on both. 2. A ratio of gamma damps by two: learning rates of
    on-policy training are low for it (as there).

    Args:
        clip_low: See ClippedSurrogate.
        clip_high: See ClippedSurrogate.
        quantile: Of the ratios that gamma is, in [0, 1].
        gamma: None: found before each gradient step. A number keeps it, > 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    quantile: float = 0.9
    gamma: float | None = None

    requires = frozenset({"off_policy_log_probs"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantile <= 1:
            raise ConfigurationError(f"quantile={self.quantile} must lie in [0, 1]")
        if self.gamma is not None and not self.gamma > 0:
            raise ConfigurationError(f"gamma={self.gamma} must be None or above 0")

    def fit(self, log_probs_NT: torch.Tensor, batch: Batch) -> CorrectedSurrogate:
        """Return the loss of one gradient step, gamma known.

        Args:
            log_probs_NT: Log-probabilities of the off-policy tokens in the loss under the policy before the step.
            batch: The whole minibatch.
        """
        if self.gamma is not None:
            return self
        return replace(self, gamma=off_policy_scale(log_probs_NT, batch, self.quantile))

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        check_shapes(log_probs_NT, batch)
        if batch.off_policy_N1 is None or not batch.off_policy_N1.any():
            return super().__call__(log_probs_NT, batch)
        assert self.gamma is not None, "fit() comes first"
        off_NT = batch.off_policy_N1 & (batch.weight_NT > 0)
        on = super().__call__(log_probs_NT, replace(batch, weight_NT=batch.weight_NT * ~off_NT))
        ratio = torch.exp(torch.where(off_NT, log_probs_NT - batch.old_log_probs_NT, 0.0))
        term = -batch.advantage_NT * ratio / (ratio + self.gamma)
        return LossResult(on.total + (batch.weight_NT * off_NT * term).sum(), on.metrics)
