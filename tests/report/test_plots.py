"""The plot: a readable PNG of whatever a run has, also when it has next to nothing."""

import numpy as np
import pytest

from g2rpo_env.report.plots import SMOOTHING, Curves, _over_tokens, _series, _smooth, plot_comparison, plot_curves

METRICS = [{"update": n, "reward": 0.1 * n, "groups_with_signal": 0.5, "reveal_length": 8.0} for n in range(1, 6)]
EVALUATIONS = [{"update": 5, "accuracy": 0.5, "interval": [0.4, 0.6]}]


@pytest.mark.parametrize(
    "curves", [Curves(METRICS, EVALUATIONS), Curves(METRICS), Curves(()), Curves([{"update": 1, "reward": None}])]
)
def test_the_figure_is_written(tmp_path, curves):
    path = plot_curves({"run": curves, "other": Curves(METRICS)}, tmp_path / "curves.png", "title")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size > 10_000


def test_the_comparison_draws_accuracy_over_tokens_and_what_samples_nothing_as_a_level(tmp_path):
    def run(*accuracies, tokens=100):
        metrics = [{"update": n + 1, "sampled_tokens": tokens} for n in range(2)]
        evaluations = [{"update": n, "accuracy": a, "interval": [a, a]} for n, a in enumerate(accuracies)]
        return Curves(metrics, evaluations)

    x, y = _over_tokens(run(0.1, 0.2, 0.3))
    assert x.tolist() == [0, 100, 200] and y.tolist() == [0.1, 0.2, 0.3]
    runs = {"grpo": [run(0.1, 0.2), run(0.2, 0.4)], "sft": [run(0.1, 0.5, tokens=0)]}
    path = plot_comparison(runs, tmp_path / "comparison.png", "title")
    assert path.stat().st_size > 10_000


def test_values_that_are_not_known_are_left_out():
    x, y = _series([{"update": 1, "reward": None}, {"update": 2, "reward": 0.5}, {"update": 3}], "reward")
    assert x.tolist() == [2] and y.tolist() == [0.5]


def test_a_value_is_averaged_with_those_before_it():
    # SMOOTHING = 10: the 12th value is the mean of values 3 to 12, (3 + 12) / 2 = 7.5; the 2nd of 1 and 2
    y = _smooth(np.arange(1.0, 13.0))
    assert SMOOTHING == 10
    assert y[1] == pytest.approx(1.5) and y[11] == pytest.approx(7.5)
