"""Losses that give a token credit for what the tokens after it did: traces over log ratios."""

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
from g2rpo_env.errors import ConfigurationError


def trace(change_NT: torch.Tensor, inside_NT: torch.Tensor, decay: float, both: bool = False) -> torch.Tensor:
    """Return sums of changes over the tokens up to each, those further away with less weight, (N, T).

    With the tokens inside numbered 0, 1, ... per row: c_t = sum_{l=0}^{t} decay^l change_{t-l}; with ``both``, which
    keeps the first tokens of an answer too, c_t = sum_{l=0}^{t} max(decay^l, decay^(t-l)) change_{t-l}. Tokens outside
    neither add to a trace nor age it; they get 0.

    Both forms take one pass over the columns, operations on N numbers: with ``both``, token j of the first half weighs
    decay^j, which is a running sum, and the second half is a trace less what it had from the first.

    Args:
        change_NT: float.
        inside_NT: bool.
        decay: In [0, 1].
        both: Whether the first tokens count as much as the last ones.

    >>> trace(torch.tensor([[1.0, 8.0, 0.0, 9.0]]), torch.tensor([[True, True, True, False]]), 0.5).tolist()
    [[1.0, 8.5, 4.25, 0.0]]
    >>> trace(torch.tensor([[1.0, 8.0, 0.0, 9.0]]), torch.tensor([[True, True, True, False]]), 0.5, both=True).tolist()
    [[1.0, 9.0, 5.0, 0.0]]
    """
    number_NT = (inside_NT.long().cumsum(-1) - 1).clamp(min=0)  # of a token among those inside
    change_NT = torch.where(inside_NT, change_NT, 0.0)
    # The tokens inside, pushed together: no two of a row have one place, so the sum is that of one number and zeros.
    compact_NK = torch.zeros_like(change_NT).scatter_add(-1, number_NT, change_NT)
    compact_NK = compact_NK[:, : max(1, int(inside_NT.sum(-1).max()))]
    recent: list[torch.Tensor] = []
    first: list[torch.Tensor] = []
    power = 1.0
    for change_N in compact_NK.unbind(-1):
        recent.append(change_N + decay * recent[-1] if recent else change_N)
        if both:
            first.append(power * change_N + first[-1] if first else change_N)
            power *= decay
    trace_NK = torch.stack(recent, -1)
    if both:
        place_K = torch.arange(len(recent), device=change_NT.device)
        half_K = place_K // 2
        ageing_K = decay ** (place_K - half_K).to(change_NT.dtype)
        trace_NK = trace_NK - ageing_K * trace_NK[:, half_K] + torch.stack(first, -1)[:, half_K]
    return torch.where(inside_NT, trace_NK.gather(-1, number_NT), 0.0)


@dataclass(frozen=True)
class TracedSurrogate(ClippedSurrogate):
    """GRPO-lambda: the clipped surrogate of a trace over the log ratios of an answer.

    Formula: the clipped surrogate of exp(c_t), c_t = d_t + decay c_{t-1}, d_t = log pi - log pi_old over the loss
    tokens of an answer. A token so has a share in the terms of all tokens after it: at ratio 1 its gradient is A times
    sum_{k >= t} decay^(k-t), which favours early tokens. ``both`` is the paper's second form,
    c_t = sum_l max(decay^l, decay^(t-l)) d_{t-l}, in which the first tokens of an answer fade no more than the last.

    Source: arXiv 2510.00194, as two third-party implementations and reviews give it. Advantages are bounded from below
    there: ``Clamped(GroupNormalized(), -0.1)``.

    Deviations: 1. Times 1 - decay (``rescale``): without it the gradient of a token grows to 1 / (1 - decay) times that
    of GRPO, 100 times at 0.99, and a comparison is one of learning rates. 2. Traces run over loss tokens alone. 3. The
    discount gamma is 1.

    Args:
        clip_low: See ClippedSurrogate; the clip is on exp(c_t).
        clip_high: See there.
        decay: Share of a trace that the next token keeps, lambda there, in [0, 1); 0 is the clipped surrogate.
        both: Whether the first tokens of an answer keep their share, see :func:`trace`.
        rescale: Whether the loss is multiplied by 1 - decay.
        cap: See ClippedSurrogate.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    decay: float = 0.99
    both: bool = False
    rescale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay < 1:
            raise ConfigurationError(f"decay={self.decay} must lie in [0, 1)")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        new, old, inside = take_inside(log_probs_NT, batch)
        log_ratio = trace(new - old, inside, self.decay, self.both)
        bounds = self.clip_low, self.clip_high, self.cap
        term = clipped_surrogate(log_ratio, torch.zeros_like(log_ratio), batch.advantage_NT, *bounds)
        clipped = find_clipped(torch.exp(log_ratio.detach()), batch.advantage_NT, *bounds)
        scale = 1 - self.decay if self.rescale else 1.0
        return LossResult(scale * (batch.weight_NT * term).sum(), {"clip_fraction": count_clipped(clipped, batch)})
