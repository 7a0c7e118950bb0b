"""The guided form of recipes: equal to the recipes it contains, and refused where it has no meaning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from g2rpo_env import FixedGuidance, SelfTuning
from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.strategies import Refine, Resampled, Rollout
from g2rpo_env.agents.parts.token_weights.means import SequenceMean
from g2rpo_env.errors import ConfigurationError


def test_guided_grpo_is_the_recipe_of_that_name() -> None:
    controller = recipes.get("g2rpo-a").controller
    assert recipes.guided("grpo", controller=controller) == recipes.get("g2rpo-a")
    assert recipes.guided("grpo", revealed=False, controller=controller) == recipes.get("g2rpo-a-masked")
    assert recipes.guided(recipes.get("grpo")).controller == SelfTuning()
    assert recipes.guided("grpo", "positive").token_weight == SequenceMean(revealed=True, which="positive")


@pytest.mark.parametrize("revealed", [True, False, "positive"])
def test_without_a_reveal_it_is_the_plain_recipe_bit_for_bit(
    make_agent: Any, weights_of: Any, same_weights: Any, revealed: bool | str
) -> None:
    guided = recipes.guided("reinforce", revealed, FixedGuidance(0.0))
    one = make_agent("reinforce", guidance=None)
    other = make_agent(
        "reinforce", guidance={"length": 0, "ratio": 0.5}, **vars(replace(guided, optimizer=one.recipe.optimizer))
    )
    one.learn(2), other.learn(2)
    assert same_weights(weights_of(one.policy), weights_of(other.policy))


@dataclass(frozen=True)
class Chosen(Rollout):
    """A strategy that begins answers from what it chooses."""

    takes_guidance = False


@dataclass(frozen=True)
class Silent(Rollout):
    """A strategy that samples nothing."""

    samples = False


@dataclass(frozen=True)
class Whole(SetLoss):
    """A loss of whole groups."""

    def scores(self, log_probs_NT: Any, batch: Any) -> Any:
        return log_probs_NT.sum(-1, keepdim=True)

    def objective(self, score_NK: Any, batch: Any) -> Any:
        return score_NK.sum(), {}


@dataclass(frozen=True)
class Flat:
    """A token weight without options."""

    def __call__(self, episode: Any) -> np.ndarray:
        return np.ones(len(episode.tokens_T), np.float32)


@pytest.mark.parametrize(
    "recipe,options,words",
    [
        ("g2rpo-a", {}, "controller=AdaptiveGuidance.* is guided already"),
        ("sft", {"controller": FixedGuidance(2)}, "strategy=RevealOnly.* is guided already"),
        ("sft", {}, "strategy=RevealOnly.* is guided already"),
        (replace(recipes.get("grpo"), strategy=Silent()), {}, "controller=SelfTuning follows success"),
        ("grpo", {"revealed": "negative"}, "revealed='negative' must be True, False or 'positive'"),
        (replace(recipes.get("grpo"), strategy=Chosen()), {}, "strategy=Chosen begins answers from what it chooses"),
        ("igrpo", {}, "strategy=Refine begins answers from what it chooses"),
        (replace(recipes.get("grpo"), strategy=Resampled(Refine())), {}, "strategy=Resampled begins answers"),
        (replace(recipes.get("grpo"), loss=Whole()), {}, "revealed=True must be False with loss=Whole"),
        (replace(recipes.get("grpo"), token_weight=Flat()), {}, "revealed=True must be False with token_weight=Flat"),
    ],
)
def test_what_cannot_be_guided_is_refused_with_the_rule(recipe: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        recipes.guided(recipe, **options)


def test_without_drafts_there_is_nothing_that_guidance_could_not_stand_in_front_of() -> None:
    recipe = replace(recipes.get("igrpo"), strategy=Resampled(Refine(drafts=0)))
    assert recipes.guided(recipe).strategy == recipe.strategy


def test_what_has_no_place_for_revealed_tokens_is_guided_without_them() -> None:
    grpo = recipes.get("grpo")
    for recipe in (replace(grpo, loss=Whole()), replace(grpo, token_weight=Flat())):
        assert recipes.guided(recipe, revealed=False) == replace(recipe, controller=SelfTuning())
