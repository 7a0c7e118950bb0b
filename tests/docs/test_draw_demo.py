"""The picture of README.md shows what its table says."""

import re
from xml.etree import ElementTree

from draw_demo import LABELS, LEFT, PICTURE, README, RIGHT, draw, read_table


def test_the_committed_picture_shows_the_table_of_the_readme() -> None:
    table = read_table(README.read_text(encoding="utf-8"))
    assert list(table) == list(LABELS)
    assert {len(accuracies) for accuracies in table.values()} == {3}
    assert PICTURE.read_text(encoding="utf-8") == draw(table), "the table changed: python docs/draw_demo.py"


def test_rows_of_differences_are_no_accuracies() -> None:
    rows = ["| | seed 0 |", "|---|---|", "| `grpo`, plain | 0.25 |", "| `a` above `b` | +0.42 [0.38, 0.47] |", ""]
    assert read_table("<!-- demo-table -->\n" + "\n".join(rows)) == {"grpo": [0.25]}


def test_dots_and_mean_stand_where_the_accuracies_are() -> None:
    text = draw({name: [0.0, 1.0] for name in LABELS})
    ElementTree.fromstring(text)
    assert re.findall(r'cx="([\d.]+)"', text)[:2] == [f"{LEFT:.1f}", f"{RIGHT:.1f}"]
    assert text.count(f"M{(LEFT + RIGHT) / 2:.1f} ") == len(LABELS)  # the mean of 0 and 1 is in the middle of the axis
    assert text.count(">0.50<") == len(LABELS)
    assert "prefers-color-scheme: dark" in text and "href" not in text
