"""Traces: by hand, against the sums that define them, and the clipped surrogate without decay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.losses.traces import TracedSurrogate, trace
from g2rpo_env.errors import ConfigurationError


def define(change: list[float], inside: list[bool], decay: float, both: bool) -> list[float]:
    """The double sum of the definition, one row."""
    out, seen = [], []
    for value, counts in zip(change, inside, strict=True):
        if not counts:
            out.append(0.0)
            continue
        seen.append(value)
        t = len(seen) - 1
        factors = [max(decay**lag, decay ** (t - lag)) if both else decay**lag for lag in range(t + 1)]
        out.append(sum(f * seen[t - lag] for lag, f in enumerate(factors)))
    return out


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_traces_are_the_sums_that_define_them(row: list[tuple[float, bool]], decay: float, both: bool) -> None:
    change, inside = [value for value, _ in row], [counts for _, counts in row]
    # A second row of another length checks that rows do not mix.
    found = trace(
        torch.tensor([change, change[::-1]], dtype=torch.float64), torch.tensor([inside, inside[::-1]]), decay, both
    ).tolist()
    assert found[0] == pytest.approx(define(change, inside, decay, both), abs=1e-9)
    assert found[1] == pytest.approx(define(change[::-1], inside[::-1], decay, both), abs=1e-9)


@pytest.mark.parametrize("both", [False, True])
def test_tokens_outside_neither_add_to_a_trace_nor_age_it(both: bool) -> None:
    inside = torch.tensor([[False, True, False, False, True, True]])
    gaps = trace(torch.tensor([[9.0, 1, 9, math.inf, 2, 3]]), inside, 0.5, both)
    plain = trace(torch.tensor([[1.0, 2, 3]]), torch.ones(1, 3, dtype=torch.bool), 0.5, both)
    assert gaps[inside].tolist() == plain[0].tolist() and not gaps[~inside].any()


@pytest.mark.parametrize("both", [False, True])
def test_the_gradient_of_a_trace_is_numeric(both: bool) -> None:
    change = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inside = torch.tensor([[True, False, True, True, True, True, True], [False, True, True, True, False, False, True]])
    assert torch.autograd.gradcheck(lambda x: trace(x, inside, 0.8, both), (change,))


def test_slopes_by_hand_at_ratio_one(make_rows: Any, slopes_of: Any) -> None:
    # decay 0.5, A = 1: token t has a share of sum_k 0.5^k in those after it: 1 + 0.5 + 0.25, 1 + 0.5, 1.
    rows = make_rows([[1.0, 1.0, 1.0]], [1.0])
    assert slopes_of(TracedSurrogate(decay=0.5, rescale=False), *rows) == [pytest.approx([-1.75, -1.5, -1])]
    assert slopes_of(TracedSurrogate(decay=0.5), *rows) == [pytest.approx([-0.875, -0.75, -0.5])]
    # both: c_1 = d_1, c_2 = d_2 + d_1, c_3 = d_3 + 0.5 d_2 + d_1
    assert slopes_of(TracedSurrogate(decay=0.5, both=True, rescale=False), *rows) == [pytest.approx([-3, -1.5, -1])]


def test_the_clip_is_on_the_trace(make_rows: Any, slopes_of: Any) -> None:
    # Log ratios 0.1, 0.1, 0.1 with decay 0.5: c = 0.1, 0.15, 0.175; log 1.2 = 0.182. With 0.12: 0.12, 0.18, 0.21: the
    # third is clipped for A = 1, though no token's own ratio is.
    loss = TracedSurrogate(decay=0.5, rescale=False)
    rows = make_rows([[math.exp(0.12)] * 3], [1.0])
    result = loss(*rows)
    assert result.metrics["clip_fraction"].item() == 1
    assert result.total.item() == pytest.approx(-math.exp(0.12) - math.exp(0.18) - 1.2)
    one, two = math.exp(0.12), math.exp(0.18)
    assert slopes_of(loss, *rows) == [pytest.approx([-(one + 0.5 * two), -two, 0])]
    assert loss(*make_rows([[math.exp(0.1)] * 3], [1.0])).metrics["clip_fraction"].item() == 0


@pytest.mark.parametrize("options", [{}, {"cap": 1.3}, {"clip_low": 0.1, "clip_high": 0.3}])
def test_without_decay_it_is_the_clipped_surrogate_to_the_bit(make_rows: Any, options: dict[str, float]) -> None:
    random = torch.Generator().manual_seed(2)
    ratios = torch.exp(0.4 * torch.randn(4, 6, generator=random, dtype=torch.float64)).tolist()
    new, batch = make_rows([*ratios, [None, 1.5, None, 0.5, 1.0, None]], [1.0, -1.0, 0.5, -2.0, 1.0], share=True)
    results = [loss(new, batch) for loss in (TracedSurrogate(decay=0, **options), ClippedSurrogate(**options))]
    assert results[0].total == results[1].total and results[0].metrics == results[1].metrics
    slopes = [torch.autograd.grad(result.total, [new])[0] for result in results]
    assert torch.equal(*slopes)


def test_a_value_far_out_is_finite_in_single_precision_over_a_long_answer(make_rows: Any) -> None:
    new, batch = make_rows([[1.01] * 500, [0.99] * 500], [1.0, -1.0], share=True)
    for both in (False, True):
        result = TracedSurrogate(both=both)(new.detach().float().requires_grad_(), batch)
        assert torch.isfinite(result.total)


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"decay={decay} must lie in \[0, 1\)"):
        TracedSurrogate(decay=decay)
