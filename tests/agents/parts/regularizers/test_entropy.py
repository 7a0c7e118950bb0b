"""The entropy bonus: a mean over tokens under every weight and in any passes, and a coefficient that moves."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.regularizers import EntropyBonus
from g2rpo_env.agents.parts.token_weights import FixedLength, SequenceMean, SequenceSum, TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.errors import ConfigurationError

CPU = torch.device("cpu")
FAST = Optimizer(learning_rate=1e-2)


def make_step(make_episode: Any, weight: Any = TokenMean(), shapes: tuple[str, ...] = ("pss", "psss", "ps")) -> Batch:  # noqa: B008
    """A batch of a gradient step: 6 tokens in the loss."""
    episodes = [make_episode(shape, member=i) for i, shape in enumerate(shapes)]
    weights = [weight(e) for e in episodes]
    counts = [weight.count(w) for w in weights] if hasattr(weight, "count") else None
    batch = make_batch(episodes, np.zeros(len(episodes)), weights, CPU, counts=counts)
    return dataclasses.replace(batch, step_count=batch.count, step_tokens=int((batch.weight_NT > 0).sum()))


@pytest.mark.parametrize("weight", [TokenMean(), SequenceMean(), SequenceSum(), FixedLength(length=7)], ids=str)
@pytest.mark.parametrize("size", [None, 1])
def test_the_bonus_is_a_mean_over_tokens_under_every_weight(make_episode: Any, weight: Any, size: int | None) -> None:
    # Entropies 1, 2 | 3, 4, 5 | 6: mean 3.5, times 0.2; each token's slope is 0.2 / 6.
    batch = make_step(make_episode, weight)
    entropy = torch.tensor([[9.0, 1, 2, 9], [9, 3, 4, 5], [9, 6, 9, 9]], requires_grad=True)  # 9 is outside
    bonus = EntropyBonus(0.2)
    parts = [bonus(entropy[rows][:, : part.mask_NT.shape[1]], part) for part, rows in batch.passes(size)]
    total = torch.stack(parts).sum() / batch.count
    total.backward()
    assert total.item() == pytest.approx(-0.2 * 3.5)
    assert entropy.grad is not None
    assert torch.allclose(entropy.grad, -(batch.weight_NT > 0).float() * 0.2 / 6)


def run(bonus: EntropyBonus, batch: Batch, entropy: float, size: int | None = None) -> float:
    """One gradient step in which all tokens have one entropy; the share of the loss."""
    entropy_NT = torch.full(batch.weight_NT.shape, entropy, requires_grad=True)
    parts = [bonus(entropy_NT[rows][:, : part.mask_NT.shape[1]], part) for part, rows in batch.passes(size)]
    bonus.stepped()
    return sum(float(part.detach()) for part in parts) / batch.count


@pytest.mark.parametrize("size", [None, 1, 2])
def test_the_coefficient_moves_by_hand(make_episode: Any, size: int | None) -> None:
    # target 0.5, step 0.3, most 0.7, from 0.2. Entropies: 0.4 (at most the target: to 0.5), 0.4 (0.7, cut), 0.4 (0.7),
    # 0.6 (0.4), 0.6 (0.1), 0.6 (0, cut), 0.5 (0.3), 0.5 (0.6).
    # Applied is what was there before, if the step before was at most the target; nothing in the first step.
    bonus, batch = EntropyBonus(0.2, target=0.5, step=0.3, most=0.7), make_step(make_episode)
    found = []
    for entropy in (0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.5, 0.5):
        found.append((run(bonus, batch, entropy, size) / -entropy, bonus.present))
    applied, after = zip(*found, strict=True)
    assert applied == pytest.approx([0, 0.5, 0.7, 0.7, 0, 0, 0, 0.3], abs=1e-6)
    assert after == pytest.approx([0.5, 0.7, 0.7, 0.4, 0.1, 0, 0.3, 0.6], abs=1e-6)


def test_the_entropy_of_a_step_is_a_mean_over_tokens_and_not_over_passes(make_episode: Any) -> None:
    # Passes of one row: 2, 3 and 1 tokens with entropies 0.1, 0.1 and 1.0: mean 0.25; of passes 0.4.
    bonus, batch = EntropyBonus(0.2, target=0.3), make_step(make_episode)
    entropy = torch.tensor([[0.1], [0.1], [1.0]]).expand(3, 4)
    for part, rows in batch.passes(1):
        bonus(entropy[rows][:, : part.mask_NT.shape[1]], part)
    bonus.stepped()
    assert bonus.applied and bonus.present == pytest.approx(0.205)


def test_a_step_that_was_not_taken_is_forgotten(make_episode: Any) -> None:
    bonus, batch = EntropyBonus(0.2, target=0.5), make_step(make_episode)
    bonus(torch.full(batch.weight_NT.shape, 9.0), batch)  # no stepped()
    run(bonus, batch, 0.4)
    assert bonus.applied


def test_a_fixed_coefficient_does_not_move(make_episode: Any) -> None:
    bonus, batch = EntropyBonus(0.2), make_step(make_episode)
    assert [run(bonus, batch, 1.0) for _ in range(3)] == pytest.approx([-0.2] * 3) and bonus.present == 0.2


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(parts) -> an agent on 16 lanes."""

    def make(**parts: Any) -> GRPO:
        envs = make_envs(16, 4)
        return recipes.make("grpo", make_policy(envs), envs, **{"optimizer": FAST, **parts})

    return make


def test_a_bonus_trains_and_keeps_the_policy_less_sure(make_agent: Any) -> None:
    plain, bonus = make_agent(), make_agent(regularizer=EntropyBonus(1.0))
    entropies = []
    for agent in (plain, bonus):
        agent.learn(3)
        episodes = agent.groups.episodes
        batch = make_batch(episodes, np.zeros(16), [TokenMean()(e) for e in episodes], CPU)
        entropies.append(float(agent.learner.entropies(batch)[batch.weight_NT > 0].mean()))
    assert entropies[1] > entropies[0]


def test_a_coefficient_that_moves_is_saved_and_goes_on_where_it_was(
    make_agent: Any, make_envs: Any, tmp_path: Any
) -> None:
    recipe = EntropyBonus(0.1, target=100.0, step=0.05, most=0.3)
    agent = make_agent(regularizer=recipe, optimizer=Optimizer(learning_rate=1e-2, minibatch=8, microbatch=2))
    agent.learn(1)
    assert agent.parts.regularizer.present == pytest.approx(0.2)  # two steps
    assert recipe.present == agent.recipe.regularizer.present == 0.1 and not recipe.applied  # its start stays
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4))
    assert loaded.parts.regularizer.state_dict() == {"present": pytest.approx(0.2), "applied": True}
    assert loaded.update() == agent.update()
    assert loaded.parts.regularizer.present == agent.parts.regularizer.present == pytest.approx(0.3)


def test_a_bonus_is_plain_data() -> None:
    recipe = Recipe(regularizer=EntropyBonus(0.1, target=0.5))
    config = recipe.to_config()
    assert config["regularizer"] == {
        "class": "EntropyBonus",
        "options": {"coefficient": 0.1, "target": 0.5, "step": 0.005, "most": 1.0},
    }
    assert Recipe.from_config(config) == recipe


@pytest.mark.parametrize(
    "options,words",
    [
        ({"coefficient": 0.0}, "coefficient=0.0 must be above 0 without a target"),
        ({"target": 0.0}, "target=0.0 must be None or above 0"),
        ({"target": math.nan}, "target=nan must be None or above 0"),
        ({"step": 0.0}, "step=0.0 must be above 0"),
        ({"most": -1.0}, "most=-1.0 must be above 0"),
        ({"coefficient": 2.0, "target": 0.5}, r"coefficient=2.0 must lie in \[0, most=1.0\]"),
        ({"coefficient": -0.1, "target": 0.5}, r"coefficient=-0.1 must lie in \[0, most=1.0\]"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        EntropyBonus(**options)
