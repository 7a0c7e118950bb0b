"""Caps, gates and masks: values and slopes derived by hand, and what each of them leaves alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.agents.parts.losses.soft import (
    CappedWeights,
    DivergenceMask,
    GammaWeights,
    SoftGate,
    binary_divergence,
    gamma_weight,
    soft_gate,
)
from g2rpo_env.errors import ConfigurationError


def to_log(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


# -- CISPO ------------------------------------------------------------------------------------------------------------


def test_capped_weights_by_hand(make_rows: Any, slopes_of: Any) -> None:
    # Slope -min(r, 5) A: r 7 -> -5 A, r 0.5 -> -0.5 A, for both signs of A. The value: times log pi = log(0.1 r).
    rows = make_rows([[7.0, 0.5], [7.0, 0.5]], [1.0, -2.0], old=0.1)
    assert slopes_of(CappedWeights(), *rows) == [pytest.approx([-5, -0.5]), pytest.approx([10, 1])]
    result = CappedWeights()(*rows)
    expected = (-5 + 10) * math.log(0.7) + (-0.5 + 1) * math.log(0.05)
    assert result.total.item() == pytest.approx(expected)
    assert result.metrics["clip_fraction"].item() == 2  # capped, though they have a gradient


def test_a_lower_cap_bounds_weights_from_below(make_rows: Any, slopes_of: Any) -> None:
    rows = make_rows([[0.5, 1.0, 1.5]], [1.0])
    assert slopes_of(CappedWeights(high=1.2, low=0.8), *rows) == [pytest.approx([-0.8, -1, -1.2])]
    assert CappedWeights(high=1.2, low=0.8)(*rows).metrics["clip_fraction"].item() == 2


# -- SAPO -------------------------------------------------------------------------------------------------------------


def test_the_gate_by_hand(make_rows: Any, slopes_of: Any) -> None:
    # At r = 1: -(4 / tau) / 2 A = -2.0 for A = 1, tau 1; +2 / 1.05 = 1.905 for A = -1. Slopes -A for both.
    rows = make_rows([[1.0], [1.0]], [1.0, -1.0])
    assert SoftGate()(*rows).total.item() == pytest.approx(-2 + 2 / 1.05)
    assert slopes_of(SoftGate(), *rows) == [pytest.approx([-1]), pytest.approx([1])]
    # r = 2, A = 1: -4 sigma(1), slope -4 sigma(1) (1 - sigma(1)) r = -4 * 0.7310586 * 0.2689414 * 2 = -1.5728955
    one = make_rows([[2.0]], [1.0])
    assert SoftGate()(*one).total.item() == pytest.approx(-4 * 0.7310586, rel=1e-6)
    assert slopes_of(SoftGate(), *one) == [pytest.approx([-1.5728955], rel=1e-6)]


def test_the_gradient_of_the_gate_is_numeric() -> None:
    new = torch.linspace(-2, 1, 8, dtype=torch.float64).requires_grad_()
    old, advantage = torch.full((8,), -0.7, dtype=torch.float64), torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: soft_gate(x, old, advantage, 1.0, 1.05), (new,))


def test_the_gate_is_shut_and_finite_far_out(make_rows: Any, slopes_of: Any) -> None:
    new, batch = make_rows([[1.0], [1.0]], [1.0, -1.0])
    far = (new + 200.0).detach().requires_grad_()  # a ratio of e^200
    assert slopes_of(SoftGate(), far, batch) == [[0], [0]]


# -- VESPO ------------------------------------------------------------------------------------------------------------


def test_gamma_weights_by_hand() -> None:
    # phi(1) = 1. A > 0 (k 2, lambda 3), w 2/3: (2/3)^2 e = 1.2081. A < 0 (k 3, lambda 2), w 3/2: (3/2)^3 / e = 1.2416.
    two, three = torch.tensor(2.0, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
    assert gamma_weight(torch.zeros(1, dtype=torch.float64), two, three).item() == 1
    assert (
        gamma_weight(to_log(2 / 3), two, three).item() == pytest.approx(4 / 9 * math.e) == pytest.approx(1.2081, 1e-4)
    )
    assert gamma_weight(to_log(1.5), three, two).item() == pytest.approx(27 / 8 / math.e) == pytest.approx(1.2416, 1e-4)


@given(st.floats(0.2, 5), st.floats(0.2, 5), st.floats(-3, 3))
@settings(max_examples=50, deadline=None)
def test_phi_is_largest_at_k_by_lambda(k: float, decay: float, shift: float) -> None:
    at = torch.tensor([math.log(k / decay), math.log(k / decay) + shift], dtype=torch.float64)
    top, other = gamma_weight(at, torch.tensor(k), torch.tensor(decay)).tolist()
    assert other <= top * (1 + 1e-9)


def test_the_weight_of_an_answer_is_the_product_of_its_ratios(make_rows: Any, slopes_of: Any) -> None:
    # Row 1: 4/3 * 1/2 = 2/3, A = 1: every token -1.2081. Row 2: 3 * 1/2 = 3/2, A = -2: 2 * 1.2416; None is no factor.
    rows = make_rows([[4 / 3, 0.5], [3.0, None, 0.5]], [1.0, -2.0])
    found = slopes_of(GammaWeights(), *rows)
    assert found[0] == pytest.approx([-4 / 9 * math.e] * 2 + [0])
    assert found[1] == pytest.approx([27 / 4 / math.e, 0, 27 / 4 / math.e])


def test_extreme_products_are_bounded(make_rows: Any, slopes_of: Any) -> None:
    # log w is at most 20: phi = exp(3 + 40 - 3 e^20) = 0. At least log 1e-8: phi = 1e-16 e^3 for A > 0.
    rows = make_rows([[math.exp(30)] * 3, [math.exp(-30)] * 3], [1.0, 1.0], old=1e-20)
    found = slopes_of(GammaWeights(), *rows)
    assert found[0] == [0, 0, 0] and found[1] == pytest.approx([-1e-16 * math.exp(3 - 3e-8)] * 3)


# -- DPPO -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "old,new,advantage,masked",
    [
        (0.5, 0.75, 1.0, True),  # moved by 0.25 the way it would be pushed
        (0.5, 0.65, 1.0, False),  # by 0.15 only
        (0.5, 0.25, 1.0, False),  # the other way: the push brings it back
        (0.5, 0.25, -1.0, True),
        (0.5, 0.75, -1.0, False),
        (0.001, 0.01, 1.0, False),  # a ratio of 10, which PPO clips
    ],
)
def test_divergence_masks_by_hand(
    make_rows: Any, slopes_of: Any, old: float, new: float, advantage: float, masked: bool
) -> None:
    rows = make_rows([[new / old]], [advantage], old=old)
    slope = 0 if masked else -new / old * advantage
    assert slopes_of(DivergenceMask(), *rows) == [pytest.approx([slope])]
    result = DivergenceMask()(*rows)
    assert result.metrics["clip_fraction"].item() == masked
    assert result.total.item() == pytest.approx(slope * math.log(new))


def test_the_two_bounds_are_independent_and_a_cap_bounds_the_weight(make_rows: Any, slopes_of: Any) -> None:
    rows = make_rows([[1.5], [0.5]], [1.0, -1.0], old=0.5)  # both moved by 0.25
    assert slopes_of(DivergenceMask(low=0.3), *rows) == [[0], pytest.approx([0.5])]
    assert slopes_of(DivergenceMask(high=0.3), *rows) == [pytest.approx([-1.5]), [0]]
    assert slopes_of(DivergenceMask(high=0.3, cap=1.1), *rows)[0] == pytest.approx([-1.1])


def test_divergences_by_hand() -> None:
    # q 0.5, p 0.25: tv 0.25; kl 0.5 log 2 + 0.5 log(0.5 / 0.75) = 0.5 log(4/3) = 0.143841
    new, old = to_log(0.25), to_log(0.5)
    assert binary_divergence(new, old, "tv").item() == pytest.approx(0.25)
    assert binary_divergence(new, old, "kl").item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)
    # Sure tokens: q 1, p 0.5: 1 log 2 + 0. p 1, q 0.5: bounded by the 1e-8.
    assert binary_divergence(to_log(0.5), to_log(1.0), "kl").item() == pytest.approx(math.log(2))
    assert binary_divergence(to_log(1.0), to_log(0.5), "kl").item() == pytest.approx(
        -0.5 * math.log(2) + 0.5 * math.log(0.5 / 1e-8), rel=1e-5
    )


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_the_binary_kl_is_that_of_two_coins_and_bounds_the_distance(p: float, q: float) -> None:
    kl = binary_divergence(to_log(p), to_log(q), "kl").item()
    exact = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert kl == pytest.approx(exact, abs=2e-6)
    assert 2 * binary_divergence(to_log(p), to_log(q), "tv").item() ** 2 <= kl + 2e-6  # Pinsker


def test_kl_masks_by_its_own_bound(make_rows: Any) -> None:
    rows = make_rows([[0.5]], [-1.0], old=0.5)  # kl 0.1438
    found = [DivergenceMask(low=low, divergence="kl")(*rows).metrics["clip_fraction"].item() for low in (0.14, 0.15)]
    assert found == [1, 0]


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind,options,words",
    [
        (CappedWeights, {"high": 0}, "high=0 must be above 0"),
        (CappedWeights, {"low": 6.0}, r"low=6.0 must be None or lie in \[0, high=5.0\]"),
        (SoftGate, {"positive": 0}, "positive=0 must be finite and above 0"),
        (SoftGate, {"negative": math.nan}, "negative=nan must be finite and above 0"),
        (SoftGate, {"positive": math.inf}, "positive=inf must be finite and above 0"),
        (GammaWeights, {"k_positive": -1}, "k_positive=-1 must be finite and above 0"),
        (GammaWeights, {"lambda_negative": 0}, "lambda_negative=0 must be finite and above 0"),
        (
            GammaWeights,
            {"lambda_positive": 1e9},
            r"k_positive=2.0 and lambda_positive=1000000000.0 must give no weight",
        ),
        (GammaWeights, {"k_negative": 1e9}, "k_negative=1000000000.0 and lambda_negative=2.0 must give no weight"),
        (DivergenceMask, {"low": -0.1}, "low=-0.1 must be at least 0"),
        (DivergenceMask, {"high": math.nan}, "high=nan must be at least 0"),
        (DivergenceMask, {"divergence": "js"}, "divergence='js' must be one of tv, kl"),
        (DivergenceMask, {"cap": 0.0}, "cap=0.0 must be None or above 0"),
    ],
)
def test_bad_options_are_named(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)
