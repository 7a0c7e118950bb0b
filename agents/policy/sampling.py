"""Truncation: sampling among the likelier tokens only.

What is recorded is the truncated distribution q, the one that the tokens came from; what is trained is the whole
distribution p at the policy's temperature. Training q itself would have no gradient left for a token that an update
pushes out of its support: its log-probability would be -inf. The ratio p / q of a policy-gradient loss is then the
importance weight of a token that q sampled: before the first gradient step it is the probability that the truncation
kept, not 1, and the gradient is that of p on the tokens that q can sample. Keep a truncation mild in training (a kept
share below 1 - clip_low would lie outside the clip range from the start) or leave it to evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from g2rpo_env.errors import ConfigurationError


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
            late = share.cumsum(-1) - share >= self.top_p  # enough of it is held by the tokens before
            log_probs = log_probs.masked_fill(torch.zeros_like(late).scatter(-1, order, late), -torch.inf)
        if self.min_p:
            least = log_probs.max(dim=-1, keepdim=True).values + torch.tensor(self.min_p).log().item()
            log_probs = log_probs.masked_fill(log_probs < least, -torch.inf)
        return torch.log_softmax(log_probs, dim=-1)
