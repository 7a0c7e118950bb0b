"""Recipes whose rollouts have several stages or another context than the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.recipe import Recipe

RECIPES: Mapping[str, Callable[[], Recipe]] = {}
