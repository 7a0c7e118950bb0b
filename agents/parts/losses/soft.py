"""Losses that bound the ratio otherwise than by the clip of PPO: caps on a weight, gates, masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.surrogate import LossResult, check_shapes, count_clipped
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError

LARGEST = 80.0
"""Log ratio beyond which a gate is shut for good; the exponential of it is still finite in 32 bits."""
LEAST_LOG, MOST_LOG = math.log(1e-8), 20.0
"""Bounds of the log ratio of a whole answer in VESPO."""


def take_inside(log_probs_NT: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return new and old log-probabilities with 0 outside the loss, and where the loss is, (N, T) each.

    Tokens outside the loss may hold anything, also values whose exponential overflows: 0 * inf would be NaN.
    """
    check_shapes(log_probs_NT, batch)
    inside_NT = batch.weight_NT > 0
    return torch.where(inside_NT, log_probs_NT, 0.0), torch.where(inside_NT, batch.old_log_probs_NT, 0.0), inside_NT


# -- CISPO ------------------------------------------------------------------------------------------------------------


def capped_weight_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantage: torch.Tensor,
    high: float,
    low: float | None = None,
) -> torch.Tensor:
    """Return -sg(clip(r, low, high)) A log_probs per token, r = exp(log_probs - old_log_probs), sg without gradient.

    All arrays have one shape, which is returned.
    """
    assert log_probs.shape == old_log_probs.shape == advantage.shape, "capped_weight_loss takes arrays of one shape"
    weight = torch.exp(log_probs - old_log_probs).detach().clamp(min=low, max=high)
    return -weight * advantage * log_probs


@dataclass(frozen=True)
class CappedWeights:
    """CISPO: the likelihood of every token, weighted by its ratio up to a cap; no token loses its gradient.

    Formula: -sg(clip(r, low, high)) A log pi, sg without gradient. The caps are absolute.

    Source: MiniMax-M1 (arXiv 2506.13585) and ScaleRL (arXiv 2510.13786); read in TRL 1.16, grpo_trainer.py, where
    ``epsilon_high`` is the cap. Where ``clip_fraction`` counts a token, its weight is capped.

    Deviations: 1. verl and SkyRL clip to [1 - e, 1 + e]: ``CappedWeights(high=1 + e, low=1 - e)``.

    Args:
        high: Greatest weight, > 0.
        low: Least weight, in [0, high]; None for 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    high: float = 5.0
    low: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if not self.high > 0:
            raise ConfigurationError(f"high={self.high} must be above 0")
        if self.low is not None and not 0 <= self.low <= self.high:
            raise ConfigurationError(f"low={self.low} must be None or lie in [0, high={self.high}]")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, _ = take_inside(log_probs_NT, batch)
        term = capped_weight_loss(new, old, batch.advantage_NT, self.high, self.low)
        ratio = torch.exp(new - old).detach()
        capped = ((ratio > self.high) | (ratio < (self.low or 0.0))) & (batch.advantage_NT != 0)
        return LossResult((batch.weight_NT * term).sum(), {"clip_fraction": count_clipped(capped, batch)})


# -- SAPO -------------------------------------------------------------------------------------------------------------


def soft_gate(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, advantage: torch.Tensor, positive: float, negative: float
) -> torch.Tensor:
    """Return -(4 / tau) sigmoid(tau (r - 1)) A per token; tau = positive where A > 0, else negative.

    All arrays have one shape, which is returned.
    """
    assert log_probs.shape == old_log_probs.shape == advantage.shape, "soft_gate takes arrays of one shape"
    ratio = torch.exp((log_probs - old_log_probs).clamp(max=LARGEST))
    tau = torch.where(advantage > 0, positive, negative).to(ratio.dtype)
    return -(4 / tau) * torch.sigmoid(tau * (ratio - 1)) * advantage


@dataclass(frozen=True)
class SoftGate:
    """SAPO: a smooth gate in the place of the clip; the further the ratio is from 1, the smaller the gradient.

    Formula: -(4 / tau) sigmoid(tau (r - 1)) A, tau = ``positive`` where A > 0, else ``negative``. At r = 1 its slope in
    r is -A for every tau, but its value is -2 A / tau: values are not comparable with those of the clipped surrogate.

    Source: arXiv 2511.20347; read in TRL 1.16, grpo_trainer.py.

    Args:
        positive: Sharpness of the gate where A > 0, > 0.
        negative: Sharpness elsewhere, > 0; above ``positive`` it shuts sooner, for tokens that are to become rarer.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    positive: float = 1.0
    negative: float = 1.05

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("positive", "negative"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be finite and above 0")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, _ = take_inside(log_probs_NT, batch)
        term = soft_gate(new, old, batch.advantage_NT, self.positive, self.negative)
        return LossResult((batch.weight_NT * term).sum())


# -- VESPO ------------------------------------------------------------------------------------------------------------


def gamma_weight(log_weight: torch.Tensor, k: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    """Return phi(w) = exp(decay + k log w - decay w) for log w; phi(1) = 1, and phi is largest at w = k / decay.

    The shapes must broadcast.
    """
    return torch.exp(decay + k * log_weight - decay * torch.exp(log_weight))


@dataclass(frozen=True)
class GammaWeights:
    """VESPO: the likelihood of every token, weighted by a smooth function of the ratio of its whole answer.

    Formula: -sg(phi(w)) A log pi, sg without gradient; log w = clip(sum_t clip(log r_t, -20, 20), log 1e-8, 20) over
    the loss tokens of an answer; phi(w) = exp(lambda + k log w - lambda w), with one pair of k and lambda where A >= 0
    and one where A < 0. No answer is clipped, but phi fades on both sides of k / lambda.

    Source: TRL 1.16, grpo_trainer.py (``get_gamma_weights``), read there.

    Deviations: 1. Old log-probabilities are those of the sampler, so that w holds what sampler and trainer differ by;
    there that is a factor of its own. 2. With a credit part the pair goes by the sign of each token's advantage.

    Args:
        k_positive: k where A >= 0, > 0.
        lambda_positive: lambda there, > 0.
        k_negative: k where A < 0, > 0.
        lambda_negative: lambda there, > 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    k_positive: float = 2.0
    lambda_positive: float = 3.0
    k_negative: float = 3.0
    lambda_negative: float = 2.0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("k_positive", "lambda_positive", "k_negative", "lambda_negative"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be finite and above 0")
        for sign in ("positive", "negative"):
            k, decay = getattr(self, f"k_{sign}"), getattr(self, f"lambda_{sign}")
            if decay - k + k * math.log(k / decay) > LARGEST:  # log phi is greatest at w = k / lambda
                raise ConfigurationError(
                    f"k_{sign}={k} and lambda_{sign}={decay} must give no weight above exp({LARGEST:g}), which is "
                    "hardly finite in 32 bits"
                )

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, _ = take_inside(log_probs_NT, batch)
        with torch.no_grad():
            log_weight_N1 = (new - old).clamp(-20.0, 20.0).sum(-1, keepdim=True).clamp(LEAST_LOG, MOST_LOG)
            positive = batch.advantage_NT >= 0
            k = torch.where(positive, self.k_positive, self.k_negative).to(new.dtype)
            decay = torch.where(positive, self.lambda_positive, self.lambda_negative).to(new.dtype)
            phi = gamma_weight(log_weight_N1, k, decay)
        return LossResult((batch.weight_NT * (-phi * batch.advantage_NT * new)).sum())


# -- DPPO -------------------------------------------------------------------------------------------------------------

DIVERGENCES = ("tv", "kl")
"""Divergences by name."""


def binary_divergence(log_probs: torch.Tensor, old_log_probs: torch.Tensor, divergence: str) -> torch.Tensor:
    """Return how far apart "this token" and "another one" are for p = exp(log_probs) and q = exp(old_log_probs).

    ``tv``: abs(p - q). ``kl``: q log(q / p) + (1 - q) log((1 - q + 1e-8) / (1 - p + 1e-8)). One shape, returned.
    """
    q = torch.exp(old_log_probs)
    if divergence == "tv":
        return (torch.exp(log_probs) - q).abs()
    rest, old_rest = -torch.expm1(log_probs), -torch.expm1(old_log_probs)
    return q * (old_log_probs - log_probs) + old_rest * torch.log((old_rest + 1e-8) / (rest + 1e-8))


@dataclass(frozen=True)
class DivergenceMask:
    """DPPO: tokens are masked by how much probability has moved, not by its ratio.

    Formula: -sg(min(r, cap)) A log pi, sg without gradient; 0 for a token that is beyond the bound in the direction in
    which it would be pushed: A > 0, p > q and D > high, or A < 0, p < q and D > low; p = pi, q the old probability, D a
    divergence between the two as to this token and all others together. A rare token may so grow by a large factor,
    where a clip of the ratio would stop it.

    Source: arXiv 2602.04879; read in verl 1dda039 (core_algos.py, ``dppo_tv`` and ``dppo_kl``), in prime-rl and SkyRL.

    Deviations: 1. The mask is against the sampler's probabilities. 2. prime-rl adds 1e-3 (log r)^2, which is left out.

    Args:
        low: Greatest divergence of a token that becomes rarer, >= 0.
        high: Greatest divergence of a token that becomes likelier, >= 0.
        divergence: ``tv``, abs(p - q), or ``kl``, the binary KL divergence from q to p, in nats.
        cap: Greatest weight, > 0; None for no cap.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    low: float = 0.2
    high: float = 0.2
    divergence: str = "tv"
    cap: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("low", "high"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        if self.divergence not in DIVERGENCES:
            raise ConfigurationError(f"divergence={self.divergence!r} must be one of {', '.join(DIVERGENCES)}")
        if self.cap is not None and not self.cap > 0:
            raise ConfigurationError(f"cap={self.cap} must be None or above 0")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, inside = take_inside(log_probs_NT, batch)
        with torch.no_grad():
            distance = binary_divergence(new, old, self.divergence)
            up = (batch.advantage_NT > 0) & (new > old) & (distance > self.high)
            down = (batch.advantage_NT < 0) & (new < old) & (distance > self.low)
            masked = (up | down) & inside
        # Masked ratios are replaced as those outside the loss are: they may be too large for a number.
        ratio = torch.exp(torch.where(masked, 0.0, new - old)).detach().clamp(max=self.cap or math.inf)
        term = torch.where(masked, 0.0, -ratio * batch.advantage_NT * new)
        return LossResult((batch.weight_NT * term).sum(), {"clip_fraction": count_clipped(masked, batch)})
