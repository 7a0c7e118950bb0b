"""References: estimators by hand and against the divergences they estimate, and what is outside the loss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.references.terms import KLToStart, NoReference, k1, k2, k3
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


# -- estimators -------------------------------------------------------------------------------------------------------


def test_k1_and_k2_by_hand() -> None:
    # pi = 0.5, ref = 0.25: l - l_ref = log 2, and its square halved
    new, reference = torch.tensor(0.5).log(), torch.tensor(0.25).log()
    assert float(k1(new, reference)) == pytest.approx(math.log(2))
    assert float(k2(new, reference)) == pytest.approx(math.log(2) ** 2 / 2)


def test_the_terms_of_all_estimators_by_hand(batch: Batch) -> None:
    # Tokens 3 and 4 count, pi = 0.5, old 1 (log 0), ref 0.4 and 0.25; corrected: times the ratio 0.5.
    log_probs = torch.log(torch.full((1, 4), 0.5))
    sums = {
        "k1": math.log(1.25) + math.log(2),
        "k2": (math.log(1.25) ** 2 + math.log(2) ** 2) / 2,
        "k3": (0.8 - math.log(0.8) - 1) + (0.5 - math.log(0.5) - 1),
    }
    for estimator, expected in sums.items():
        term = KLToStart(0.1, estimator, corrected=True)(log_probs, batch)
        assert float(term) == pytest.approx(0.05 * expected, rel=1e-6)
        if estimator != "k1":
            assert float(KLToStart(0.1, estimator)(log_probs, batch)) == pytest.approx(0.1 * expected, rel=1e-6)


REVERSE, FORWARD, NOTHING = "KL(pi || ref)", "KL(ref || pi)", "0"


@pytest.mark.parametrize(
    "estimator,corrected,divergence",
    [
        ("k1", False, NOTHING),
        ("k2", False, REVERSE),
        ("k3", False, FORWARD),
        ("k1", True, REVERSE),
        ("k3", True, REVERSE),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_expected_gradients_by_enumeration_over_five_words(
    estimator: str, corrected: bool, divergence: str, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, dtype=torch.float64, generator=random).requires_grad_()
    log_ref = torch.log_softmax(torch.randn(5, dtype=torch.float64, generator=random), -1)
    log_pi = torch.log_softmax(logits, -1)
    # Every word once, weighted by its probability: the sum over the batch is the expectation over samples.
    row = log_pi.detach()[None]
    batch = Batch(
        tokens_NT=torch.arange(5)[None],
        mask_NT=torch.ones(1, 5, dtype=torch.bool),
        role_NT=torch.full((1, 5), 2, dtype=torch.int8),
        old_log_probs_NT=row,
        advantage_NT=torch.ones_like(row),
        weight_NT=row.exp(),
        reference_log_probs_NT=log_ref[None],
    )
    term = KLToStart(1.0, "k2" if estimator == "k1" and not corrected else estimator, corrected)
    if estimator == "k1" and not corrected:  # refused as a part
        estimate = (batch.weight_NT * k1(log_pi[None], log_ref[None])).sum()
    else:
        estimate = term(log_pi[None], batch)
    reverse, forward = (log_pi.exp() * (log_pi - log_ref)).sum(), (log_ref.exp() * (log_ref - log_pi)).sum()
    wanted = {REVERSE: reverse, FORWARD: forward, NOTHING: (logits * 0).sum()}[divergence]
    gradients = [torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (estimate, wanted)]
    assert torch.allclose(*gradients, atol=1e-12)
    if estimator != "k2":  # the value of k2 is no unbiased estimate
        assert float(estimate.detach()) == pytest.approx(float(reverse.detach()), rel=1e-9)
    assert not torch.allclose(*(torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (reverse, forward)))


@pytest.mark.parametrize("estimator,corrected", [("k1", True), ("k2", False), ("k2", True), ("k3", True)])
def test_gradients_of_terms_are_numeric(estimator: str, corrected: bool) -> None:
    old, reference = torch.tensor([[-0.5, -1.0]]).double(), torch.tensor([[-0.9, -0.8]]).double()
    ones = torch.ones_like(old)
    batch = Batch(ones.long(), ones.bool(), ones.to(torch.int8), old, ones, ones * 0.5, reference)
    new = torch.tensor([[-0.7, -0.6]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: KLToStart(0.3, estimator, corrected)(x, batch), (new,))


def test_a_corrected_term_is_finite_whatever_stands_outside_the_loss(batch: Batch) -> None:
    log_probs = torch.tensor([[0.0, 1e4, -0.7, -0.7]], requires_grad=True)
    KLToStart(corrected=True)(log_probs, batch).backward()
    assert log_probs.grad is not None and log_probs.grad[0, :2].tolist() == [0, 0]
    assert torch.isfinite(log_probs.grad).all()


def test_k1_without_the_ratio_is_refused_and_unknown_estimators_too() -> None:
    with pytest.raises(ConfigurationError, match="estimator='k1' must have corrected=True"):
        KLToStart(estimator="k1")
    with pytest.raises(ConfigurationError, match="estimator='k4' must be one of k1, k2, k3"):
        KLToStart(estimator="k4")
