"""An agent of a recipe by name."""

from __future__ import annotations

from typing import Any

import pytest

from g2rpo_env.agents import recipes
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.guides import WRAPPERS

GUIDED = {"length": 6, "ratio": 0.5}


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, guidance, ...) -> an agent on 16 lanes whose random policy is right half of the time."""

    def make(name: str, guidance: Any = "fitting", **parts: Any) -> Any:
        guidance = WRAPPERS.get(name, GUIDED) if guidance == "fitting" else guidance
        task = {"verifier": parts.pop("verifier", None), "digits": parts.pop("digits", 1)}
        envs = make_envs(16, 4, **task, guidance=guidance)
        parts.setdefault("optimizer", Optimizer(learning_rate=1e-2))
        return recipes.make(name, make_policy(envs), envs, **parts)

    return make
