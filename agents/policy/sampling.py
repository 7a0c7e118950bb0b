"""Sampling: a distribution cut to its likelier tokens, and the token that one random number draws from it.

A rollout records log-probabilities of the truncated distribution q, which the tokens came from. An update trains the
whole distribution p at the policy's temperature. Training q itself would have no gradient left for a token that an
update pushes out of its support: its log-probability would be -inf. The ratio p / q of a policy-gradient loss is then
the importance weight of a token that q sampled: before the first gradient step it is the probability that the
truncation kept, not 1, and the gradient is that of p on the tokens that q can sample. Keep a truncation mild in
training (a kept share below 1 - clip_low would lie outside the clip range from the start) or leave it to evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from g2rpo_env.errors import ConfigurationError, NonFiniteError


@dataclass(frozen=True)
class Truncation:
    """Keeps the likelier tokens of a distribution; top_k, then top_p, then min_p, as Hugging Face's ``generate`` does.

    Args:
        top_k: The k likeliest, >= 1, and whatever is as likely as the k-th; None for all.
        top_p: The fewest likeliest that hold this share of what top_k left, in (0, 1]; None or 1 for all.
        min_p: Those at least this many times as likely as the likeliest, in [0, 1]; None or 0 for all.

    Raises:
        ConfigurationError: an argument is out of its range.
    """

    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ConfigurationError(f"top_k={self.top_k} must be None or at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigurationError(f"top_p={self.top_p} must be None or lie in (0, 1]")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ConfigurationError(f"min_p={self.min_p} must be None or lie in [0, 1]")

    @property
    def leaves_one(self) -> bool:
        """Whether nothing but the likeliest token is ever left, and what is as likely."""
        return self.top_k == 1 or self.min_p == 1

    def __bool__(self) -> bool:
        """Whether anything may be left out."""
        return self.top_k is not None or self.top_p not in (None, 1) or self.min_p not in (None, 0)

    def __call__(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities (..., V) with -inf for what is left out, the rest normalised.

        >>> Truncation(top_k=2)(torch.tensor([0.5, 0.3, 0.2]).log()).exp().tolist()
        [0.625, 0.375, 0.0]
        """
        if not self:
            return log_probs
        if self.top_k is not None and self.top_k < log_probs.shape[-1]:
            least = log_probs.topk(self.top_k, dim=-1).values[..., -1:]
            log_probs = torch.log_softmax(log_probs.masked_fill(log_probs < least, -torch.inf), dim=-1)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = log_probs.sort(dim=-1, descending=True, stable=True)
            share = ordered.exp()
            late = share.cumsum(-1) - share >= self.top_p  # the tokens before hold enough
            log_probs = log_probs.masked_fill(torch.zeros_like(late).scatter(-1, order, late), -torch.inf)
        if self.min_p:
            least = log_probs.max(dim=-1, keepdim=True).values + torch.tensor(self.min_p).log().item()
            log_probs = log_probs.masked_fill(log_probs < least, -torch.inf)
        return torch.log_softmax(log_probs, dim=-1)


BLOCK = 1024
"""Tokens that a larger vocabulary is searched by: first which block holds a token, then which of the block it is."""


def draw(log_probs_NV: torch.Tensor, uniform_N: np.ndarray | Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return a token per lane and its log-probability, int64 (N,) and float32 (N,), by one transfer from the device.

    The likeliest token, or the one at which the distribution function reaches ``uniform_N``: one number of a lane's own
    stream decides its token, so that a sample does not depend on the other lanes.

    Args:
        log_probs_NV: float, log-probabilities.
        uniform_N: In [0, 1); None takes the likeliest token.

    Raises:
        NonFiniteError: a lane's distribution is not finite.
    """
    if uniform_N is None:
        picked_N, token_N = log_probs_NV.max(-1)  # NaN if one of the row is
        finite_N = torch.isfinite(picked_N)
    else:
        u_N = torch.as_tensor(np.asarray(uniform_N), dtype=torch.float64).to(log_probs_NV.device)
        token_N, total_N = invert(log_probs_NV.exp(), u_N)
        picked_N = log_probs_NV.gather(1, token_N[:, None])[:, 0]
        finite_N = torch.isfinite(total_N.log())  # -inf where all are
    found = torch.stack([part.double() for part in (token_N, picked_N, finite_N)]).cpu().numpy()
    if not found[2].all():
        raise NonFiniteError(f"the policy's logits for row {int(found[2].argmin())} of the batch are NaN or infinite")
    return found[0].astype(np.int64), found[1].astype(np.float32)


def invert(mass_NV: torch.Tensor, u_N: torch.Tensor, block: int = BLOCK) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first token of each row up to which more than the share ``u_N`` of its mass lies, and the mass.

    Args:
        mass_NV: float, >= 0, unnormalised.
        u_N: float64, in [0, 1).
        block: Tokens per block, >= 1.

    Returns:
        int64 (N,), a token that has mass; float64 (N,), the mass of each row.
    """
    size = mass_NV.shape[-1]
    if size <= block:
        cumulative_NV = mass_NV.cumsum(-1, dtype=torch.float64)
        total_N1 = cumulative_NV[:, -1:]
        token_N1 = torch.searchsorted(cumulative_NV, u_N[:, None] * total_N1, right=True)
        return token_N1[:, 0].clamp_(max=size - 1), total_N1[:, 0]
    # A running sum over a whole large vocabulary takes longer than all the rest of a step.
    blocks_NBK = torch.nn.functional.pad(mass_NV, (0, -size % block)).unflatten(-1, (-1, block))
    sum_NB = blocks_NBK.sum(-1, dtype=torch.float64)
    cumulative_NB = sum_NB.cumsum(-1)
    total_N1 = cumulative_NB[:, -1:]
    target_N1 = u_N[:, None] * total_N1
    which_N1 = torch.searchsorted(cumulative_NB, target_N1, right=True).clamp_(max=sum_NB.shape[-1] - 1)
    inner_NK = blocks_NBK.gather(1, which_N1[..., None].expand(-1, 1, block))[:, 0].cumsum(-1, dtype=torch.float64)
    # What the sums above round differs from what this one rounds: stay among the tokens of the block that have mass.
    within_N1 = (target_N1 - cumulative_NB.gather(1, which_N1) + sum_NB.gather(1, which_N1)).clamp_(min=0)
    last_N1 = torch.searchsorted(inner_NK, inner_NK[:, -1:].contiguous())
    token_N1 = torch.minimum(torch.searchsorted(inner_NK, within_N1, right=True), last_N1)
    return (which_N1 * block + token_N1)[:, 0].clamp_(max=size - 1), total_N1[:, 0]


def check_temperature(temperature: float) -> None:
    """Raise ConfigurationError unless a temperature can be sampled at."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigurationError(f"temperature={temperature} must be above 0 and finite (evaluate with mode='greedy')")
