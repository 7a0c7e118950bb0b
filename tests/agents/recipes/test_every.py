"""What holds for every recipe: passes and order do not matter, training resumes exactly, learns, and can be guided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from bandits import make_bandit, measure_success
from gradients import assert_close, catch_gradients

from g2rpo_env.agents import GRPO, Recipe, given, recipes
from g2rpo_env.agents.parts.strategies import Resampled, Rollout
from g2rpo_env.agents.parts.strategies import tree as tree_module
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.describe import describe
from g2rpo_env.agents.recipes.guides import WRAPPERS
from g2rpo_env.controllers.base import Feedback
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.guidance import give_feedback
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

GUIDED = {"length": 6, "ratio": 0.5}
SEED = 9
"""One with which a group fails, so that failures are helped, and wrong answers share tokens with right ones."""
ENDS = (1, *range(200, 250))
"""A fifth of the vocabulary ends an answer, so that lengths differ."""


@pytest.fixture(autouse=True)
def many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of all tokens end a step, so that random answers have steps."""
    for module in (tree_module, given):
        monkeypatch.setattr(module, "find_line_ends", lambda tokenizer: np.arange(258) % 4 == 2)


def find_wrapper(name: str) -> Any:
    """The arguments of the guidance wrapper that a recipe is tried in; None for a recipe without guidance."""
    return WRAPPERS.get(name, GUIDED if recipes.get(name).needs_guidance else None)


class QuarterOfSums:
    """Right where the sum of the bytes is a multiple of four, so that some groups have no right answer.

    The answer that it names is the last character.
    """

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(Outcome.WRONG if sum(c.encode()) % 4 else Outcome.CORRECT, c[-1:] or None) for c in completions]


@pytest.fixture
def make_one(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, lanes, ...) -> an agent whose random policy is surer of some tokens than others, and right now and then.

    It is guided as its recipe asks for.
    """

    def make(name: str, lanes: int = 16, dtype: str | None = None, **parts: Any) -> GRPO:
        envs = make_envs(lanes, 4, verifier=QuarterOfSums(), guidance=find_wrapper(name), end_tokens=ENDS)
        parts.setdefault("optimizer", Optimizer(learning_rate=1e-2))
        return recipes.make(name, make_policy(envs, scale=4.0), envs, seed=SEED, dtype=dtype, **parts)

    return make


# -- one gradient ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Handed:
    """Hands out groups that were collected before."""

    groups: Groups

    def __call__(self, policy: Any, envs: Any) -> Groups:
        return self.groups


def collect_groups(agent: GRPO) -> Groups:
    """The groups of a second visit to the first problems: some recipes help those that failed at the first one."""
    first = agent.parts.strategy(agent.policy, agent.envs)
    give_feedback(agent.envs, Feedback.from_groups(first), agent.controller)
    agent.envs.unwrapped.load_state_dict({"root": agent.seed, "counter": 0, "open": {}})
    groups = agent.parts.strategy(agent.policy, agent.envs)
    groups.as_trained = False  # it is another policy that learns from them
    return groups


def find_step(agent: GRPO, groups: Groups) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The metrics and the gradients of an update on these groups, by a policy that is not the one that wrote them.

    Neither is it the reference: ratios are not 1, and some are clipped.
    """
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in agent.policy.model.parameters():
            parameter += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=random)
    agent.parts = replace(agent.parts, strategy=Handed(groups))
    return catch_gradients(agent)


def assert_same_step(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal metrics and gradients, up to rounding."""
    (metrics, gradients), (others, theirs) = found, expected
    assert_close(gradients, theirs, tolerance)
    assert metrics.keys() == others.keys()
    for name, value in others.items():
        assert metrics[name] == (value if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)), name


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_and_metrics_do_not_depend_on_passes(make_one: Any, name: str) -> None:
    groups = collect_groups(make_one(name))
    assert groups.revealed_tokens > 0 or not recipes.get(name).needs_guidance
    whole = find_step(make_one(name), groups)
    # The step is not taken: the second pass over the episodes has the gradient of the first one.
    for options in ({"microbatch": 1}, {"microbatch": 3, "epochs": 2}):
        other = make_one(name, optimizer=Optimizer(learning_rate=1e-2, **options))
        assert_same_step(find_step(other, groups), whole)


def shuffle(groups: Groups, seed: int) -> Groups:
    """The groups in another order, and so the members of each."""
    random = np.random.default_rng(seed)
    mixed = [Group(tuple(group.episodes[i] for i in random.permutation(len(group)))) for group in groups]
    return Groups((mixed[i] for i in random.permutation(len(mixed))), left_out=groups.left_out, metrics=groups.metrics)


@pytest.mark.parametrize("name", RECIPES)
def test_the_order_of_groups_and_members_does_not_matter(make_one: Any, name: str) -> None:
    groups = collect_groups(make_one(name))
    expected = find_step(make_one(name), groups)
    for seed in range(2):
        assert_same_step(find_step(make_one(name), shuffle(groups, seed)), expected)


def take_four(strategy: Any) -> Any:
    """The strategy with four groups per update, whatever the lanes; None for one that takes a group for each lane."""
    if isinstance(strategy, Rollout):
        return replace(strategy, groups=4)
    inner = take_four(strategy.inner) if isinstance(strategy, Resampled) else None
    return None if inner is None else replace(strategy, inner=inner)


FIXED = {"sft", "igrpo", "mcts-dpo", "gac", "gac-critic", "guide", "ghpo", "scaf-grpo"}
"""Recipes whose strategies have as many groups as there are lanes for."""


def test_all_other_strategies_take_more_groups_than_there_are_lanes_for() -> None:
    assert {name for name in RECIPES if take_four(recipes.get(name).strategy) is None} == FIXED


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in FIXED])
def test_the_number_of_lanes_does_not_matter(make_one: Any, name: str) -> None:
    strategy = take_four(recipes.get(name).strategy)
    # In float64, for rounding that depends on the lanes must not choose another token.
    few, many = (make_one(name, lanes, dtype="float64", strategy=strategy) for lanes in (4, 16))
    assert_same_step(catch_gradients(few), catch_gradients(many))


# -- going on after a stop ---------------------------------------------------------------------------------------------


def run(agent: GRPO, updates: int) -> list[dict[str, Any]]:
    """The metrics of some updates."""
    return [agent.update() for _ in range(updates)]


@pytest.mark.parametrize("name", RECIPES)
def test_training_goes_on_from_a_folder_as_if_it_had_never_stopped(
    make_one: Any, weights_of: Any, same_weights: Any, tmp_path: Any, name: str
) -> None:
    steps = Optimizer(learning_rate=1e-2, minibatch=8)
    whole, stopped = make_one(name, optimizer=steps), make_one(name, optimizer=steps)
    lines, first = run(whole, 4), run(stopped, 2)
    stopped.save(tmp_path)
    stopped.update()  # what is done after saving is in no file
    resumed = GRPO.load(tmp_path, make_one(name).envs)
    assert resumed.recipe == whole.recipe and resumed.updates == 2
    assert first + run(resumed, 2) == lines
    assert same_weights(weights_of(whole.policy), weights_of(resumed.policy))
    states = [None if agent.controller is None else agent.controller.state_dict() for agent in (whole, resumed)]
    assert states[0] == states[1] and resumed.sampled_tokens == whole.sampled_tokens


# -- learning ----------------------------------------------------------------------------------------------------------

LIMITS = {
    "sft": "there is something to reveal in every solution",
    "entropy-tokens": "what follows the decision, an end or one more try, has no higher entropy than the decision",
}
"""Recipes that state limits, and why the bandit lies within them."""

UPDATES = {"thr": 70}
"""Updates of recipes that take more than 40: most of its tokens are masked."""


def test_no_other_recipe_states_a_limit() -> None:
    assert {name for name in RECIPES if describe(name).limits} == set(LIMITS)


@pytest.mark.filterwarnings("ignore:Update 1", "ignore:max_new_tokens")
@pytest.mark.parametrize("name", RECIPES)
def test_a_bandit_is_learnt(make_policy: Any, name: str) -> None:
    agent = make_bandit(name, make_policy, guidance=find_wrapper(name))
    assert measure_success(agent) < 0.3
    agent.learn(UPDATES.get(name, 40))
    assert measure_success(agent) > 0.8


# -- guided ------------------------------------------------------------------------------------------------------------

GUIDED_ALREADY = {name for name in RECIPES if recipes.get(name).needs_guidance}
OWN_CONTEXT = {"igrpo", "gac", "gac-critic"}
"""Recipes whose answers begin from a draft, or a level."""
WHOLE_GROUPS = {"disco", "disco-b", "disco-ratio", "disco-b-ratio", "dpo", "lambda-grpo", "mcts-dpo"}
"""Recipes with a loss of whole groups, which leaves revealed tokens out."""


def find_refusal(name: str, revealed: bool | str) -> str | None:
    """The message of the refusal of a guided form, as a pattern; None where there is one."""
    if name in GUIDED_ALREADY:
        return r"recipe=Recipe\((controller|strategy)=\w+\) is guided already: take it as it is"
    if name in OWN_CONTEXT:
        return r"strategy=\w+ begins answers from what it chooses itself: it cannot be guided"
    if name in WHOLE_GROUPS and revealed is not False:
        return rf"revealed={revealed!r} must be False with loss=\w+: a loss of whole groups"
    return None


CASES = [(name, revealed) for name in RECIPES for revealed in (True, False, "positive")]


@pytest.mark.parametrize(("name", "revealed"), [case for case in CASES if find_refusal(*case) is None])
def test_the_guided_form_trains_and_survives_json(
    make_envs: Any, make_policy: Any, weights_of: Any, same_weights: Any, name: str, revealed: bool | str
) -> None:
    recipe = replace(recipes.guided(name, revealed), optimizer=Optimizer(learning_rate=1e-2))
    assert Recipe.from_config(json.loads(json.dumps(recipe.to_config()))) == recipe
    envs = make_envs(16, 4, guidance=GUIDED, end_tokens=ENDS)
    agent = recipes.make(recipe, make_policy(envs), envs)
    for _ in range(2):
        before = weights_of(agent.policy)
        assert agent.update()["revealed_tokens"] > 0 and not same_weights(before, weights_of(agent.policy))


@pytest.mark.parametrize(("name", "revealed"), [case for case in CASES if find_refusal(*case) is not None])
def test_what_cannot_be_guided_is_refused(name: str, revealed: bool | str) -> None:
    with pytest.raises(ConfigurationError, match=find_refusal(name, revealed)):
        recipes.guided(name, revealed)
