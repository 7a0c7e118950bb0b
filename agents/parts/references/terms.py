"""References: what keeps the policy near an earlier one, and the model that it is kept near."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from g2rpo_env.agents import adapters
from g2rpo_env.agents.batch import Batch
from g2rpo_env.errors import ConfigurationError

if TYPE_CHECKING:
    from g2rpo_env.agents.policy import CausalLMPolicy


@dataclass(frozen=True)
class NoReference:
    """No term, no reference model."""

    requires = frozenset[str]()

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return 0."""
        return torch.zeros((), device=log_probs_NT.device)


def k3(log_probs: torch.Tensor, reference_log_probs: torch.Tensor) -> torch.Tensor:
    """Return exp(l_ref - l) - (l_ref - l) - 1 per token, Schulman's k3, >= 0.

    As a loss on the policy's own samples its expected gradient is that of KL(ref || pi), the forward divergence.
    """
    difference = reference_log_probs - log_probs
    return torch.exp(difference) - difference - 1


@dataclass(frozen=True)
class KLToStart:
    """beta * k3 against the policy that training started from (arXiv 2402.03300, equation 4).

    Args:
        beta: Coefficient, > 0; 0.04 in the GRPO paper.
    """

    beta: float = 0.04

    requires = frozenset({"reference_log_probs"})

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ConfigurationError(f"beta={self.beta} must be above 0 (use NoReference for none)")

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over tokens, a scalar, normalised by the same count as the loss."""
        assert batch.reference_log_probs_NT is not None
        inside = batch.weight_NT > 0
        term = k3(torch.where(inside, log_probs_NT, 0.0), torch.where(inside, batch.reference_log_probs_NT, 0.0))
        return self.beta * (batch.weight_NT * term).sum()


class FrozenCopy:
    """The policy that training started from, as a second model."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        self._model = copy.deepcopy(policy.model)

    @contextmanager
    def model(self) -> Iterator[Any]:
        """Give the reference's model for the length of a ``with`` block."""
        yield self._model

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""
        return self._model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over weights."""
        self._model.load_state_dict(state)


class WithoutAdapter:
    """The policy's own model with its adapter switched off: no second model.

    An adapter that has been trained before is not part of it.
    """

    def __init__(self, policy: CausalLMPolicy) -> None:
        self._policy = policy

    @contextmanager
    def model(self) -> Iterator[Any]:
        """Give the reference's model for the length of a ``with`` block; the policy is another one meanwhile."""
        model: Any = self._policy.model
        with model.disable_adapter():
            yield model

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the frozen weights are saved with the policy."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""


def make_reference(policy: CausalLMPolicy) -> FrozenCopy | WithoutAdapter:
    """Return the reference of a policy as it is now."""
    return WithoutAdapter(policy) if adapters.has_adapter(policy.model) else FrozenCopy(policy)
