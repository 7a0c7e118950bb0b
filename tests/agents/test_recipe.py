"""Recipe: its plain-data form, and options of the optimiser that are refused."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from typing import Any

import numpy as np
import pytest

from g2rpo_env import AdaptiveGuidance, OfficialCadence, TargetSuccess
from g2rpo_env.agents import Recipe, parts
from g2rpo_env.agents.parts.advantages.groups import GroupCentered
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward, TruncationPenalty
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.parts.token_weights.revealed import TopEntropy
from g2rpo_env.agents.recipe import MODULES, Optimizer, part_to_config, warn_of_unfindable
from g2rpo_env.controllers.schedules import Replay
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import public_classes


@dataclasses.dataclass(frozen=True)
class Halved:
    """A part of the user's that holds one of the library."""

    inner: Any

    def __call__(self, group: Any) -> np.ndarray:
        return self.inner(group) / 2


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


def test_a_part_is_saved_by_its_public_name_and_one_of_the_users_by_its_module() -> None:
    recipe = Recipe(loss=ClippedSurrogate(0.1), token_weight=TokenMean(revealed=True, which=TopEntropy(0.5)))
    config = recipe.to_config()
    assert config["loss"] == {"class": "ClippedSurrogate", "options": {"clip_low": 0.1, "clip_high": 0.2, "cap": None}}
    assert config["token_weight"]["options"]["which"] == {"class": "TopEntropy", "options": {"share": 0.5}}
    assert config["optimizer"]["class"] == "Optimizer"
    own = part_to_config(Halved(EnvironmentReward()))
    assert own == {
        "class": f"{__name__}:Halved",
        "options": {"inner": {"class": "EnvironmentReward", "options": {}}},
    }


def test_a_part_of_the_users_survives_json() -> None:
    recipe = Recipe(shaping=Halved(EnvironmentReward()))
    assert Recipe.from_config(json.loads(json.dumps(recipe.to_config()))) == recipe


def test_a_part_that_no_other_program_finds_is_named(recwarn: pytest.WarningsRecorder) -> None:
    @dataclasses.dataclass(frozen=True)
    class Local(Halved):
        """A part that is defined inside a function."""

    warn_of_unfindable(part_to_config(Halved(EnvironmentReward())), "shaping")
    warn_of_unfindable(None, "credit")
    assert not recwarn.list
    with pytest.warns(
        UserWarning, match=r"shaping.inner='.*<locals>.Local' is saved by .*: it is defined inside a func"
    ):
        warn_of_unfindable(part_to_config(Halved(Local(EnvironmentReward()))), "shaping")
    with pytest.warns(
        UserWarning, match=r"loss='__main__:Mine' is saved by a name that no other program finds: .*module"
    ):
        warn_of_unfindable({"class": "__main__:Mine", "options": {}}, "loss")


@pytest.mark.parametrize("value", [np.ones(2), len, {1, 2}, object()])
def test_an_option_that_json_does_not_know_is_named(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="shaping=Halved: inner=.* must be numbers, texts, lists"):
        part_to_config(Halved(value), "shaping")


def test_parts_that_plain_data_does_not_name_are_the_usual_ones() -> None:
    assert Recipe.from_config({"loss": part_to_config(LogLikelihood())}) == Recipe(loss=LogLikelihood())


def test_an_unknown_class_is_refused_with_the_nearest_one_and_its_slot() -> None:
    config = Recipe(token_weight=TokenMean(revealed=True, which=TopEntropy())).to_config()
    config["token_weight"]["options"]["which"]["class"] = "TopEntropie"
    with pytest.raises(ConfigurationError, match="^which='TopEntropie' .* did you mean 'TopEntropy'"):
        Recipe.from_config(config)
    with pytest.raises(ConfigurationError, match="^loss='Zzzz' must be a public name; they are the classes of "):
        Recipe.from_config({"loss": {"class": "Zzzz", "options": {}}})


def test_an_unknown_slot_or_option_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="^'los' must be a part of a recipe; did you mean 'loss'"):
        Recipe.from_config({"los": None})
    config = {"class": "ClippedSurrogate", "options": {"clip_hihg": 0.3}}
    with pytest.raises(ConfigurationError, match="^'clip_hihg' must be an option of .*; did you mean 'clip_high'"):
        Recipe.from_config({"loss": config})


def test_every_part_has_a_public_name_of_its_own() -> None:
    slots = [f"{parts.__name__}.{one.name}" for one in pkgutil.iter_modules(parts.__path__)]
    kinds = [kind for slot in slots for kind in public_classes([slot]).values()]
    called = [k for k in kinds if dataclasses.is_dataclass(k) and any("__call__" in vars(base) for base in k.__mro__)]
    assert len(called) > 20 and sorted(kind.__name__ for kind in called) == sorted(parts.__all__)
    offered = [name for module in MODULES for name in public_classes([module])]
    assert len(offered) == len(set(offered))


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
