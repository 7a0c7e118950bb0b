"""Losses of whole groups: numbers per episode, and a function of all these numbers at once.

Such a loss is L(s_1, ..., s_N) with s_i = s(episode i), so its gradient is sum_i (dL/ds_i) grad s_i. The learner scores
a minibatch without gradient, asks for the slopes dL/ds_i, and then sends any passes of it through the model with total
= sum_i slope_i s_i. That is exact in any passes, and the episodes of a group need not be in one of them. The price is
one forward pass.

A preference pair is a group of two whose rewards are the probabilities that each is the better one: (1, 0), or
(1 - e, e) with doubt e. Builders of pairs are therefore selections, and there is no pair type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.surrogate import LossResult, check_shapes


class SetLoss(ABC):
    """Base class of losses that look at whole groups; groups stay whole in minibatches, and no episode is left out.

    The groups are those of ``batch.set_N1``, the shaped rewards ``batch.reward_N1``. Its value is the loss of the
    minibatch as it is: it is divided by no denominator.
    """

    requires = frozenset({"sets"})

    @abstractmethod
    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return K numbers per episode, (N, K), with gradients for the log-probabilities; rows are independent."""

    @abstractmethod
    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a minibatch, a scalar with gradients for the scores, and metrics."""

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the sum of slope * score over the episodes of a pass: its gradient is that of the loss."""
        check_shapes(log_probs_NT, batch)
        assert batch.slope_NK is not None, "the learner finds the slopes of the minibatch first"
        return LossResult((batch.slope_NK * self.scores(log_probs_NT, batch)).sum())
