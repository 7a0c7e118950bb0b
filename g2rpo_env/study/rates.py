"""Learning rates of the table of all recipes, as ``g2rpo-env study recipe-rates`` chose them on the trial seed."""

from __future__ import annotations

from collections.abc import Mapping

RATES: Mapping[str, Mapping[str, float]] = {}
"""Part of the table -> label of a row -> learning rate."""
