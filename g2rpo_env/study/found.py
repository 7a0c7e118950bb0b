"""Found: the results of a claim's runs, asked for by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.experiments.statistics import UNKNOWN, Estimate, Score, estimate, estimate_difference
from g2rpo_env.study.grounds import GRID, SFT, Ground, TableRow, get_grpo_label
from g2rpo_env.study.runs import unpack_answers

PLAIN = "grpo"
"""Label of plain GRPO where its learning rate was chosen on other seeds."""


@dataclass(frozen=True)
class Part:
    """A claim on one ground.

    Attributes:
        ground: The ground.
        rows: Its rows.
    """

    ground: Ground
    rows: tuple[TableRow, ...]


@dataclass
class Found:
    """Results of the runs of one part, as far as they are done.

    Attributes:
        part: The part.
        results: Key of a run -> its result.
    """

    part: Part
    results: Mapping[str, Mapping[str, Any]]
    _kept: dict[Any, Estimate] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> list[str]:
        """Labels of all rows, in order."""
        return [row.label for row in self.part.rows]

    @property
    def missing(self) -> int:
        """Number of runs that are not done."""
        return len({run.key for row in self.part.rows for run in row.runs} - set(self.results))

    def row(self, label: str) -> TableRow:
        """Return the row of a label."""
        return next(row for row in self.part.rows if row.label == label)

    def series(self, name: str) -> list[TableRow]:
        """Return the rows of a line, in the order of their places."""
        rows = [row for row in self.part.rows if row.series == name]
        return sorted(rows, key=lambda row: row.x or 0.0)

    def of(self, label: str) -> dict[int, Mapping[str, Any]]:
        """Return seed -> result of a row, as far as they are done; none of a row that there is not."""
        runs = [run for row in self.part.rows if row.label == label for run in row.runs]
        found = {run.setting.seed: self.results.get(run.key) for run in runs}
        return {seed: result for seed, result in found.items() if result is not None}

    def score(self, labels: Sequence[str], seeds: Sequence[int] | None = None) -> Score:
        """Return the score of rows, one stratum each; see :mod:`g2rpo_env.experiments.statistics`."""
        score = {}
        for number, label in enumerate(labels):
            chosen = [result for seed, result in self.of(label).items() if seeds is None or seed in seeds]
            if chosen:
                score[str(number)] = np.array([unpack_answers(one["answers"], one["problems"]) for one in chosen])
        return score

    def accuracy(self, *labels: str) -> Estimate:
        """Return the interquartile mean of the accuracies of all runs of some rows."""
        key = labels
        if key not in self._kept:
            score = self.score(labels)
            self._kept[key] = estimate(score) if score else UNKNOWN
        return self._kept[key]

    def above(self, labels: str | Sequence[str], other: str) -> Estimate:
        """Return accuracy of rows minus accuracy of one other, paired by seed, over the seeds that all have."""
        labels = (labels,) if isinstance(labels, str) else tuple(labels)
        key = (labels, other)
        if key not in self._kept:
            seeds = set.intersection(*(set(self.of(label)) for label in (*labels, other)))
            one, two = self.score(labels, sorted(seeds)), self.score([other] * len(labels), sorted(seeds))
            self._kept[key] = estimate_difference(one, two) if one else UNKNOWN
        return self._kept[key]

    def mean(self, label: str, number: str) -> float:
        """Return the mean over the seeds of a number of the results, such as ``sampled_tokens``; NaN without any."""
        values = [result[number] for result in self.of(label).values() if result.get(number) is not None]
        return float(np.mean(values)) if values else float("nan")

    def curve(self, label: str, name: str) -> np.ndarray:
        """Return the mean over the seeds of a thinned curve, float (BINS,), NaN where it has no value."""
        curves = [r["curves"][name] for r in self.of(label).values() if name in r.get("curves", {})]
        if not curves:
            return np.full(1, np.nan)
        length = min(map(len, curves))
        values = np.array([curve[:length] for curve in curves], dtype=float)
        known = ~np.isnan(values)
        return np.where(known.any(axis=0), np.nansum(values, axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)

    def share_curve(self, label: str, points: np.ndarray) -> np.ndarray:
        """Return the validation accuracy at shares of the budget, the mean of the seeds, float (len(points),)."""
        lines = []
        for result in self.of(label).values():
            if result.get("curve"):
                update, _, accuracy = np.array(result["curve"], float).T
                lines.append(np.interp(points, update / update[-1], accuracy))
        return np.mean(lines, axis=0) if lines else np.full(len(points), np.nan)

    def half_time(self, label: str) -> float:
        """Return the sampled tokens until half of the final validation accuracy, the mean of the seeds.

        Final is the mean of the last three evaluations; tokens are interpolated between evaluations.
        """
        found = []
        for result in self.of(label).values():
            _, tokens, accuracy = np.array(result["curve"], float).T
            half = accuracy[-3:].mean() / 2
            first = int(np.argmax(accuracy >= half))
            if first == 0:
                found.append(0.0)
            else:
                found.append(float(np.interp(half, accuracy[first - 1 : first + 1], tokens[first - 1 : first + 1])))
        return float(np.mean(found)) if found else float("nan")

    def best(self, labels: Sequence[str]) -> str:
        """Return the label of the greatest accuracy among those that have some result."""
        known = [label for label in labels if self.of(label)]
        return max(known or labels, key=lambda label: self.accuracy(label).value if known else 0.0)

    @property
    def grpo(self) -> str:
        """Label of plain GRPO at the learning rate that did best here, or that was chosen elsewhere."""
        if PLAIN in self.labels:
            return PLAIN
        grid = [get_grpo_label(self.part.ground, multiple) for multiple in GRID]
        return self.best([label for label in grid if label in self.labels] or grid[:1])

    @property
    def sft(self) -> str:
        """Label of supervised training, at the learning rate that did best here where there are several."""
        rates = [label for label in self.labels if label == SFT or label.startswith(f"{SFT} ")]
        return self.best(rates or [SFT])
