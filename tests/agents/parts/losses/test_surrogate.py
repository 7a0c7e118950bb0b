"""Losses: numbers derived by hand, and which tokens a gradient reaches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate
from g2rpo_env.agents.parts.losses.revealed import ShapedReveal
from g2rpo_env.agents.parts.losses.sequence import GeometricMean, SequenceSurrogate
from g2rpo_env.agents.parts.losses.soft import CappedWeights, DivergenceMask, GammaWeights, SoftGate
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood, clipped_surrogate
from g2rpo_env.agents.parts.losses.traces import TracedSurrogate
from g2rpo_env.agents.parts.token_weights.means import FixedLength, SequenceMean, SequenceSum, TokenMean
from g2rpo_env.errors import ConfigurationError

CPU = torch.device("cpu")

PLAIN = [  # losses whose gradient at ratio 1 is that of the log-likelihood
    ClippedSurrogate(),
    ClippedSurrogate(cap=3.0),
    LogLikelihood(),
    CappedWeights(),
    SoftGate(),
    SequenceSurrogate(),
    GeometricMean(),
    GammaWeights(),
    DivergenceMask(),
    DivergenceMask(divergence="kl", cap=2.0),
    TracedSurrogate(decay=0.0),
]
TRACED = [TracedSurrogate(), TracedSurrogate(both=True)]


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


@pytest.mark.parametrize("loss", [*PLAIN, *TRACED, ShapedReveal()], ids=str)
def test_no_gradient_reaches_prompt_revealed_or_environment_tokens(batch: Batch, loss: Any) -> None:
    log_probs = torch.full((2, 4), math.log(0.5), requires_grad=True)
    loss(log_probs, batch).total.backward()
    assert log_probs.grad is not None
    assert (log_probs.grad != 0).tolist() == [[False, False, True, True], [False, True, False, False]]


@pytest.mark.parametrize("loss", PLAIN, ids=str)
def test_a_gradient_reaches_revealed_tokens_where_they_count(make_episode: Any, loss: Any) -> None:
    episode = make_episode("pprrss")
    batch = make_batch([episode], np.ones(1), [TokenMean(revealed=True)(episode)], CPU)
    log_probs = torch.zeros((1, 6), requires_grad=True)
    loss(log_probs, batch).total.backward()
    assert log_probs.grad is not None and log_probs.grad[0].tolist() == pytest.approx([0, 0, -1, -1, -1, -1])


@pytest.mark.parametrize("loss", PLAIN, ids=str)
def test_on_policy_a_loss_has_the_gradient_of_the_log_likelihood(batch: Batch, loss: Any) -> None:
    gradients = []
    for one in (loss, LogLikelihood()):
        log_probs = batch.old_log_probs_NT.clone().requires_grad_()
        one(log_probs, batch).total.backward()
        gradients.append(log_probs.grad)
    if isinstance(loss, SoftGate):  # 4 / 1.05 / 4 * 1.05 is rounded
        assert torch.allclose(gradients[0], gradients[1], rtol=1e-6)
    else:
        assert torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize("loss", [*PLAIN, *TRACED], ids=str)
@pytest.mark.parametrize("per_token", [False, True])
def test_rows_are_independent(make_rows: Any, loss: Any, per_token: bool) -> None:
    random = torch.Generator().manual_seed(0)
    lengths, advantages = [1, 4, 2, 6], [1.0, -1.0, 0.5, -2.0]
    ratios = [torch.exp(0.4 * torch.randn(n, generator=random)).tolist() for n in lengths]
    given = [torch.randn(n, generator=random).tolist() for n in lengths] if per_token else advantages
    new, batch = make_rows(ratios, given, share=True)
    whole = loss(new, batch)
    parts = [loss(new[rows][:, : taken.mask_NT.shape[1]], taken) for taken, rows in batch.passes(size=1)]
    assert len(parts) == 4
    total = torch.stack([part.total for part in parts]).sum()
    assert total.item() == pytest.approx(whole.total.item(), rel=1e-12)
    found, wanted = (torch.autograd.grad(x, [new], retain_graph=True)[0] for x in (total, whole.total))
    assert torch.allclose(found, wanted, atol=1e-12)
    for name, value in whole.metrics.items():
        assert sum(float(part.metrics[name]) for part in parts) == pytest.approx(float(value))


@pytest.mark.parametrize("loss", [*PLAIN, *TRACED], ids=str)
@pytest.mark.parametrize("value", [1e4, -1e4, math.inf, -math.inf])
def test_values_outside_the_loss_cannot_spoil_it(batch: Batch, loss: Any, value: float) -> None:
    clean = batch.old_log_probs_NT.clone().requires_grad_()
    spoilt = torch.where(batch.weight_NT > 0, batch.old_log_probs_NT, value).requires_grad_()
    results = [loss(x, batch) for x in (clean, spoilt)]
    for result in results:
        result.total.backward()
    assert torch.equal(results[0].total, results[1].total) and torch.equal(clean.grad, spoilt.grad)


# -- a cap ------------------------------------------------------------------------------------------------------------


def test_a_cap_bounds_the_ratio_of_negative_advantages(make_rows: Any, slopes_of: Any) -> None:
    # A = -1: r 2 -> 2, open; r 5 -> 3 without a gradient; r 0.5 -> 0.8, clipped. A = 1: r 5 -> -1.2, as without a cap.
    rows = make_rows([[2.0, 5.0, 0.5], [5.0]], [-1.0, 1.0], old=0.1)
    loss = ClippedSurrogate(cap=3.0)
    assert loss(*rows).total.item() == pytest.approx(2 + 3 + 0.8 - 1.2)
    assert slopes_of(loss, *rows) == [pytest.approx([2, 0, 0]), [0, 0, 0]]
    assert loss(*rows).metrics["clip_fraction"].item() == 3
    assert ClippedSurrogate()(*rows).metrics["clip_fraction"].item() == 2


def test_a_cap_is_the_dual_clip_over_a_grid() -> None:
    # verl: where A < 0, min(max(-r A, -clip(r) A), -c A), else max(-r A, -clip(r) A).
    ratio, advantage = torch.meshgrid(
        torch.linspace(0.05, 8, 200, dtype=torch.float64), torch.linspace(-3, 3, 61, dtype=torch.float64), indexing="ij"
    )
    clipped = torch.maximum(-ratio * advantage, -ratio.clamp(0.8, 1.2) * advantage)
    dual = torch.where(advantage < 0, torch.minimum(clipped, -3.0 * advantage), clipped)
    ours = clipped_surrogate(ratio.log(), torch.zeros_like(ratio), advantage, 0.2, 0.2, 3.0)
    assert torch.allclose(ours, dual, atol=1e-12)


def test_the_gradient_of_the_capped_surrogate_is_numeric() -> None:
    new = torch.linspace(-1.5, 1.5, 12, dtype=torch.float64).requires_grad_()
    zero, advantage = torch.zeros(12, dtype=torch.float64), torch.tensor([1.0, -1.0] * 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: clipped_surrogate(x, zero, advantage, 0.2, 0.28, 2.0), (new,))


@pytest.mark.parametrize("kind", [ShapedReveal, CorrectedSurrogate])
def test_losses_that_derive_from_the_surrogate_take_a_cap_by_name(kind: Any) -> None:
    assert kind(0.1, 0.2, 0.5).cap is None and kind(0.1, 0.2, 0.5, cap=2.0).cap == 2.0


# -- what is logged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [SequenceSum(), FixedLength(length=10)], ids=["sum", "fixed"])
def test_the_clip_fraction_is_a_share_of_tokens_under_a_count_of_its_own(make_episode: Any, weight: Any) -> None:
    # Five tokens in the loss of two episodes, three of them clipped; the denominator is 2 for both weights.
    old = [math.log(0.5)] * 3
    episodes = [make_episode("psss", [0, *old]), make_episode("pss", [0, *old[:2]], member=1)]
    counts = [weight.count(weight(e)) for e in episodes]
    made = make_batch(episodes, np.ones(2), [weight(e) for e in episodes], CPU, counts=counts)
    log_probs = torch.log(torch.tensor([[0.5, 0.9, 0.9, 0.5], [0.5, 0.9, 0.5, 0.5]]))
    result = ClippedSurrogate()(log_probs, made)
    assert float(result.metrics["clip_fraction"]) / made.count == pytest.approx(3 / 5)
    step = replace(made, step_count=2.0, step_tokens=5)  # as the learner sets them
    parts = [ClippedSurrogate()(log_probs[rows][:, : p.mask_NT.shape[1]], p) for p, rows in step.passes(size=1)]
    assert sum(float(part.metrics["clip_fraction"]) for part in parts) / made.count == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    "options,words",
    [
        ({"clip_low": -0.1}, "clip_low=-0.1"),
        ({"clip_low": 1.1}, "clip_low=1.1"),
        ({"clip_high": -1}, "clip_high=-1"),
        ({"cap": 1.2}, "cap=1.2 must be None or above 1 . clip_high=1.2"),
    ],
)
def test_clips_outside_their_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ClippedSurrogate(**options)
