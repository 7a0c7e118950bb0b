"""Gradients of an update that is not taken."""

from __future__ import annotations

from typing import Any

import torch

from g2rpo_env.agents import GRPO


def catch_gradients(agent: GRPO) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Metrics of the next update, and the gradients of its last step, which leaves the weights as they are.

    Those of a part's own numbers are named by its slot.
    """
    found: dict[str, torch.Tensor] = {}

    def catch(loss: float) -> float:
        numbers = dict(agent.policy.model.named_parameters())
        for slot, optimizer in agent.learner.part_optimizers.items():
            own = [p for group in optimizer.param_groups for p in group["params"]]
            numbers.update({f"{slot}.{i}": p for i, p in enumerate(own)})
        found.update({n: p.grad.clone() for n, p in numbers.items() if p.grad is not None})
        return 0.0

    agent.learner._apply = catch  # type: ignore[method-assign]
    return agent.update(), found


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Compare gradients, relative to the largest entry of the expected ones."""
    largest = max(float(g.abs().max()) for g in expected.values())
    assert largest > 0 and found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) <= tolerance * largest, name
