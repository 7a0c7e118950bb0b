"""docs/algorithms-measured.md holds the tables of the committed results."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    path = Path(__file__).parents[2] / "docs" / "write_measured.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.write_page(), "run python docs/write_measured.py"
