"""Reference models: what the policy is kept near."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def make_reference(policy: Policy) -> FrozenCopy | WithoutAdapter:
    """Return the reference of a policy as it is now."""
    return WithoutAdapter(policy) if lora.has_adapter(policy.model) else FrozenCopy(policy)
