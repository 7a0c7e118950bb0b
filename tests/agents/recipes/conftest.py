"""An agent of a recipe by name."""

from __future__ import annotations

from typing import Any

import pytest

from g2rpo_env.agents import recipes
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.guided import POPE_PLACE
from g2rpo_env.reveal.assignment import Levels

GUIDED = {"length": 6, "ratio": 0.5}

WHOLE = {"length": 1.0, "unit": "fraction"}
WRAPPERS: dict[str, dict[str, Any]] = {
    "guide": {"length": 0, "place": "prompt"},
    "ghpo": {"length": 0, "place": "prompt"},
    "scaf-grpo": {"length": 0, "place": "prompt"},
    "bread": {**WHOLE, "ratio": 0.5},
    "pope": {**WHOLE, "ratio": 0.5, "place": POPE_PLACE},
    "seele": {**WHOLE, "ratio": 0.5},
    "adaback": {**WHOLE, "ratio": 1.0},
    "r3": {**WHOLE, "ratio": 1.0},
    "uft": {**WHOLE, "ratio": 1.0},
    "prefix-rft": {**WHOLE, "ratio": 0.25},
    "luffy": {**WHOLE, "ratio": 0.25},
    "hint-grpo": {**WHOLE, "ratio": 1.0, "place": "prompt", "who": Levels((0, 1 / 2))},
}
"""Recipe -> arguments of a guidance wrapper that it can be trained on; others take GUIDED."""


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
