"""Reference models: what the policy is kept near."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.policy.protocol import Policy


class FrozenCopy:
    """The policy that training started from, as a second model."""

    def __init__(self, policy: Policy) -> None:
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

    def __init__(self, policy: Policy) -> None:
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


class AveragedCopy:
    """A moving average of a policy's trained weights: all of the model's, or those of its adapter alone.

    There is no second model: the average takes the place of the policy's weights where it is asked for. It is kept in
    32 bits at least, for in 16 most of its steps would be rounded away.

    Args:
        policy: The policy; the average starts from it as it is now.
        decay: Weight of the average in each move, in [0, 1].
        every: Gradient steps between two moves, >= 1.

    Attributes:
        steps: Gradient steps that it was told of.
    """

    def __init__(self, policy: Policy, decay: float = 0.995, every: int = 10) -> None:
        self._policy, self.decay, self.every, self.steps = policy, decay, every, 0
        self._average = {
            name: weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)
            for name, weight in trained_weights(policy)
        }

    @contextmanager
    def model(self) -> Iterator[Any]:
        """Give the reference's model for the length of a ``with`` block; the policy is another one meanwhile."""
        weights = trained_weights(self._policy)
        own = [weight.data for _, weight in weights]
        try:
            for name, weight in weights:
                # Neither the tensor that decoders read nor its version changes, so that nothing is prepared again.
                weight.data = self._average[name].to(weight.dtype)
            yield self._policy.model
        finally:
            for (_, weight), data in zip(weights, own, strict=True):
                weight.data = data

    @torch.no_grad()
    def follow(self, policy: Policy) -> None:
        """Take notice of a gradient step: the average moves after every so many of them."""
        self.steps += 1
        if self.steps % self.every == 0:
            for name, weight in trained_weights(policy):
                average = self._average[name]
                average.lerp_(weight.detach().to(average.dtype), 1 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of steps."""
        return {"steps": self.steps, "average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.steps = state["steps"]
        for name, average in self._average.items():
            average.copy_(state["average"][name])


def trained_weights(policy: Policy) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the weights of a policy that are trained, by name."""
    return [(name, weight) for name, weight in policy.model.named_parameters() if weight.requires_grad]


def make_reference(policy: Policy) -> FrozenCopy | WithoutAdapter:
    """Return the reference of a policy as it is now."""
    return WithoutAdapter(policy) if lora.has_adapter(policy.model) else FrozenCopy(policy)
