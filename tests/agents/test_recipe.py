"""Recipe: its plain-data form, and options of the optimiser that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from g2rpo_env import AdaptiveGuidance, OfficialCadence, TargetSuccess
from g2rpo_env.agents import Recipe
from g2rpo_env.agents.parts.advantages.groups import GroupCentered
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.parts.shaping.rewards import TruncationPenalty
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.controllers.schedules import Replay
from g2rpo_env.errors import ConfigurationError


@pytest.mark.parametrize(
    "part",
    [
        {"controller": Replay(lengths=(5, 4, 3))},
        {"controller": AdaptiveGuidance(30, window=3, max_factor=None, max_length=None)},
        {"controller": OfficialCadence(12, source="guided")},
        {"controller": TargetSuccess(12, target=0.4)},
        {"reference": KLToStart(0.2)},
        {"loss": ClippedSurrogate(0.1, 0.28)},
        {"shaping": TruncationPenalty(0.3)},
        {"selection": DropUniform(), "advantage": GroupCentered(), "token_weight": TokenMean(revealed=True)},
        {"optimizer": Optimizer(1e-4, warmup=3, epochs=2, minibatch=8, microbatch=2)},
    ],
    ids=lambda part: "-".join(part),
)
def test_every_part_survives_json(part: dict[str, Any]) -> None:
    recipe = Recipe(**part)
    assert Recipe.from_config(json.loads(json.dumps(recipe.to_config()))) == recipe != Recipe()


@pytest.mark.parametrize(
    "options,words",
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm=0.0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"decay_tokens": 0}, "decay_tokens=0"),
        ({"decay": 10, "decay_tokens": 10}, "decay=10 and decay_tokens=10"),
        ({"epochs": 0}, "epochs=0"),
        ({"minibatch": 0}, "minibatch=0"),
        ({"microbatch": 0}, "microbatch=0"),
        ({"microbatch_tokens": 0}, "microbatch_tokens=0"),
    ],
)
def test_optimiser_options_that_break_their_rule_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Optimizer(**options)
