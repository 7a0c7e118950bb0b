"""References: what keeps the policy near an earlier one, and the model that it is kept near."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class NoReference:
    """No term, no reference model."""

    requires = frozenset[str]()

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return 0."""
        return torch.zeros((), device=log_probs_NT.device)


def k1(log_probs: torch.Tensor, reference_log_probs: torch.Tensor) -> torch.Tensor:
    """Return l - l_ref per token, Schulman's k1, of either sign.

    Its mean over the policy's own samples is KL(pi || ref). As a loss on them its expected gradient is 0.
    """
    return log_probs - reference_log_probs


def k2(log_probs: torch.Tensor, reference_log_probs: torch.Tensor) -> torch.Tensor:
    """Return (l - l_ref)^2 / 2 per token, Schulman's k2, >= 0.

    As a loss on the policy's own samples its expected gradient is that of KL(pi || ref), the reverse divergence.
    """
    return (log_probs - reference_log_probs) ** 2 / 2


def k3(log_probs: torch.Tensor, reference_log_probs: torch.Tensor) -> torch.Tensor:
    """Return exp(l_ref - l) - (l_ref - l) - 1 per token, Schulman's k3, >= 0.

    As a loss on the policy's own samples its expected gradient is that of KL(ref || pi), the forward divergence.
    """
    difference = reference_log_probs - log_probs
    return torch.exp(difference) - difference - 1


ESTIMATORS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
"""Estimators of a divergence by name: (log_probs, reference_log_probs) -> a number per token, of one shape."""


def check_estimator(estimator: str, corrected: bool) -> None:
    """Raise ConfigurationError unless a term of that estimator keeps a policy near its reference."""
    if estimator not in ESTIMATORS:
        raise ConfigurationError(f"estimator={estimator!r} must be one of {', '.join(ESTIMATORS)}")
    if estimator == "k1" and not corrected:
        raise ConfigurationError(
            "estimator='k1' must have corrected=True: without the ratio its expected gradient is 0, and nothing is "
            "kept near anything"
        )


def estimate_divergence(estimator: str, corrected: bool, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the weighted sum over tokens of an estimator against the reference's column, a scalar with gradient.

    Args:
        estimator: A key of :data:`ESTIMATORS`.
        corrected: Whether the estimator of a token is multiplied by its ratio pi / pi_old, with its gradient.
        log_probs_NT: float.
        batch: With ``reference_log_probs_NT``.
    """
    assert batch.reference_log_probs_NT is not None, "the column is filled where a part requires it"
    assert batch.reference_log_probs_NT.shape == log_probs_NT.shape == batch.weight_NT.shape
    inside = batch.weight_NT > 0
    new = torch.where(inside, log_probs_NT, 0.0)
    term = ESTIMATORS[estimator](new, torch.where(inside, batch.reference_log_probs_NT, 0.0))
    if corrected:
        term = term * torch.exp(new - torch.where(inside, batch.old_log_probs_NT, 0.0))
    return (batch.weight_NT * term).sum()


@dataclass(frozen=True)
class KLToStart:
    """A divergence from the policy that training started from: beta times an estimator per token.

    With l = log pi, l_ref the reference's: ``k1`` l - l_ref, ``k2`` (l - l_ref)^2 / 2, ``k3`` exp(l_ref - l) -
    (l_ref - l) - 1, GRPO's (arXiv 2402.03300, equation 4). ``corrected`` multiplies each by the ratio pi / pi_old with
    its gradient, as TRL does by default (``use_bias_correction_kl``, read in TRL 1.16, grpo_trainer.py).

    Expected gradients on the policy's own samples: k2, corrected k1 and corrected k3 have that of KL(pi || ref), k3
    has that of KL(ref || pi), and k1 has none, so it must be corrected.

    Args:
        beta: Coefficient, > 0; 0.04 in the GRPO paper.
        estimator: ``k1``, ``k2`` or ``k3``.
        corrected: Whether the estimator is multiplied by the ratio.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    beta: float = 0.04
    estimator: str = "k3"
    corrected: bool = False

    requires = frozenset({"reference_log_probs"})

    def __post_init__(self) -> None:
        check_types(self)
        if not self.beta > 0:
            raise ConfigurationError(f"beta={self.beta} must be above 0 (use NoReference for none)")
        check_estimator(self.estimator, self.corrected)

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over tokens, a scalar, normalised by the same count as the loss."""
        return self.beta * estimate_divergence(self.estimator, self.corrected, log_probs_NT, batch)
