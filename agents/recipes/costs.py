"""Costs: what an update of a recipe takes beside one of ``grpo``, as ``g2rpo-env bench recipes`` measured it."""

from __future__ import annotations

from collections.abc import Mapping

COSTS: Mapping[str, float] = {}
"""Recipe -> time of an update over that of ``grpo`` on the same episodes, sampling left out."""
