"""Draw docs/images/demo.svg, the picture of README.md, from the table of README.md that ``make demo-seeds`` printed.

python docs/draw_demo.py
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from statistics import mean

DOCS = Path(__file__).resolve().parent
README, PICTURE = DOCS.parent / "README.md", DOCS / "images" / "demo.svg"

LABELS = {
    "base": "the weak base they all start from",
    "grpo": "plain GRPO",
    "sft": "supervised, on the same revealed tokens",
    "g2rpo-a": "guided GRPO, revealed tokens in the loss",
    "g2rpo-a-masked": "guided GRPO, revealed tokens masked",
}
WIDTH, LEFT, RIGHT, TOP, ROW = 800, 340, 730, 52, 32

STYLE = """
text { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 13px; fill: #1c1f24 }
.title { font-size: 14px; font-weight: 600 } .axis { font-size: 12px; fill: #4a4f58 } .grid { stroke: #d5d8de }
.paper { fill: #ffffff } .seed { fill: #8a8f99 } .mean { stroke: #1c1f24; stroke-width: 2.5 }
.guided .seed { fill: #d9822b } .guided text { font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #eceef2 } .axis { fill: #c3c8d1 } .grid { stroke: #363b44 }
.paper { fill: #14171c } .seed { fill: #9aa0ab } .mean { stroke: #eceef2 } .guided .seed { fill: #f0a04b }
}"""


def read_table(readme: str) -> dict[str, list[float]]:
    """Return the accuracies of each row of the demo's table, one per seed, without the rows of differences."""
    table = readme.partition("<!-- demo-table -->")[2].partition("\n\n**")[0]
    rows = re.findall(r"^\| `?([\w-]+)`?[^|]*((?:\| [01]\.\d+ )+)\|$", table, re.MULTILINE)
    return {name: [float(cell) for cell in cells.split("|")[1:]] for name, cells in rows}


def draw_row(name: str, accuracies: list[float], middle: float) -> list[str]:
    """Return a row: label, a dot per seed, a stroke at their mean and its figure."""
    places = [LEFT + (RIGHT - LEFT) * accuracy for accuracy in accuracies]
    centre = mean(places)
    return [
        f'<g class="{"guided" if name == "g2rpo-a" else "other"}">',
        f'<text x="{LEFT - 12}" y="{middle + 4:.0f}" text-anchor="end">{escape(LABELS[name])}</text>',
        *(f'<circle class="seed" cx="{place:.1f}" cy="{middle:.0f}" r="5.5"/>' for place in places),
        f'<path class="mean" d="M{centre:.1f} {middle - 10:.0f}v20"/>',
        f'<text x="{RIGHT + 14}" y="{middle + 4:.0f}">{mean(accuracies):.2f}</text></g>',
    ]


def draw(accuracies: dict[str, list[float]]) -> str:
    """Return the picture as SVG: a row per way of training, by what it gave without guidance."""
    bottom = TOP + ROW * len(LABELS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 34}" width="{WIDTH}">',
        f"<title>Accuracy without guidance after make demo-seeds</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{bottom + 34}" rx="8"/>',
        '<text class="title" x="16" y="26">Sums of four digits: accuracy without guidance, after 220 updates</text>',
        f'<text class="axis" x="{RIGHT + 14}" y="{TOP - 8}">mean</text>',
    ]
    for tenth in range(0, 11, 2):
        place = LEFT + (RIGHT - LEFT) * tenth / 10
        parts.append(f'<path class="grid" d="M{place:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="axis" x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{tenth / 10}</text>')
    for number, name in enumerate(LABELS):
        parts += draw_row(name, accuracies[name], TOP + ROW * (number + 0.5))
    parts.append(f'<text class="axis" x="16" y="{bottom + 18}">a dot: one seed, 512 new problems</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(read_table(README.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"wrote {PICTURE}")
