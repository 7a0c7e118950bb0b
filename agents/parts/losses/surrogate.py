"""Losses: pure functions of log-probabilities, advantages and weights; each returns a sum and a count.

Sum and count, not a mean: an update may be split into parts, and only the global count normalises it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.episode import Role
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


def shaped_likelihood(log_probs: torch.Tensor, advantage: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return -A f(p) per token, f(p) = p / (p + gamma), p = exp(log_probs).

    LUFFY's policy shaping for tokens that the policy did not sample (arXiv 2504.14945; read in ElliottYan/LUFFY
    01f4ae0, mix_core_alg.py near line 174). df/d log p = gamma p / (p + gamma)^2 is largest at p = gamma:
    unlikely tokens are learnt from, impossible and sure ones hardly. All arguments have one shape, which is returned.
    """
    probability = torch.exp(log_probs)
    return -advantage * probability / (probability + gamma)


@dataclass(frozen=True)
class ShapedReveal(ClippedSurrogate):
    """The clipped surrogate for sampled tokens, LUFFY's shaping for revealed ones; see :func:`shaped_likelihood`.

    Use it with token weights that count revealed tokens, ``SequenceMean(revealed=True)``.

    Deviations from LUFFY: 1. A part of the solution is revealed, not a whole trace of another model. 2. Sampled tokens
    are clipped, there they are not. 3. Normalisation, entropy bonus and the mean over lengths are other parts.

    Args:
        clip_low: See ClippedSurrogate.
        clip_high: See ClippedSurrogate.
        gamma: Probability of greatest gradient, > 0; 0.1 in LUFFY.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gamma > 0:
            raise ConfigurationError(f"gamma={self.gamma} must be above 0")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        revealed_NT = (batch.role_NT == Role.REVEALED) & (batch.weight_NT > 0)
        sampled = super().__call__(log_probs_NT, replace(batch, weight_NT=batch.weight_NT * ~revealed_NT))
        shaped = shaped_likelihood(torch.where(revealed_NT, log_probs_NT, 0.0), batch.advantage_NT, self.gamma)
        total = sampled.total + (batch.weight_NT * revealed_NT * shaped).sum()
        return LossResult(total, batch.weight_NT.sum(), sampled.metrics)


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

    def fitted(self, log_probs_NT: torch.Tensor, batch: Batch) -> CorrectedSurrogate:
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
        if batch.off_policy_N1 is None or not batch.off_policy_N1.any():
            return super().__call__(log_probs_NT, batch)
        assert self.gamma is not None, "fitted() comes first"
        off_NT = batch.off_policy_N1 & (batch.weight_NT > 0)
        on = super().__call__(log_probs_NT, replace(batch, weight_NT=batch.weight_NT * ~off_NT))
        ratio = torch.exp(torch.where(off_NT, log_probs_NT - batch.old_log_probs_NT, 0.0))
        term = -batch.advantage_NT * ratio / (ratio + self.gamma)
        return LossResult(on.total + (batch.weight_NT * off_NT * term).sum(), batch.weight_NT.sum(), on.metrics)


@dataclass(frozen=True)
class LogLikelihood:
    """-A log pi: maximum likelihood for A = 1 (supervised training, RAFT), REINFORCE otherwise. No ratio, no clip."""

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        inside = batch.weight_NT > 0
        term = -batch.advantage_NT * torch.where(inside, log_probs_NT, 0.0)
        return LossResult((batch.weight_NT * term).sum(), batch.weight_NT.sum())
