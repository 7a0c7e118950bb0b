"""VerIPO: its schedule, what its DPO stages learn from, and its equality with GRPO without rounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.parts.judges import Judged, StatedResult
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.veripo import make_stages, veripo
from g2rpo_env.agents.staged import Staged, check_stages
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.algorithms import make_arms
from g2rpo_env.experiments.arms import Setting, make_agent
from g2rpo_env.problem import Problem

FAST = Recipe(optimizer=Optimizer(learning_rate=1e-2))


@dataclass(frozen=True)
class ByBytes:
    """Consistent if the text has an even number of bytes that are odd: a pure function of the text."""

    def __call__(self, problem: Problem, completions: Sequence[str]) -> list[Judged]:
        return [Judged(sum(c.encode()) % 4 == 0, sum(c.encode()) % 3 == 0) for c in completions]


@pytest.fixture
def make(make_envs: Any, make_policy: Any) -> Any:
    """(...) -> a VerIPO agent of short stages."""

    def make(**options: Any) -> Staged:
        envs = make_envs(16, 4)
        options = {"grpo": 3, "dpo": 2, "rounds": 1, "recipe": FAST, "judge": ByBytes(), "seed": 3, **options}
        return veripo(make_policy(envs), envs, **options)

    return make


def run(agent: Any, updates: int) -> list[dict[str, Any]]:
    return [agent.update() for _ in range(updates)]


def test_rounds_of_grpo_and_dpo_end_with_grpo() -> None:
    stages = make_stages()
    losses = [type(stage.recipe.loss).__name__ for stage in stages]
    assert losses == ["ClippedSurrogate", "Preference"] * 2 + ["ClippedSurrogate"]
    assert [(s.updates, s.keep, s.drop) for s in stages] == [(100, 16, 0.8), (20, 0, 0.0)] * 2 + [(100, 0, 0.0)]
    assert stages[0].recipe == stages[-1].recipe == Recipe()
    dpo = stages[1].recipe
    assert dpo.loss.beta == 0.1 and dpo.selection.judge == StatedResult() and dpo.strategy.size == 8
    assert dpo.optimizer == dataclasses.replace(Optimizer(), learning_rate=Optimizer().learning_rate / 2)


def test_without_rounds_it_is_grpo_bit_for_bit(
    make: Any, make_envs: Any, make_policy: Any, weights_of: Any, same_weights: Any
) -> None:
    envs = make_envs(16, 4)
    plain, staged = GRPO(make_policy(envs), envs, seed=3, recipe=FAST), make(rounds=0)
    assert run(staged, 5) == run(plain, 5)
    assert same_weights(weights_of(staged.policy), weights_of(plain.policy))
    assert staged.sampled_tokens == plain.sampled_tokens


def test_dpo_learns_from_pairs_of_kept_groups_against_the_policy_of_the_boundary(make: Any) -> None:
    agent = make(fresh=2, size=8)
    agent.learn(3)
    tokens, kept = agent.sampled_tokens, {group.group for groups in agent.store for group in groups}
    assert kept == set(range(4, 12))
    line = agent.update()
    assert line["stage"] == 1 and line["sampled_tokens"] == 0 and agent.sampled_tokens == tokens
    pairs = agent.last_update.selected
    assert pairs and all(len(pair) == 2 and pair.group in kept for pair in pairs)
    assert all(pair.episodes[0].correct for pair in pairs)
    assert [reward.tolist() for reward in agent.last_update.rewards] == [[1, 0]] * len(pairs)
    # policy = reference at the first step: log 2
    assert line["loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert agent.update()["loss"] < np.log(2)
    assert agent.update()["stage"] == 2 and [g.group for g in agent.groups] == [12, 13, 14, 15]


@pytest.mark.parametrize("name", RECIPES)
def test_any_recipe_may_be_that_of_its_grpo_stages(name: str) -> None:
    # Some strategies have an option of the name by which a strategy is told that hands out what was kept.
    stages = make_stages(recipe=recipes.get(name))
    check_stages(stages)
    assert [stage.takes_store for stage in stages] == [False, True, False, True, False]


def test_stages_that_draw_again_keep_what_they_learnt_from(make: Any) -> None:
    agent = make(recipe=dataclasses.replace(recipes.get("gpg"), optimizer=FAST.optimizer), fresh=2)
    lines = run(agent, 6)
    assert [line["stage"] for line in lines] == [0, 0, 0, 1, 1, 2] and [len(g) for g in agent.store] == [4, 4]
    assert all("draws" in line for line in lines[:3]) and lines[3]["loss"] == pytest.approx(np.log(2), abs=1e-6)


def test_it_resumes_in_the_middle_of_dpo(
    make: Any, make_envs: Any, tmp_path: Any, weights_of: Any, same_weights: Any
) -> None:
    whole, stopped = make(size=3), make(size=3)
    lines, first = run(whole, 7), run(stopped, 4)
    stopped.save(tmp_path)
    resumed = Staged.load(tmp_path, make_envs(16, 4))
    assert first + run(resumed, 3) == lines
    assert same_weights(weights_of(whole.policy), weights_of(resumed.policy))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grpo": 0}, "grpo=0 must be a whole number of at least 1"),
        ({"dpo": 0}, "dpo=0 must be a whole number of at least 1"),
        ({"dpo": float("nan")}, "dpo=nan must be a whole number"),
        ({"rounds": -1}, "rounds=-1 must be a whole number of at least 0"),
        ({"fresh": 0}, "fresh=0 must be a whole number of at least 1"),
        ({"recipe": "grpo"}, "recipe='grpo' must be None or a Recipe"),
        ({"drop": 2.0}, "drop=2.0"),
        ({"beta": 0.0}, "beta=0.0"),
        ({"size": 0}, "size=0"),
    ],
)
def test_a_schedule_without_updates_and_other_bad_numbers_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_stages(**options)


def test_it_is_an_algorithm_of_comparisons_by_its_name(make_policy: Any) -> None:
    setting = Setting("g2rpo_env/Addition-v0", {"digits": 1}, {"length": 4.0, "ratio": 0.5}, problems=2, group_size=2)
    (arm,) = make_arms(["veripo@unguided"], (0.5,))
    agent = make_agent(setting, make_policy(setting.make_envs(guided=False)), arm, None)
    assert isinstance(agent, Staged) and [s.recipe.optimizer.learning_rate for s in agent.stages[:2]] == [0.5, 0.25]
    agent.learn(1)
    assert agent.sampled_tokens > 0
