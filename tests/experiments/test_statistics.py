"""Interquartile means and their intervals: by hand, against scipy, by coverage; pairs are narrower than two apart."""

import numpy as np
import pytest

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.statistics import Estimate, estimate, estimate_difference, interquartile_mean


def score(rng, accuracy, seeds=3, problems=200):
    """Return a score of one stratum whose runs have these accuracies."""
    accuracy = np.broadcast_to(accuracy, seeds)
    return {"a": rng.random((seeds, problems)) < accuracy[:, None]}


def test_the_interquartile_mean_leaves_out_the_outer_quarters():
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, -7.0])) == 1.5
    assert interquartile_mean(np.array([0.0, 1.0, 5.0])) == 2.0  # a quarter of three is less than one value
    # eight values: two go at either end
    assert interquartile_mean(np.array([0.0, 0, 1, 2, 3, 4, 100, 100])) == 2.5


def test_an_estimate_holds_its_value_and_is_the_mean_of_three_runs():
    right = np.zeros((3, 10), bool)
    right[0, :5] = right[1, :7] = right[2, :3] = True
    one = estimate({"a": right})
    assert one.value == pytest.approx((0.5 + 0.7 + 0.3) / 3)
    assert one.low < one.value < one.high


def test_strata_are_resampled_apart():
    """Runs of one stratum all right, of the other all wrong: mixed they would have one, apart there is none."""
    one = estimate({"a": np.ones((4, 20), bool), "b": np.zeros((4, 20), bool)})
    assert (one.value, one.low, one.high) == (0.5, 0.5, 0.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(200):
        accuracy = rng.normal(0.5, 0.1, size=10)
        one = estimate(score(rng, accuracy, seeds=10, problems=50), repeats=300)
        held.append(one.low <= 0.5 <= one.high)
    assert 0.85 <= np.mean(held) <= 1.0


def test_pairs_of_the_same_seed_take_the_seed_out():
    rng = np.random.default_rng(2)
    one = score(rng, [0.2, 0.5, 0.8])
    other = {"a": one["a"].copy()}
    other["a"][:, :20] = ~one["a"][:, :20]
    equal = estimate_difference(one, one)
    assert (equal.value, equal.low, equal.high) == (0.0, 0.0, 0.0)
    apart, together = estimate(one), estimate_difference(one, other)
    assert together.high - together.low < (apart.high - apart.low) / 2
    assert estimate_difference(other, one).value == -together.value


def test_what_cannot_be_paired_is_refused():
    rng = np.random.default_rng(3)
    with pytest.raises(ConfigurationError, match="equal strata"):
        estimate_difference(score(rng, 0.5, seeds=2), score(rng, 0.5, seeds=3))


def test_where_an_interval_stands():
    assert Estimate(0.2, 0.1, 0.3).standing == "above" and Estimate(-0.2, -0.3, -0.1).standing == "below"
    assert Estimate(0.0, -0.1, 0.1).standing == "not told apart"


def test_estimates_are_reproducible():
    one = score(np.random.default_rng(4), 0.5)
    assert estimate(one) == estimate(one)
