"""Recipes: what each is made of, what it learns from, and its plain-data form."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env import AdaptiveGuidance, FixedGuidance, OfficialCadence, TargetSuccess
from g2rpo_env.agents import CausalLMPolicy, Recipe, parts, recipes
from g2rpo_env.agents.parts.advantages.groups import GroupCentered
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward, TruncationPenalty
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.parts.token_weights.revealed import TopEntropy
from g2rpo_env.agents.recipe import MODULES, Optimizer, part_to_config
from g2rpo_env.agents.recipes import RECIPES, fitted
from g2rpo_env.controllers.schedules import Replay
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError
from g2rpo_env.naming import public_classes

GUIDED = {"length": 6, "ratio": 0.5}


@dataclasses.dataclass(frozen=True)
class Halved:
    """A part of the user's that holds one of the library."""

    inner: Any

    def __call__(self, group: Any) -> np.ndarray:
        return self.inner(group) / 2


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, guidance, ...) -> an agent on 16 lanes whose random policy is right half of the time."""

    def make(name: str, guidance: Any = GUIDED, **parts: Any) -> Any:
        envs = make_envs(16, 4, digits=parts.pop("digits", 1), guidance=guidance)
        parts.setdefault("optimizer", Optimizer(learning_rate=1e-2))
        return recipes.make(name, make_policy(envs), envs, **parts)

    return make


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_survives_json(make_agent: Any, weights_of: Any, same_weights: Any, name: str) -> None:
    agent = make_agent(name)
    before = weights_of(agent.policy)
    agent.learn(2)
    assert agent.updates == 2 and not same_weights(before, weights_of(agent.policy))
    assert Recipe.from_config(json.loads(json.dumps(agent.recipe.to_config()))) == agent.recipe


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


def test_the_plain_form_of_a_controller_holds_its_start_and_not_its_progress(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a")
    before = json.dumps(agent.recipe.to_config())
    agent.learn(2)
    assert json.dumps(agent.recipe.to_config()) == before
    assert agent.recipe.to_config()["controller"]["options"]["length"] == 6


def test_a_part_is_saved_by_its_public_name_and_one_of_the_users_by_its_module() -> None:
    recipe = Recipe(loss=ClippedSurrogate(0.1), token_weight=TokenMean(revealed=True, which=TopEntropy(0.5)))
    config = recipe.to_config()
    assert config["loss"] == {"class": "ClippedSurrogate", "options": {"clip_low": 0.1, "clip_high": 0.2}}
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


def test_parts_that_plain_data_does_not_name_are_the_usual_ones() -> None:
    assert Recipe.from_config({"loss": part_to_config(LogLikelihood())}) == Recipe(loss=LogLikelihood())


def test_an_unknown_class_is_refused_with_the_nearest_one_and_its_slot() -> None:
    config = Recipe(token_weight=TokenMean(revealed=True, which=TopEntropy())).to_config()
    config["token_weight"]["options"]["which"]["class"] = "TopEntropie"
    with pytest.raises(ConfigurationError, match="^which='TopEntropie' .* did you mean 'TopEntropy'"):
        Recipe.from_config(config)
    with pytest.raises(ConfigurationError, match="^loss='Cliped' must be a public name; they are the classes of "):
        Recipe.from_config({"loss": {"class": "Cliped", "options": {}}})


def test_every_part_has_a_public_name_of_its_own() -> None:
    slots = [f"{parts.__name__}.{one.name}" for one in pkgutil.iter_modules(parts.__path__)]
    kinds = [kind for slot in slots for kind in public_classes([slot]).values()]
    called = [k for k in kinds if dataclasses.is_dataclass(k) and any("__call__" in vars(base) for base in k.__mro__)]
    assert len(called) > 20 and sorted(kind.__name__ for kind in called) == sorted(parts.__all__)
    offered = [name for module in MODULES for name in public_classes([module])]
    assert len(offered) == len(set(offered))


def test_recipes_share_their_optimiser_defaults() -> None:
    assert {recipes.get(name).optimizer for name in RECIPES} == {Optimizer()}


@pytest.mark.parametrize(
    "name,other,differs",
    [
        ("grpo", "guided-grpo", {"controller"}),
        ("grpo", "g2rpo-a-masked", {"controller"}),
        ("g2rpo-a", "g2rpo-a-masked", {"token_weight"}),
        ("grpo", "raft", {"selection", "advantage", "token_weight", "loss"}),
        ("grpo", "reinforce", {"advantage", "token_weight", "loss"}),
    ],
)
def test_recipes_differ_in_nothing_but_what_makes_them(name: str, other: str, differs: set[str]) -> None:
    one, two = recipes.get(name), recipes.get(other)
    assert {f.name for f in dataclasses.fields(Recipe) if getattr(one, f.name) != getattr(two, f.name)} == differs


# -- names and parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typo,meant", [("g2rpo", "g2rpo-a"), ("grop", "grpo"), ("guided_grpo", "guided-grpo")])
def test_an_unknown_recipe_suggests_a_close_one(typo: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"recipe='{typo}'.*did you mean '{meant}'"):
        recipes.get(typo)


def test_an_unknown_recipe_like_no_other_lists_them() -> None:
    with pytest.raises(ConfigurationError, match="grpo, guided-grpo, g2rpo-a, g2rpo-a-masked, sft, raft, reinforce$"):
        recipes.get("zzz")


def test_an_unknown_part_is_refused_with_the_known_ones(make_agent: Any) -> None:
    with pytest.raises(ConfigurationError, match="part 'losses' is unknown; known are advantage, controller, loss"):
        make_agent("grpo", losses=ClippedSurrogate())


def test_parts_replace_those_of_the_recipe(make_agent: Any) -> None:
    controller, loss = TargetSuccess(5), ClippedSurrogate(0.1, 0.3)
    recipe = make_agent("g2rpo-a", controller=controller, loss=loss).recipe
    assert recipe.controller is controller and recipe.loss is loss
    assert recipe.token_weight == recipes.get("g2rpo-a").token_weight


@pytest.mark.parametrize("name", ["guided-grpo", "g2rpo-a", "g2rpo-a-masked", "sft"])
def test_a_recipe_that_needs_guidance_says_so_without_it(make_agent: Any, name: str) -> None:
    assert recipes.get(name).needs_guidance
    with pytest.raises(MissingGuidanceError, match="VectorGuidanceWrapper"):
        make_agent(name, guidance=None)


@pytest.mark.parametrize("name", ["grpo", "raft"])
def test_other_recipes_do_without_guidance(make_agent: Any, name: str) -> None:
    assert not recipes.get(name).needs_guidance
    assert make_agent(name, guidance=None).controller is None


# -- the controller of a recipe ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapper",
    [
        {"length": 6},
        {"length": 45},
        {"length": 0},
        {"length": 0.5},
        {"length": 2, "unit": "steps"},
        {"length": 0.5, "unit": "fraction"},
        {"length": 1.0, "unit": "fraction"},
        {"length": 0.01, "unit": "fraction"},
    ],
    ids=str,
)
@pytest.mark.parametrize("controller", [AdaptiveGuidance(), OfficialCadence(), TargetSuccess(), FixedGuidance()])
def test_a_fitted_controller_starts_at_the_wrapper_and_stays_within_what_there_is(
    make_envs: Any, wrapper: dict[str, Any], controller: Any
) -> None:
    guidance = make_envs(8, 4, digits=(1, 4), guidance=wrapper)
    longest = guidance.longest
    made = fitted(controller, guidance)
    assert made.length == min(wrapper["length"], longest)
    if hasattr(made, "max_length"):
        assert 0 <= made.min_length <= made.length <= made.max_length <= longest
    for reward in [0.5] + [0.0] * 40 + [1.0] * 40:
        guidance.length = made.update(reward=reward)  # never a length that the wrapper would refuse
        assert guidance.length <= longest


def test_the_bound_of_the_controller_itself_holds_where_it_is_the_lower_one(make_envs: Any) -> None:
    guidance = make_envs(8, 4, digits=(1, 4), guidance={"length": 6})
    assert fitted(AdaptiveGuidance(max_length=60), guidance).max_length == guidance.longest == 36
    assert fitted(AdaptiveGuidance(10, max_length=12), guidance).max_length == 12


def test_a_controller_that_is_given_is_not_fitted(make_agent: Any) -> None:
    assert make_agent("g2rpo-a", controller=AdaptiveGuidance(7, max_length=99)).controller.max_length == 99


# -- what they learn from ----------------------------------------------------------------------------------------------


def raft_weights(group: Any) -> list[float]:
    """1 for correct answers; 0 leaves the others out of the mean too."""
    return [float(e.correct) for e in group.episodes]


def reinforce_weights(group: Any) -> list[float]:
    """Reward less the mean of the group."""
    reward_G = np.array([float(e.correct) for e in group.episodes])
    return (reward_G - reward_G.mean()).tolist()


@pytest.mark.parametrize(
    "name,weigh,drops_wrong", [("raft", raft_weights, True), ("reinforce", reinforce_weights, False)]
)
def test_the_log_likelihood_is_weighed_as_the_recipe_says(
    make_agent: Any, name: str, weigh: Any, drops_wrong: bool
) -> None:
    agent = make_agent(name, guidance=None)
    policy = CausalLMPolicy(agent.policy.model, agent.policy.tokenizer)
    metrics_loss: list[float] = []
    found: dict[str, torch.Tensor] = {}

    def catch(loss: float) -> float:
        metrics_loss.append(loss)
        found.update({n: p.grad.clone() for n, p in policy.model.named_parameters()})
        agent.optimizer.zero_grad(set_to_none=True)
        return 0.0

    agent._apply = catch
    agent.update()
    weighed = [pair for group in agent.groups for pair in zip(group.episodes, weigh(group), strict=True)]
    assert 0 < sum(episode.correct for episode, _ in weighed) < 16
    counted = [(episode, weight) for episode, weight in weighed if episode.correct or not drops_wrong]
    total, count = torch.zeros(()), 0
    for episode, weight in counted:  # one at a time, without padding, weights or parts of the library
        logits = policy.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        log_probs = torch.log_softmax(logits, -1)
        for position in np.flatnonzero(episode.role_T == Role.SAMPLED):
            total = total - weight * log_probs[position - 1, int(episode.tokens_T[position])]
            count += 1
    (total / count).backward()
    assert metrics_loss == pytest.approx([float(total.detach()) / count], rel=1e-5, abs=1e-7)
    for name, parameter in policy.model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-6), name


def test_raft_without_a_correct_sample_takes_no_step(make_envs: Any, make_policy: Any, addition_verifier: Any) -> None:
    envs = make_envs(8, 4, verifier=addition_verifier)
    agent = recipes.make("raft", make_policy(envs), envs)
    assert agent.update()["loss"] is None and not agent.optimizer.state


def revealed(agent: Any) -> list[Any]:
    """Group, member, problem and revealed tokens of the guided episodes of the last update."""
    return [
        (e.group, e.member, e.problem_id, e.tokens_T[e.role_T == Role.REVEALED].tolist())
        for e in agent.groups.episodes
        if e.guided
    ]


def test_sft_on_replayed_lengths_sees_the_tokens_the_guided_run_revealed(make_agent: Any) -> None:
    guided = make_agent("g2rpo-a", digits=(1, 4), seed=5)
    shown: list[Any] = []
    guided.learn(5, lambda agent, _: shown.append(revealed(agent)))
    lengths = (6.0, *(entry["length"] for entry in guided.controller.history))
    assert len(set(lengths)) > 1
    replay = make_agent("sft", digits=(1, 4), seed=5, controller=Replay(lengths=lengths))
    seen: list[Any] = []
    replay.learn(5, lambda agent, _: seen.append(revealed(agent)))
    assert seen == shown and sum(len(rows) for rows in shown) == 5 * 8


def test_sft_trains_on_every_revealed_token_alike(make_agent: Any) -> None:
    # Weights 1 per revealed token: the loss is their mean negative log-likelihood.
    agent = make_agent("sft")
    model = CausalLMPolicy.tiny(agent.envs, hidden_size=32, layers=1)  # the policy before the update
    metrics = agent.update()
    losses = []
    for episode in agent.groups.episodes:
        with torch.no_grad():
            logits = model.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        log_probs = torch.log_softmax(logits, -1).numpy()
        losses += [-log_probs[t - 1, episode.tokens_T[t]] for t in np.flatnonzero(episode.role_T == Role.REVEALED)]
    assert len(losses) == metrics["revealed_tokens"] == 8 * 6
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


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
