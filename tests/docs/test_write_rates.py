"""g2rpo_env/study/rates.py holds the rates that the committed results choose."""

from __future__ import annotations

import write_rates


def test_the_committed_rates_are_those_of_the_committed_results() -> None:
    assert write_rates.MODULE.read_text(encoding="utf-8") == write_rates.write_module(), (
        "run python docs/write_rates.py"
    )
