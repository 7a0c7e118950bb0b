"""References: k3 by hand and against the divergence it estimates, and what is outside the loss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.references.terms import KLToStart, NoReference, k3
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.errors import ConfigurationError


@pytest.fixture
def batch(make_episode: Any) -> Batch:
    """One episode "p r s s"; its reference gives the four tokens 0.9, 0.9, 0.4, 0.25."""
    episode = make_episode("prss")
    made = make_batch([episode], np.ones(1), [TokenMean()(episode)], torch.device("cpu"))
    return replace(made, reference_log_probs_NT=torch.log(torch.tensor([[0.9, 0.9, 0.4, 0.25]])))


def test_k3_by_hand() -> None:
    # pi = 0.5, ref = 0.25: exp(d) - d - 1 with d = log(1/2) is 1/2 + log 2 - 1 = log 2 - 1/2
    value = k3(torch.tensor(0.5).log(), torch.tensor(0.25).log())
    assert float(value) == pytest.approx(math.log(2) - 0.5, rel=1e-6)


def test_k3_is_zero_for_equal_policies_and_never_negative() -> None:
    log_probs = torch.log(torch.linspace(0.01, 0.99, 50))
    assert k3(log_probs, log_probs).abs().max() == 0
    assert (k3(log_probs[:, None], log_probs[None, :]) >= 0).all()


def test_k3_has_the_reverse_divergence_as_expectation_and_the_forward_one_as_gradient() -> None:
    # Exact sums over three tokens. Value: E_pi[k3] = KL(pi || ref). Gradient at fixed samples: that of KL(ref || pi).
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    log_pi = torch.log_softmax(logits, -1)
    pi = log_pi.detach().exp()
    estimate = (pi * k3(log_pi, ref.log())).sum()
    assert float(estimate.detach()) == pytest.approx(float((pi * (log_pi.detach() - ref.log())).sum()), rel=1e-12)
    (gradient,) = torch.autograd.grad(estimate, logits, retain_graph=True)
    (forward,) = torch.autograd.grad((ref * (ref.log() - log_pi)).sum(), logits)
    assert gradient.tolist() == pytest.approx(forward.tolist(), abs=1e-12)


def test_kl_term_by_hand_is_the_weighted_sum_times_beta(batch: Batch) -> None:
    # Tokens 3 and 4 count, pi = 0.5 for both, ref = 0.4 and 0.25:
    # k3 = (0.8 - log 0.8 - 1) + (0.5 - log 0.5 - 1); the term is 0.1 times that, not yet divided by the count of 2.
    log_probs = torch.log(torch.full((1, 4), 0.5))
    expected = 0.1 * ((0.8 - math.log(0.8) - 1) + (0.5 - math.log(0.5) - 1))
    assert float(KLToStart(beta=0.1)(log_probs, batch)) == pytest.approx(expected, rel=1e-6)


def test_kl_term_gives_no_gradient_outside_the_loss_whatever_stands_there(batch: Batch) -> None:
    log_probs = torch.tensor([[0.0, -1e4, -0.7, -0.7]], requires_grad=True)  # exp(1e4) would overflow
    KLToStart()(log_probs, batch).backward()
    assert log_probs.grad is not None
    assert log_probs.grad[0, :2].tolist() == [0, 0]
    assert (log_probs.grad[0, 2:] != 0).all() and torch.isfinite(log_probs.grad).all()


def test_no_reference_is_zero_and_needs_nothing(batch: Batch) -> None:
    assert float(NoReference()(torch.zeros(1, 4), batch)) == 0
    assert NoReference().requires == frozenset() and KLToStart().requires == {"reference_log_probs"}


def test_beta_zero_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="beta=0"):
        KLToStart(beta=0)
