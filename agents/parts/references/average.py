"""References that move: an average of the policy's weights over its gradient steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.references.models import AveragedCopy
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.policy.protocol import Policy
from g2rpo_env.errors import ConfigurationError


def check_average(decay: float, every: int) -> None:
    """Raise ConfigurationError unless the options of an average keep their rules."""
    if not 0 <= decay <= 1:
        raise ConfigurationError(f"decay={decay} must lie in [0, 1]")
    if every < 1:
        raise ConfigurationError(f"every={every} must be at least 1")


@dataclass(frozen=True)
class MovingAverage:
    """Keeps a moving average of the policy as the reference, and adds no term to the loss.

    average <- decay average + (1 - decay) policy, after every ``every``-th gradient step. For parts that require the
    reference's log-probabilities, such as :class:`~g2rpo_env.agents.parts.shaping.ConsistencyBonus`; without one no
    reference is made.

    Source: GRPO-CARE (arXiv 2506.16141), read in TencentARC/GRPO-CARE b0628fc, ema_trainer.py lines 330 and 2786.

    Deviations: 1. With an adapter its weights alone are averaged. 2. The average has 32 bits at least, in which its
    small steps are not lost.

    Args:
        decay: In [0, 1]; 1 keeps the start.
        every: Gradient steps between two moves, >= 1.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    decay: float = 0.995
    every: int = 10

    requires = frozenset[str]()

    def __post_init__(self) -> None:
        check_types(self)
        check_average(self.decay, self.every)

    def keep(self, policy: Policy) -> AveragedCopy:
        """Return the average, which is the policy as it is now."""
        return AveragedCopy(policy, self.decay, self.every)

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return 0."""
        return torch.zeros((), device=log_probs_NT.device)


@dataclass(frozen=True)
class KLToAverage(KLToStart):
    """The term of :class:`~g2rpo_env.agents.parts.references.KLToStart` against a moving average of the policy.

    The average is that of :class:`MovingAverage`; with ``decay=1`` it is ``KLToStart``. The log-probabilities of the
    average are those before the update, in all of its gradient steps.

    Args:
        decay: In [0, 1]; 1 keeps the start.
        every: Gradient steps between two moves, >= 1.

    The other arguments are those of ``KLToStart``.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    decay: float = 0.995
    every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.decay, self.every)

    def keep(self, policy: Policy) -> AveragedCopy:
        """Return the average, which is the policy as it is now."""
        return AveragedCopy(policy, self.decay, self.every)
