"""Losses of revealed tokens: the shaped likelihood and its gradient by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.losses.revealed import ImitatedReveal, ShapedReveal, shaped_likelihood
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.token_weights.means import SequenceMean
from g2rpo_env.errors import ConfigurationError

CPU = torch.device("cpu")


@pytest.fixture
def batch(make_episode: Any) -> Batch:
    """Two episodes with advantages 1 and -2 and old probabilities 1/2; weights 1/2 each and 1."""
    half = math.log(0.5)
    one = make_episode("prss", [0, 0, half, half])
    two = make_episode("pse", [0, half, 0], member=1)
    return make_batch([one, two], np.array([1.0, -2.0]), [SequenceMean()(one), SequenceMean()(two)], CPU)


def test_shaped_likelihood_by_hand() -> None:
    # gamma 0.1, A = 2: p = 0.1 gives -2 * 1/2, p = 0.4 gives -2 * 0.4 / 0.5
    log_probs = torch.tensor([0.1, 0.4], dtype=torch.float64).log()
    assert shaped_likelihood(log_probs, torch.tensor([2.0, 2.0]), 0.1).tolist() == pytest.approx([-1.0, -1.6])


def test_the_gradient_of_the_shaping_is_largest_at_gamma() -> None:
    # df / d log p = gamma p / (p + gamma)^2: 0.25 at p = gamma, 0.01 * 0.1 / 0.11^2 = 0.0826, 0.09 / 1 at p = 0.9
    log_probs = torch.tensor([0.01, 0.1, 0.9], dtype=torch.float64).log().requires_grad_()
    shaped_likelihood(log_probs, torch.full((3,), -1.0), 0.1).sum().backward()
    assert log_probs.grad is not None and log_probs.grad.tolist() == pytest.approx([0.0826446, 0.25, 0.09])


def test_shaped_reveal_by_hand(make_episode: Any) -> None:
    # prompt, revealed (p = 0.4: -0.8), sampled with ratio 1.4 (clipped: -1.2) and 0.9; A = 1, weights 1/3 each
    half = math.log(0.5)
    episode = make_episode("prss", [0, 0, half, half])
    batch = make_batch([episode], np.array([1.0]), [SequenceMean(revealed=True)(episode)], CPU)
    log_probs = torch.log(torch.tensor([[0.9, 0.4, 0.7, 0.45]])).requires_grad_()
    result = ShapedReveal()(log_probs, batch)
    assert float(result.total.detach()) == pytest.approx(-(0.8 + 1.2 + 0.9) / 3, rel=1e-6)
    assert batch.count == pytest.approx(1)
    assert float(result.metrics["clip_fraction"]) == pytest.approx(1 / 3)
    result.total.backward()
    # revealed: -gamma p / (p + gamma)^2 / 3 = -0.04 / 0.25 / 3; clipped: 0; open: -0.9 / 3
    assert log_probs.grad is not None and log_probs.grad[0].tolist() == pytest.approx([0, -0.16 / 3, 0, -0.3])


def test_without_revealed_tokens_in_the_loss_the_shaping_is_the_clipped_surrogate(batch: Batch) -> None:
    log_probs = torch.log(torch.tensor([[0.9, 0.9, 0.7, 0.45], [0.9, 0.3, 0.9, 0.9]]))
    assert ShapedReveal()(log_probs, batch).total == ClippedSurrogate()(log_probs, batch).total
    with pytest.raises(ConfigurationError, match="gamma=0"):
        ShapedReveal(gamma=0)


def test_imitated_reveal_by_hand(make_episode: Any) -> None:
    # prompt, revealed (p = 0.4), sampled with ratio 1.4 (clipped: -1.2) and 0.9; A = 1, weights 1/3 each
    half = math.log(0.5)
    episode = make_episode("prss", [0, 0, half, half])
    batch = make_batch([episode], np.array([1.0]), [SequenceMean(revealed=True)(episode)], CPU)
    log_probs = torch.log(torch.tensor([[0.9, 0.4, 0.7, 0.45]])).requires_grad_()
    result = ImitatedReveal(coefficient=0.5)(log_probs, batch)
    assert float(result.total.detach()) == pytest.approx((0.5 * -math.log(0.4) - 1.2 - 0.9) / 3, rel=1e-6)
    result.total.backward()
    assert log_probs.grad is not None and log_probs.grad[0].tolist() == pytest.approx([0, -0.5 / 3, 0, -0.3])


def test_revealed_tokens_are_imitated_whatever_the_advantage(make_episode: Any) -> None:
    rows = [make_episode("prs", [0, 0, math.log(0.5)], member=m) for m in range(3)]
    weights = [SequenceMean(revealed=True)(row) for row in rows]
    batch = make_batch(rows, np.array([1.0, 0.0, -1.0]), weights, CPU)
    log_probs = torch.log(torch.full((3, 3), 0.5)).requires_grad_()
    ImitatedReveal(coefficient=1.0)(log_probs, batch).total.backward()
    assert log_probs.grad is not None and log_probs.grad[:, 1].tolist() == pytest.approx([-0.5] * 3)
    assert log_probs.grad[:, 2].tolist() == pytest.approx([-0.5, 0, 0.5])
    assert "every_row" in ImitatedReveal.requires  # else the learner would leave the second one out


def test_the_gradient_of_imitation_agrees_with_differences(make_episode: Any) -> None:
    rows = [make_episode("prrss", [0, 0, 0, -0.4, -0.9], member=m) for m in range(2)]
    batch = make_batch(rows, np.array([0.7, -1.1]), [SequenceMean(revealed=True)(row) for row in rows], CPU)
    batch = Batch(**{k: v.double() if k in DOUBLE else v for k, v in vars(batch).items()})
    start = torch.log(torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    loss = ImitatedReveal(coefficient=0.3, clip_low=1.0, clip_high=50.0)
    assert torch.autograd.gradcheck(lambda x: loss(x, batch).total, (start.requires_grad_(),))


DOUBLE = ("old_log_probs_NT", "advantage_NT", "weight_NT")


def test_without_revealed_tokens_or_with_coefficient_0_imitation_adds_nothing(batch: Batch) -> None:
    log_probs = torch.log(torch.tensor([[0.9, 0.9, 0.7, 0.45], [0.9, 0.3, 0.9, 0.9]]))
    log_probs[0, 1] = -math.inf  # revealed and outside of the loss
    assert ImitatedReveal(coefficient=9.0)(log_probs, batch).total == ClippedSurrogate()(log_probs, batch).total
    with pytest.raises(ConfigurationError, match="coefficient=-1 must be at least 0"):
        ImitatedReveal(coefficient=-1)
