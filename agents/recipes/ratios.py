"""Recipes that differ from GRPO in what they make of the ratio of new to old probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.recipe import Recipe

RECIPES: Mapping[str, Callable[[], Recipe]] = {}
