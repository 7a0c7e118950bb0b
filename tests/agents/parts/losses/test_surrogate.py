"""Losses: numbers derived by hand, and which tokens a gradient reaches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.losses.revealed import ShapedReveal
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood, clipped_surrogate
from g2rpo_env.agents.parts.token_weights.means import SequenceMean, TokenMean
from g2rpo_env.errors import ConfigurationError

CPU = torch.device("cpu")


def terms(ratio: list[float], advantage: float, low: float = 0.2, high: float = 0.2) -> list[float]:
    """Loss per token for given ratios."""
    new = torch.tensor(ratio, dtype=torch.float64).log()
    return clipped_surrogate(new, torch.zeros_like(new), torch.full_like(new, advantage), low, high).tolist()


def test_surrogate_by_hand_for_positive_advantage_clips_above_only() -> None:
    # A = 2: -min(r A, clip(r, 0.8, 1.2) A): 0.5 -> -1, 1 -> -2, 1.1 -> -2.2, 1.5 -> clipped to 1.2 -> -2.4
    assert terms([0.5, 1.0, 1.1, 1.5], 2.0) == pytest.approx([-1.0, -2.0, -2.2, -2.4])


def test_surrogate_by_hand_for_negative_advantage_clips_below_only() -> None:
    # A = -2: 0.5 -> clipped to 0.8 -> 1.6, 0.9 -> 1.8, 1 -> 2, 1.5 -> 3
    assert terms([0.5, 0.9, 1.0, 1.5], -2.0) == pytest.approx([1.6, 1.8, 2.0, 3.0])


def test_the_two_clips_are_independent() -> None:
    # clip_high = 0.28: 1.25 is inside, 1.5 becomes 1.28; clip_low = 0.1: 0.5 becomes 0.9
    assert terms([1.25, 1.5], 1.0, 0.1, 0.28) == pytest.approx([-1.25, -1.28])
    assert terms([0.5], -1.0, 0.1, 0.28) == pytest.approx([0.9])


def test_a_clipped_token_has_no_gradient_and_an_open_one_has() -> None:
    # d/dl of -A exp(l - l0) is -A r
    new = torch.tensor([1.5, 0.5, 1.5, 0.5]).log().requires_grad_()
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    clipped_surrogate(new, torch.zeros(4), advantage, 0.2, 0.2).sum().backward()
    assert new.grad is not None and new.grad.tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0])


@pytest.fixture
def batch(make_episode: Any) -> Batch:
    """Two episodes with advantages 1 and -2 and old probabilities 1/2; weights 1/2 each and 1."""
    half = math.log(0.5)
    one = make_episode("prss", [0, 0, half, half])
    two = make_episode("pse", [0, half, 0], member=1)
    return make_batch([one, two], np.array([1.0, -2.0]), [SequenceMean()(one), SequenceMean()(two)], CPU)


def test_loss_of_a_batch_by_hand(batch: Batch) -> None:
    # Ratios: episode 1 has 0.7 / 0.5 = 1.4 (clipped to 1.2) and 0.45 / 0.5 = 0.9; episode 2 has 0.3 / 0.5 = 0.6 (0.8).
    # Terms: -1.2, -0.9 (A = 1) and +1.6 (A = -2). Total: (-1.2 - 0.9) / 2 + 1.6 = 0.55; count: 1 + 1 = 2.
    # Clipped weights: 1/2 of episode 1 and 1 of episode 2.
    log_probs = torch.log(torch.tensor([[0.9, 0.9, 0.7, 0.45], [0.9, 0.3, 0.9, 0.9]]))
    result = ClippedSurrogate()(log_probs, batch)
    assert float(result.total) == pytest.approx(0.55, rel=1e-6)
    assert batch.count == 2
    assert float(result.metrics["clip_fraction"]) == pytest.approx(1.5)


def test_log_likelihood_by_hand(batch: Batch) -> None:
    # -A log pi: -(log 0.7 + log 0.45) / 2 + 2 log 0.3
    log_probs = torch.log(torch.tensor([[0.9, 0.9, 0.7, 0.45], [0.9, 0.3, 0.9, 0.9]]))
    result = LogLikelihood()(log_probs, batch)
    assert float(result.total) == pytest.approx(-math.log(0.7 * 0.45) / 2 + 2 * math.log(0.3), rel=1e-6)
    assert batch.count == 2


@pytest.mark.parametrize("loss", [ClippedSurrogate(), LogLikelihood(), ShapedReveal()])
def test_no_gradient_reaches_prompt_revealed_or_environment_tokens(batch: Batch, loss: Any) -> None:
    log_probs = torch.full((2, 4), math.log(0.5), requires_grad=True)
    loss(log_probs, batch).total.backward()
    assert log_probs.grad is not None
    assert (log_probs.grad != 0).tolist() == [[False, False, True, True], [False, True, False, False]]


@pytest.mark.parametrize("loss", [ClippedSurrogate(), LogLikelihood()])
def test_a_gradient_reaches_revealed_tokens_where_they_count(make_episode: Any, loss: Any) -> None:
    episode = make_episode("pprrss")
    batch = make_batch([episode], np.ones(1), [TokenMean(revealed=True)(episode)], CPU)
    log_probs = torch.zeros((1, 6), requires_grad=True)
    loss(log_probs, batch).total.backward()
    assert log_probs.grad is not None and log_probs.grad.tolist() == [[0, 0, -1, -1, -1, -1]]


def test_on_policy_the_surrogate_has_the_gradient_of_the_log_likelihood(batch: Batch) -> None:
    gradients = []
    for loss in (ClippedSurrogate(), LogLikelihood()):
        log_probs = batch.old_log_probs_NT.clone().requires_grad_()
        loss(log_probs, batch).total.backward()
        gradients.append(log_probs.grad)
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize("loss", [ClippedSurrogate(), LogLikelihood()])
@pytest.mark.parametrize("value", [1e4, -1e4, math.inf, -math.inf])
def test_values_outside_the_loss_cannot_spoil_it(batch: Batch, loss: Any, value: float) -> None:
    clean = batch.old_log_probs_NT.clone().requires_grad_()
    spoilt = torch.where(batch.weight_NT > 0, batch.old_log_probs_NT, value).requires_grad_()
    results = [loss(x, batch) for x in (clean, spoilt)]
    for result in results:
        result.total.backward()
    assert torch.equal(results[0].total, results[1].total) and torch.equal(clean.grad, spoilt.grad)


@pytest.mark.parametrize(
    "options,words",
    [({"clip_low": -0.1}, "clip_low=-0.1"), ({"clip_low": 1.1}, "clip_low=1.1"), ({"clip_high": -1}, "clip_high=-1")],
)
def test_clips_outside_their_range_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ClippedSurrogate(**options)
