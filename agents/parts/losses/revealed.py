"""Losses that treat revealed tokens otherwise than sampled ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LossResult, check_shapes
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError


def shaped_likelihood(log_probs: torch.Tensor, advantage: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return -A f(p) per token, f(p) = p / (p + gamma), p = exp(log_probs).

    LUFFY's policy shaping for tokens that the policy did not sample (arXiv 2504.14945; read in ElliottYan/LUFFY
    01f4ae0, mix_core_alg.py near line 174). df/d log p = gamma p / (p + gamma)^2 is largest at p = gamma:
    unlikely tokens are learnt from, impossible and sure ones hardly. All arguments have one shape, which is returned.
    """
    assert log_probs.shape == advantage.shape, "shaped_likelihood takes arrays of one shape"
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
        check_shapes(log_probs_NT, batch)
        revealed_NT = (batch.role_NT == Role.REVEALED) & (batch.weight_NT > 0)
        sampled = super().__call__(log_probs_NT, replace(batch, weight_NT=batch.weight_NT * ~revealed_NT))
        shaped = shaped_likelihood(torch.where(revealed_NT, log_probs_NT, 0.0), batch.advantage_NT, self.gamma)
        total = sampled.total + (batch.weight_NT * revealed_NT * shaped).sum()
        return LossResult(total, sampled.metrics)


@dataclass(frozen=True)
class ImitatedReveal(ClippedSurrogate):
    """The clipped surrogate for sampled tokens, -coefficient log pi for revealed ones, whatever the advantage.

    UFT (arXiv 2505.16984): one loss of reinforcement and of supervised training on the hint. Read in liumy2010/UFT,
    dp_actor.py near line 284: the policy loss and 0.001 times the negative log-likelihood of the hint. Use it with
    token weights that count revealed tokens, ``SequenceMean(revealed=True)``; without revealed tokens in the loss it is
    ``ClippedSurrogate``.

    Deviation: both kinds of tokens are in one mean, whose weights are those of the token weight.

    Args:
        clip_low: See ClippedSurrogate.
        clip_high: See ClippedSurrogate.
        coefficient: Weight of a revealed token's log-likelihood, >= 0; 0.001 in UFT.
    """

    coefficient: float = 0.001

    requires = frozenset({"every_row"})  # episodes of advantage 0 have revealed tokens too

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.coefficient >= 0:
            raise ConfigurationError(f"coefficient={self.coefficient} must be at least 0")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch."""
        check_shapes(log_probs_NT, batch)
        revealed_NT = (batch.role_NT == Role.REVEALED) & (batch.weight_NT > 0)
        sampled = super().__call__(log_probs_NT, replace(batch, weight_NT=batch.weight_NT * ~revealed_NT))
        imitated = (batch.weight_NT * -torch.where(revealed_NT, log_probs_NT, 0.0)).sum()
        return LossResult(sampled.total + self.coefficient * imitated, sampled.metrics)
