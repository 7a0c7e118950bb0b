"""docs/algorithms-measured.md holds the tables of the committed results."""

from __future__ import annotations

import write_measured


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    assert write_measured.PAGE.read_text(encoding="utf-8") == write_measured.write_page(), (
        "run python docs/write_measured.py"
    )
