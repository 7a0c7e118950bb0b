"""Losses of whole groups: what a pass computes once the slopes are known; the learner's side is in test_learner.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toys import Contrast

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.losses import SetLoss
from g2rpo_env.agents.parts.token_weights import TokenMean


@pytest.fixture
def batch(make_episode: Any) -> Batch:
    """Episodes with two and one sampled tokens."""
    episodes = [make_episode("pss"), make_episode("ps", member=1)]
    return make_batch(episodes, np.ones(2), [TokenMean()(e) for e in episodes], torch.device("cpu"))


def test_a_pass_is_the_sum_of_slope_times_score(batch: Batch) -> None:
    # Scores -1 - 2 = -3 and -4; slopes 0.5 and -2: 0.5 * -3 + -2 * -4 = 6.5, and each token gets its episode's slope.
    log_probs = torch.tensor([[0.0, -1, -2], [0, -4, 0]], requires_grad=True)
    result = Contrast()(log_probs, replace(batch, slope_NK=torch.tensor([[0.5], [-2.0]])))
    result.total.backward()
    assert result.total.item() == 6.5 and result.metrics == {}
    assert log_probs.grad is not None and log_probs.grad.tolist() == [[0, 0.5, 0.5], [0, -2, 0]]


def test_without_slopes_a_pass_is_refused(batch: Batch) -> None:
    with pytest.raises(AssertionError, match="slopes"):
        Contrast()(torch.zeros(2, 3), batch)


def test_log_probabilities_of_another_shape_are_refused(batch: Batch) -> None:
    with pytest.raises(AssertionError, match="one shape"):
        Contrast()(torch.zeros(2, 4), replace(batch, slope_NK=torch.ones(2, 1)))


def test_a_set_loss_must_say_its_scores_and_its_objective() -> None:
    class Half(SetLoss):
        def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
            return log_probs_NT

    with pytest.raises(TypeError, match="objective"):
        Half()  # type: ignore[abstract]
    assert Contrast().requires == {"sets"}
