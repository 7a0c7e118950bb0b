"""Regularizers that reward a policy for being unsure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError


@dataclass
class EntropyBonus:
    """Minus a coefficient times the mean entropy of the loss tokens of a gradient step.

    It means the same under every token weight: a mean over tokens, whatever the denominator of the loss is. Episodes of
    advantage 0 count.

    With a ``target`` the coefficient moves: after each gradient step it grows by ``step``, up to ``most``, if the mean
    entropy of that step was at most the target, and falls by ``step``, down to 0, if it was above. It is applied only
    in a step that follows one whose entropy was at most the target, so never in the first.

    Source: TRL 1.16, grpo_trainer.py (``entropy_coef``, ``use_adaptive_entropy``), read there; the adaptive form is
    Skywork's (arXiv 2505.22312).

    Args:
        coefficient: Coefficient, >= 0; with a target, the one to begin with.
        target: Entropy in nats, > 0; None for a coefficient that stays.
        step: What the coefficient moves by, > 0.
        most: Greatest coefficient, > 0.

    Attributes:
        present: The coefficient as it is now.
        applied: Whether the next step has the bonus.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    coefficient: float = 0.001
    target: float | None = None
    step: float = 0.005
    most: float = 1.0
    present: float = field(default=0.0, init=False, repr=False, compare=False)
    applied: bool = field(default=True, init=False, repr=False, compare=False)

    requires = frozenset({"entropy_gradient"})

    def __post_init__(self) -> None:
        check_types(self)
        if self.target is None and not self.coefficient > 0:
            raise ConfigurationError(f"coefficient={self.coefficient} must be above 0 without a target")
        if self.target is not None and not self.target > 0:
            raise ConfigurationError(f"target={self.target} must be None or above 0")
        for name in ("step", "most"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be above 0")
        if self.target is not None and not 0 <= self.coefficient <= self.most:
            raise ConfigurationError(f"coefficient={self.coefficient} must lie in [0, most={self.most}]")
        self.present, self.applied = float(self.coefficient), self.target is None
        self._sum, self._tokens = 0.0, 0  # of the passes of a step

    def __call__(self, entropy_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the share of a pass, to be divided by the denominator of the loss."""
        assert batch.step_count is not None and batch.step_tokens is not None, "the learner sets them for each step"
        inside_NT = batch.weight_NT > 0
        total = torch.where(inside_NT, entropy_NT, 0.0).sum()
        if self.target is not None:
            tokens = int(inside_NT.sum())
            if self._tokens + tokens > batch.step_tokens:  # left there by a step that was not taken
                self._sum, self._tokens = 0.0, 0
            self._sum, self._tokens = self._sum + float(total.detach()), self._tokens + tokens
        coefficient = self.present if self.applied else 0.0
        return -coefficient * total * (batch.step_count / max(batch.step_tokens, 1))

    def stepped(self) -> None:
        """Move the coefficient after a gradient step."""
        if self.target is None or self._tokens == 0:
            return
        self.applied = self._sum / self._tokens <= self.target
        moved = self.present + (self.step if self.applied else -self.step)
        self.present = min(max(moved, 0.0), self.most)
        self._sum, self._tokens = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the coefficient, and whether the next step has the bonus."""
        return {"present": self.present, "applied": self.applied}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.present, self.applied = state["present"], state["applied"]
