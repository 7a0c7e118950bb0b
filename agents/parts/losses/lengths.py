"""A loss that learns how much the tokens of long answers count."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.losses.surrogate import clipped_surrogate
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError

LEAST = 1e-6
"""Lower bound of h: a power of it must exist."""


def length_weights(length_G: torch.Tensor, exponent: torch.Tensor, rho: float = 1 / 9) -> torch.Tensor:
    """Return the weights of the answers of a group by their lengths, float64 (G,), sum G.

    f = G softmax(h^exponent), h = 1 + rho z, z = (n - mean n) / (population deviation + 1e-8). The exponent 0 weighs
    all alike, a positive one favours long answers.

    Args:
        length_G: (G,), tokens of each answer.
        exponent: Scalar.
        rho: > 0, and below 1 / sqrt(G - 1), so that h > 0.

    >>> length_G = torch.tensor([200, 300, 400, 500, 600, 800, 1200, 2500])
    >>> [round(value, 3) for value in length_weights(length_G, torch.tensor(2.0))[[0, -1]].tolist()]
    [0.794, 1.749]
    """
    length_G = length_G.double()
    z_G = (length_G - length_G.mean()) / (length_G.std(unbiased=False) + 1e-8)
    h_G = torch.clamp(1 + rho * z_G, min=LEAST)
    return len(length_G) * torch.softmax(h_G ** exponent.double(), 0)


@dataclass
class LengthPreference(SetLoss):
    """lambda-GRPO: the clipped surrogate with weights by length whose exponent is trained with the policy.

    L = sum_i f_i s_i / sum_i n_i over the answers of a gradient step, s_i = sum over loss tokens of the clipped term
    of :func:`~g2rpo_env.agents.parts.losses.surrogate.clipped_surrogate`, n_i their number, f of
    :func:`length_weights` within each group. With the exponent 0 it is the clipped surrogate under ``TokenMean``.
    A group whose answers have one length, or one and the same s_i, gives the exponent no gradient.
    The loss can fall by weighing answers otherwise instead of by learning: watch the metric ``length_exponent``.

    Every token with a weight above 0 counts alike. An answer without such a token, as with
    ``TokenMean(truncated=False)``, has no length and is in no group.

    Source: lambda-GRPO, Learnable Token Preferences (arXiv 2510.06870), from reviews and third-party code; no official
    code was read.

    Deviations: 1. One token mean over the gradient step. 2. The exponent stays within ``bound``: from 5 on the longest
    answer takes nearly all. 3. Its own SGD, at the rate of third-party code; neither weight decay nor gradient clipping
    touches it.

    Args:
        start: Exponent at the beginning, within +-bound; 0 weighs all answers alike.
        rho: How much of the spread of lengths counts, in (0, 1); groups must be smaller than 1 + 1 / rho^2.
        bound: Greatest absolute exponent, > 0.
        learning_rate: Of the exponent, >= 0; 0 keeps it at ``start``.
        clip_low: See ClippedSurrogate.
        clip_high: See ClippedSurrogate.

    Raises:
        ConfigurationError: an argument breaks its rule, or a group is too large for ``rho``, when the loss is asked
            for.
    """

    start: float = 0.0
    rho: float = 1 / 9
    bound: float = 3.0
    learning_rate: float = 0.1
    clip_low: float = 0.2
    clip_high: float = 0.2
    exponent: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.bound < math.inf:
            raise ConfigurationError(f"bound={self.bound} must be a finite number above 0")
        if not abs(self.start) <= self.bound:
            raise ConfigurationError(f"start={self.start} must lie in [-{self.bound}, {self.bound}], the bound")
        if not 0 < self.rho < 1:
            raise ConfigurationError(f"rho={self.rho} must lie in (0, 1)")
        if not 0 <= self.learning_rate < math.inf:
            raise ConfigurationError(f"learning_rate={self.learning_rate} must be finite and at least 0")
        if not 0 <= self.clip_low <= 1 or not self.clip_high >= 0:
            raise ConfigurationError(
                f"clip_low={self.clip_low} must lie in [0, 1] and clip_high={self.clip_high} must be at least 0"
            )
        self.exponent = torch.nn.Parameter(torch.tensor(float(self.start)))

    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the sum of the clipped terms of each episode, and the number of clipped tokens, (N, 2)."""
        inside_NT = batch.weight_NT > 0
        old_NT = torch.where(inside_NT, batch.old_log_probs_NT, 0.0)
        new_NT = torch.where(inside_NT, log_probs_NT, 0.0)
        term_NT = clipped_surrogate(new_NT, old_NT, batch.advantage_NT, self.clip_low, self.clip_high)
        with torch.no_grad():
            ratio_NT = torch.exp(new_NT - old_NT)
            clipped_NT = ((ratio_NT < 1 - self.clip_low) & (batch.advantage_NT < 0)) | (
                (ratio_NT > 1 + self.clip_high) & (batch.advantage_NT > 0)
            )
        sum_N = torch.where(inside_NT, term_NT, 0.0).sum(-1)
        return torch.stack([sum_N, (inside_NT & clipped_NT).sum(-1).to(sum_N.dtype)], -1)

    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a minibatch, and ``clip_fraction`` and ``length_exponent`` as metrics."""
        assert batch.set_N1 is not None, "make_batch has set it"
        score_NK, set_N = score_NK.cpu().double(), batch.set_N1[:, 0].cpu()
        length_N = (batch.weight_NT > 0).sum(-1).cpu()
        total, tokens = score_NK.new_zeros(()), max(int(length_N.sum()), 1)
        for number in torch.unique(set_N):
            mine_N = (set_N == number) & (length_N > 0)
            if not mine_N.any():
                continue
            self._check_size(int(mine_N.sum()))
            total = total + (length_weights(length_N[mine_N], self.exponent, self.rho) * score_NK[mine_N, 0]).sum()
        clipped = float(score_NK[:, 1].detach().sum()) / tokens
        return total / tokens, {"clip_fraction": clipped, "length_exponent": float(self.exponent.detach())}

    def _check_size(self, size: int) -> None:
        # The farthest of G numbers is at most sqrt(G - 1) deviations from their mean.
        if self.rho * math.sqrt(size - 1) >= 1:
            raise ConfigurationError(
                f"rho={self.rho} must be below 1 / sqrt(G - 1) = {1 / math.sqrt(size - 1):.4g} for a group of G={size}"
            )

    # -- its own number ---------------------------------------------------------------------------------------------

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the exponent."""
        return torch.optim.SGD([self.exponent], lr=self.learning_rate)

    def stepped(self) -> None:
        """Bring the exponent back within its bound."""
        with torch.no_grad():
            self.exponent.clamp_(-self.bound, self.bound)

    def state_dict(self) -> dict[str, Any]:
        """Return the exponent."""
        return {"exponent": float(self.exponent.detach())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with an exponent."""
        with torch.no_grad():
            self.exponent.fill_(state["exponent"])
