"""g2rpo_env/study/rates.py holds the rates that the committed results choose."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_committed_rates_are_those_of_the_committed_results() -> None:
    path = Path(__file__).parents[2] / "docs" / "write_rates.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.MODULE.read_text(encoding="utf-8") == script.write_module(), "run python docs/write_rates.py"
