"""curves.png: reward, unguided accuracy, reveal length and groups with signal, over the updates of one run or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SMOOTHING = 10
"""Updates that a line of the reward and signal panels averages over; single updates are too noisy to read."""


@dataclass(frozen=True)
class Curves:
    """What one run contributes to the plot: rows as in metrics.jsonl and evaluations.jsonl."""

    metrics: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def plot_curves(runs: Mapping[str, Curves], path: str | Path, title: str = "") -> Path:
    """Write a figure of four panels.

    Args:
        runs: Label -> curves.
        path: Where the PNG goes.
        title: Line above the panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    reward, accuracy, length, signal = figure.subplots(2, 2).flat
    for number, (label, curves) in enumerate(runs.items()):
        color = f"C{number}"
        for axis, key in ((reward, "reward"), (signal, "groups_with_signal")):
            x, y = _series(curves.metrics, key)
            axis.plot(x, y, color=color, alpha=0.2, linewidth=0.8)
            axis.plot(x, _smooth(y), color=color, label=label)
        length.plot(*_series(curves.metrics, "reveal_length"), color=color, label=label)
        x, y = _series(curves.evaluations, "accuracy")
        low, high = np.array([row["interval"] for row in curves.evaluations]).reshape(-1, 2).T
        accuracy.plot(x, y, color=color, marker="o", markersize=3, label=label)
        accuracy.fill_between(x, low, high, color=color, alpha=0.15)
    reward.set_title(f"reward (mean success in training, guided members included; mean of {SMOOTHING} updates)")
    accuracy.set_title("unguided accuracy, greedy, 95 % interval")
    length.set_title("reveal length")
    signal.set_title(f"share of groups with signal (mean of {SMOOTHING} updates)")
    for axis in (reward, accuracy, length, signal):
        axis.set_xlabel("update")
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)
    figure.suptitle(title)
    path = Path(path)
    figure.savefig(path, dpi=110)
    return path


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    known = [(row["update"], row[key]) for row in rows if row.get(key) is not None]
    x, y = np.array(known, dtype=float).reshape(-1, 2).T
    return x, y


def _smooth(y: np.ndarray) -> np.ndarray:
    """Return the mean of each value and up to SMOOTHING - 1 before it."""
    total = np.cumsum(np.insert(y, 0, 0.0))
    end = np.arange(1, len(y) + 1)
    begin = np.maximum(end - SMOOTHING, 0)
    return (total[end] - total[begin]) / (end - begin)
