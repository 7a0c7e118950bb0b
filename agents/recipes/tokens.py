"""Recipes that give the tokens of an answer different shares of its advantage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.recipe import Recipe

RECIPES: Mapping[str, Callable[[], Recipe]] = {}
