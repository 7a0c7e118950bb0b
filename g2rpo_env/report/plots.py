"""curves.png: reward, unguided accuracy, reveal length and groups with signal, over the updates of one run or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from g2rpo_env.agents.response import ResponsePoint

SMOOTHING = 10
"""Updates that a line of the reward and signal panels averages over; single updates are too noisy to read."""


@dataclass(frozen=True)
class Curves:
    """Data of one run for the plots.

    Attributes:
        metrics: Rows as in metrics.jsonl.
        evaluations: Rows as in evaluations.jsonl.
    """

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


def plot_comparison(runs: Mapping[str, Sequence[Curves]], path: str | Path, title: str = "") -> Path:
    """Write one panel: unguided accuracy over sampled tokens, the mean of the seeds and their range.

    An algorithm that samples nothing is a dashed line at its last accuracy.

    Args:
        runs: Label -> curves, one per seed, each with at least one evaluation.
        path: Where the PNG goes.
        title: Line above the panel.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for number, (label, seeds) in enumerate(runs.items()):
        color, lines = f"C{number}", [_over_tokens(curves) for curves in seeds]
        end = min(tokens[-1] for tokens, _ in lines)
        if end == 0:
            axis.axhline(float(np.mean([y[-1] for _, y in lines])), color=color, linestyle="--", label=label)
            continue
        x = np.linspace(0, end, 50)
        y = np.array([np.interp(x, *line) for line in lines])
        axis.plot(x, y.mean(axis=0), color=color, label=label)
        axis.fill_between(x, y.min(axis=0), y.max(axis=0), color=color, alpha=0.15)
    axis.set_title("unguided accuracy, greedy, validation problems: mean and range of the seeds", fontsize=9)
    axis.set_xlabel("sampled tokens")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.suptitle(title)
    path = Path(path)
    figure.savefig(path, dpi=110)
    return path


def plot_response(curves: Mapping[str, Sequence[ResponsePoint]], path: str | Path, title: str = "") -> Path:
    """Write one panel: sampled success over the revealed share, with intervals; dashed is what was merely copied.

    Args:
        curves: Label -> points of :func:`g2rpo_env.agents.guidance_response`.
        path: Where the PNG goes.
        title: Line above the panel.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    lines = [(label, cap) for label, points in curves.items() for cap in dict.fromkeys(p.reveal_cap for p in points)]
    for number, (label, cap) in enumerate(lines):
        points = [point for point in curves[label] if point.reveal_cap == cap]
        x, y = ([getattr(point, name) for point in points] for name in ("fraction", "success"))
        low, high = np.array([point.interval for point in points]).T
        axis.plot(x, y, color=f"C{number}", marker="o", markersize=3, label=f"{label}, {cap}")
        axis.fill_between(x, low, high, color=f"C{number}", alpha=0.15)
        axis.plot(x, [point.correct_copied for point in points], color=f"C{number}", linestyle="--", linewidth=0.8)
    axis.set_title("sampled success, 95 % interval; dashed: right answers that stand in the revealed text", fontsize=9)
    axis.set_xlabel("revealed share of what may be revealed")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.suptitle(title)
    path = Path(path)
    figure.savefig(path, dpi=110)
    return path


def _over_tokens(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Return the sampled tokens before each evaluation, and its accuracy."""
    total = np.cumsum([0, *(row["sampled_tokens"] for row in curves.metrics)])
    x = [total[row["update"]] for row in curves.evaluations]
    return np.array(x, float), np.array([row["accuracy"] for row in curves.evaluations], float)


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
