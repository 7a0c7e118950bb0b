"""Pictures: one small PNG per part of a claim, made of the panels that the claim asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from g2rpo_env.study.claims import Claim
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import BASE, GUIDED, MASKED, SFT

STYLES = (":", "-.", "--", "-")
"""Lines of one series, by the place of a row on it."""

Panel = Callable[[Any, Found, Claim], None]


def draw(claim: Claim, found: Found, path: Path) -> Path:
    """Write the picture of a part.

    Args:
        claim: The claim.
        found: Results of the part, at least one per row that is drawn.
        path: Where the PNG goes.
    """
    from matplotlib.figure import Figure

    height = max(3.8, 0.17 * len(found.labels)) if "bars" in claim.plots else 3.8
    figure = Figure(figsize=(6.2 * len(claim.plots), height), layout="constrained")
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(claim.plots))), claim.plots, strict=True):
        PANELS[name](axis, found, claim)
    figure.suptitle(found.part.ground.name, fontsize=10)
    figure.savefig(path, dpi=80)
    return path


def _get_series(found: Found) -> list[str]:
    """Return the series of a part; the place of one is its colour in every panel."""
    return list(dict.fromkeys(row.series for row in found.part.rows if row.x is not None))


def _draw_lines(axis: Any, found: Found, claim: Claim) -> None:
    """Draw final accuracy by place, one line per series, and the references as level lines."""
    for number, name in enumerate(_get_series(found)):
        rows = [row for row in found.series(name) if found.of(row.label)]
        estimates = [found.accuracy(row.label) for row in rows]
        x, y = [row.x or 0.0 for row in rows], [one.value for one in estimates]
        error = [[one.value - one.low for one in estimates], [one.high - one.value for one in estimates]]
        axis.errorbar(x, y, np.abs(error), color=f"C{number}", marker="o", markersize=3, capsize=2, label=name)
    for label, style in ((found.grpo, "--"), (SFT, ":"), (BASE, "-.")):
        if label in found.labels and found.of(label):
            axis.axhline(found.accuracy(label).value, color="black", linestyle=style, linewidth=0.9, label=label)
    axis.set_xlabel(claim.x)
    _label_accuracy(axis)


def _draw_bars(axis: Any, found: Found, claim: Claim) -> None:
    """Draw the final accuracy of every row with its interval."""
    labels = [label for label in found.labels if found.of(label)]
    for place, label in enumerate(reversed(labels)):
        one = found.accuracy(label)
        error = np.abs([[one.value - one.low], [one.high - one.value]])
        axis.barh(place, one.value, xerr=error, color="C0" if label.startswith(GUIDED) else "C7", height=0.7, capsize=2)
    axis.set_yticks(range(len(labels)), list(reversed(labels)), fontsize=6)
    axis.set_title("unguided accuracy, 95 % interval", fontsize=9)


def _make_curve_panel(name: str, title: str) -> Panel:
    """Return a panel of a curve over the budget, one line per row that has a place, else the main references."""

    def panel(axis: Any, found: Found, claim: Claim) -> None:
        rows = [row for row in found.part.rows if row.x is not None]
        if len(rows) > 6:  # too many to read: the schedules are known without a picture
            rows = [row for row in rows if not row.series.startswith(("fixed", "linear", "cosine"))]
        rows = rows or [found.row(label) for label in (found.grpo, GUIDED, MASKED) if label in found.labels]
        names = _get_series(found)
        several = 1 < len({row.series for row in rows}) < len(rows)  # then a colour per series, else one per row
        for number, row in enumerate(rows):
            label = row.label
            if not found.of(label):
                continue
            place = [one.label for one in rows if one.series == row.series].index(label)
            color, style = (names.index(row.series), STYLES[place % 4]) if several else (number, "-")
            if name == "accuracy":
                x = np.linspace(0, 1, 25)
                y = found.share_curve(label, x)
            else:
                y = found.curve(label, name)
                x = np.linspace(0, 1, len(y))
            axis.plot(x, y, color=f"C{color % 10}", linestyle=style, linewidth=1.2, label=label)
        axis.set_xlabel("share of the budget")
        axis.set_title(title, fontsize=9)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        _add_legend(axis)

    return panel


def _draw_heat_map(axis: Any, found: Found, claim: Claim) -> None:
    """Draw the share of right answers of each group over training, plain GRPO above, guided below, groups sorted."""
    blocks = []
    for label in (found.grpo, GUIDED):
        results = found.of(label)
        if results:
            solved = np.array(next(iter(results.values()))["solved"], float)
            blocks.append(np.sort(solved, axis=1)[:, ::-1].T / found.part.ground.family.group_size)
    if not blocks:
        return
    width = min(block.shape[1] for block in blocks)
    gap = np.full((1, width), np.nan)
    image = axis.imshow(
        np.vstack([blocks[0][:, :width], gap, blocks[-1][:, :width]]), aspect="auto", vmin=0, vmax=1, cmap="viridis",
        extent=(0, 1, 2 * len(blocks[0]) + 1, 0),
    )  # fmt: skip
    axis.figure.colorbar(image, ax=axis, label="share of right answers")
    axis.set_yticks([len(blocks[0]) / 2, 1.5 * len(blocks[0]) + 1], ["grpo", GUIDED])
    axis.set_xlabel("share of the budget")
    axis.set_title("groups of an update, sorted", fontsize=9)


def _label_accuracy(axis: Any) -> None:
    axis.set_title("unguided accuracy, 95 % interval", fontsize=9)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    _add_legend(axis)


def _add_legend(axis: Any) -> None:
    """Name the lines beside the panel, where they cover none."""
    axis.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3, frameon=False)


PANELS: dict[str, Panel] = {
    "lines": _draw_lines,
    "bars": _draw_bars,
    "heat map": _draw_heat_map,
    "accuracy": _make_curve_panel("accuracy", "unguided accuracy on validation problems"),
    "reveal_length": _make_curve_panel("reveal_length", "reveal length"),
    "advantage_std": _make_curve_panel("advantage_std", "standard deviation of the advantages"),
    "groups_with_signal": _make_curve_panel("groups_with_signal", "share of groups with signal"),
}
"""Name -> function that draws it."""
