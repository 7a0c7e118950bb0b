"""Recipes whose loss or whose selection looks at whole groups: discriminative losses, preferences, subsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.recipe import Recipe

RECIPES: Mapping[str, Callable[[], Recipe]] = {}
