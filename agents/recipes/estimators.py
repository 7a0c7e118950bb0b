"""Recipes that differ from GRPO in how rewards become advantages, or in which answers are learnt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.recipe import Recipe

RECIPES: Mapping[str, Callable[[], Recipe]] = {}
