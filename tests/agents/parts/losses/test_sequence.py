"""Ratios of whole answers: values by hand, and the gradient of the forms that differentiate the mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.sequence import GeometricMean, SequenceSurrogate
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.errors import ConfigurationError

WIDE = SequenceSurrogate(0.2, 0.2)
E = math.e


def mean_ratio(log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
    """exp of the mean log ratio of each answer, with its whole gradient, (N, 1)."""
    inside = batch.weight_NT > 0
    change = torch.where(inside, log_probs_NT - batch.old_log_probs_NT, 0.0)
    return torch.exp(change.sum(-1, keepdim=True) / inside.sum(-1, keepdim=True))


# -- GSPO -------------------------------------------------------------------------------------------------------------


def test_one_token_of_ratio_e_among_ten_makes_a_ratio_of_e_to_a_tenth(make_rows: Any, slopes_of: Any) -> None:
    rows = make_rows([[E] + [1.0] * 9], [1.0], old=0.1, share=True)
    assert WIDE(*rows).total.item() == pytest.approx(-math.exp(0.1))
    assert slopes_of(WIDE, *rows) == [pytest.approx([-math.exp(0.1) / 10] * 10)]


def test_an_answer_is_clipped_as_a_whole(make_rows: Any, slopes_of: Any) -> None:
    # Ratios 4 and 1/2: the answer's is sqrt(2), above 1.2: -1.2 and no gradient for A = 1, open for A = -1.
    rows = make_rows([[4.0, 0.5], [4.0, 0.5], [0.5, 0.5]], [1.0, -1.0, -1.0], old=0.1, share=True)
    result = WIDE(*rows)
    assert result.total.item() == pytest.approx(-1.2 + math.sqrt(2) + 0.8)
    assert slopes_of(WIDE, *rows) == [[0, 0], pytest.approx([math.sqrt(0.5)] * 2), [0, 0]]
    assert result.metrics["clip_fraction"].item() == 2  # two answers, whose weights sum to 1 each


def test_a_cap_bounds_the_ratio_of_answers_for_negative_advantages(make_rows: Any, slopes_of: Any) -> None:
    rows = make_rows([[4.0, 0.5]], [-1.0], share=True, old=0.1)
    assert replace(WIDE, cap=1.3)(*rows).total.item() == pytest.approx(1.3)
    assert slopes_of(replace(WIDE, cap=1.3), *rows) == [[0, 0]]


def test_tokens_outside_the_loss_are_no_part_of_the_mean(make_rows: Any) -> None:
    inner, plain = make_rows([[E, None, 1.0, None]], [1.0]), make_rows([[E, 1.0]], [1.0])
    assert SequenceSurrogate(0.9, 9)(*inner).total.item() == pytest.approx(-2 * math.sqrt(E))
    assert SequenceSurrogate(0.9, 9)(*inner).total.item() == SequenceSurrogate(0.9, 9)(*plain).total.item()


@given(st.lists(st.lists(st.floats(0.2, 3), min_size=1, max_size=5), min_size=1, max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_with_one_advantage_per_answer_it_is_the_form_that_differentiates_the_mean(
    make_rows: Any, ratios: list[list[float]], share: bool
) -> None:
    new, batch = make_rows(ratios, [(-1.0) ** n for n in range(len(ratios))], share=share)
    ratio, advantage = mean_ratio(new, batch), batch.advantage_NT[:, 1:2]
    per_row = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    expected = (batch.weight_NT * per_row).sum()
    result = WIDE(new, batch)
    assert result.total.item() == pytest.approx(expected.item())
    found, wanted = (torch.autograd.grad(x, [new])[0] for x in (result.total, expected))
    assert torch.allclose(found, wanted, atol=1e-12)


def test_advantages_of_tokens_stay_with_their_tokens(make_rows: Any, slopes_of: Any) -> None:
    # The form that differentiates the mean has one slope for both: -s (1 + 0) / 2 each.
    new, batch = make_rows([[1.0, 1.0]], [[1.0, 0.0]])
    assert slopes_of(WIDE, new, batch) == [pytest.approx([-1, 0])]
    smeared = -(mean_ratio(new, batch) * batch.advantage_NT * batch.weight_NT).sum()
    assert torch.autograd.grad(smeared, [new])[0][0, 1:].tolist() == pytest.approx([-0.5, -0.5])


@pytest.mark.parametrize("loss", [SequenceSurrogate(0.2, 0.2), SequenceSurrogate(0.2, 0.28, cap=1.5)], ids=str)
def test_where_answers_are_one_token_it_is_the_clipped_surrogate_to_the_bit(make_rows: Any, loss: Any) -> None:
    new, batch = make_rows([[r] for r in (0.5, 0.9, 1.0, 1.1, 1.3, 2.0)] * 2, [1.0] * 6 + [-0.7] * 6)
    plain = ClippedSurrogate(loss.clip_low, loss.clip_high, cap=loss.cap)
    one, two = loss(new, batch), plain(new, batch)
    assert one.total == two.total and one.metrics == two.metrics
    assert torch.equal(*(torch.autograd.grad(result.total, [new])[0] for result in (one, two)))


def test_the_default_clip_is_narrow(make_rows: Any) -> None:
    rows = make_rows([[1.0005], [0.9996], [1.0003]], [1.0, -1.0, 1.0])
    assert SequenceSurrogate()(*rows).metrics["clip_fraction"].item() == 2


# -- GMPO -------------------------------------------------------------------------------------------------------------


def test_a_geometric_mean_by_hand(make_rows: Any, slopes_of: Any) -> None:
    # log ratios (0.8, 0), clip 0.4: A = 1 -> exp((0.4 + 0) / 2) = exp(0.2), the first token clipped.
    # A = -1: max(0.8, 0.4) = 0.8: exp(0.4). log ratios (-0.8, 0): A = 1 -> exp(-0.4), A = -1 -> exp(-0.2), clipped.
    up, down = [math.exp(0.8), 1.0], [math.exp(-0.8), 1.0]
    rows = make_rows([up, up, down, down], [1.0, -1.0, 1.0, -1.0], share=True)
    result = GeometricMean()(*rows)
    assert result.total.item() == pytest.approx(-math.exp(0.2) + math.exp(0.4) - math.exp(-0.4) + math.exp(-0.2))
    assert slopes_of(GeometricMean(), *rows) == [
        pytest.approx([0, -math.exp(0.2) / 2]),
        pytest.approx([math.exp(0.4) / 2] * 2),
        pytest.approx([-math.exp(-0.4) / 2] * 2),
        pytest.approx([0, math.exp(-0.2) / 2]),
    ]
    assert result.metrics["clip_fraction"].item() == 1  # half of two answers


@given(st.lists(st.lists(st.floats(0.2, 4), min_size=1, max_size=5), min_size=1, max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_geometric_mean_is_the_form_that_differentiates_the_mean(
    make_rows: Any, ratios: list[list[float]], share: bool
) -> None:
    new, batch = make_rows(ratios, [(-1.0) ** n for n in range(len(ratios))], share=share)
    inside, positive = batch.weight_NT > 0, batch.advantage_NT > 0
    change = torch.where(inside, new - batch.old_log_probs_NT, 0.0)
    bounded = change.clamp(-0.4, 0.4)
    clipped = torch.where(positive, torch.minimum(change, bounded), torch.maximum(change, bounded))
    coefficient = torch.exp(clipped.sum(-1) / inside.sum(-1))
    expected = -(coefficient * batch.advantage_NT[:, 1] * batch.weight_NT.sum(-1)).sum()
    total = GeometricMean()(new, batch).total
    assert total.item() == pytest.approx(expected.item())
    found, wanted = (torch.autograd.grad(x, [new])[0] for x in (total, expected))
    assert torch.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize(
    "kind,options,words",
    [
        (SequenceSurrogate, {"clip_low": 1.5}, "clip_low=1.5 must lie"),
        (SequenceSurrogate, {"cap": 1.0}, "cap=1.0 must be None or above 1 . clip_high=1.0004"),
        (GeometricMean, {"clip_low": -0.1}, "clip_low=-0.1 must be at least 0"),
        (GeometricMean, {"clip_high": math.nan}, "clip_high=nan must be at least 0"),
    ],
)
def test_bad_options_are_named(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)
