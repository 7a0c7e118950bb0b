"""Arms: settings make their environments, agents get their rates and parts."""

from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import pytest
import torch

from g2rpo_env.agents import GRPO, CausalLMPolicy, recipes
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.selection.splits import SplitGuided
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.curriculum import Ramp
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Arm, get_recipe, is_recipe, load_agent, make_agent, split_form, train
from g2rpo_env.guidance import find_guidance


def test_a_rate_and_the_environment_reach_agents_of_all_kinds(setting, base, counting):
    policy = CausalLMPolicy.from_pretrained(base)
    for algorithm in (counting, "grpo"):
        for guided in (True, False):
            agent = make_agent(setting, policy, Arm("x", algorithm, 0.5, guided=guided), None)
            assert (find_guidance(agent.envs) is not None) == guided
    assert make_agent(setting, policy, Arm("x", counting, 0.5), None).rate == 0.5
    assert make_agent(setting, policy, Arm("x", counting), None).rate is None
    assert make_agent(setting, policy, Arm("x", "grpo", 0.5), None).recipe.optimizer.learning_rate == 0.5


def test_an_arm_changes_the_rate_of_its_optimiser_and_nothing_else(setting, base, monkeypatch):
    policy = CausalLMPolicy.from_pretrained(base)
    of_recipe = Optimizer(learning_rate=0.25, minibatch=3, epochs=2, weight_decay=0.125, decay=9)
    monkeypatch.setitem(recipes.RECIPES, "steps", lambda: Recipe(optimizer=of_recipe))
    of_arm = Optimizer(learning_rate=0.75, minibatch=5)

    def optimizer(rate=None, parts=None, **changes):
        arm = Arm("x", "steps", rate, parts=parts or {})
        return make_agent(replace(setting, **changes), policy, arm, None).recipe.optimizer

    assert optimizer() == replace(of_recipe, decay=None)  # whether rates fall is said by the setting
    assert optimizer(0.5) == replace(of_recipe, learning_rate=0.5, decay=None)
    assert optimizer(decay=True) == replace(of_recipe, decay=3)
    assert optimizer(parts={"optimizer": of_arm}) == of_arm
    assert optimizer(0.5, {"optimizer": of_arm}, decay=True) == replace(of_arm, learning_rate=0.5, decay=3)


def test_accuracy_elsewhere_is_measured_under_the_context_of_the_agent(setting, base, monkeypatch):
    policy, given = CausalLMPolicy.from_pretrained(base), []

    def context(task, problem_id):
        return task.lookup(problem_id).prompt_T

    def evaluate(policy, envs, **options):
        given.append((len(envs.unwrapped.task.source.draw(0, 0)), options))

    monkeypatch.setattr("g2rpo_env.experiments.arms.evaluate", evaluate)
    setting = replace(setting, measured={"digits": 2})
    setting.evaluate(SimpleNamespace(policy=policy, context=context), "test", 4)
    setting.evaluate(SimpleNamespace(policy=policy), "test", 4)
    assert given == [  # five characters: the sums of two digits, which it does not train on
        (5, {"split": "test", "problems": 4, "context": context}),
        (5, {"split": "test", "problems": 4, "context": None}),
    ]


def test_rates_fall_with_the_budget_whatever_counts_it(setting, base):
    policy = CausalLMPolicy.from_pretrained(base)
    arm = Arm("x", "grpo", 0.5)
    decays = {
        (None, False): (None, None), (None, True): (3, None), (60, False): (None, None), (60, True): (None, 60),
    }  # fmt: skip
    for (tokens, decay), (updates, sampled) in decays.items():
        options = make_agent(replace(setting, sampled_tokens=tokens, decay=decay), policy, arm, None).recipe.optimizer
        assert (options.decay, options.decay_tokens) == (updates, sampled)


def test_the_rate_of_a_step_follows_the_tokens_before_it(setting, base):
    policy = CausalLMPolicy.from_pretrained(base)
    agent = make_agent(replace(setting, sampled_tokens=60, decay=True), policy, Arm("x", "grpo", 0.5), None)
    for sampled, rate in ((0, 0.5), (15, 0.375), (90, 0.005)):
        for parameter in policy.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        agent.learner._sampled_tokens = sampled
        agent.learner._apply(0.0)
        assert agent.learner.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_problems_are_trained_on_in_the_order_that_was_asked_for(setting):
    setting = replace(setting, task={"digits": [1, 3]}, order={"candidates": 4, "span": 1000})
    envs = setting.make_envs(guided=True)
    ids = envs.reset(seed=0)[1]["problem_id"]
    assert isinstance(envs.unwrapped.task.source, Ramp) and all(len(name) == 3 for name in ids)  # of four the easiest


def test_other_parts_of_a_recipe_reach_the_agent(setting, base):
    policy = CausalLMPolicy.from_pretrained(base)
    agent = make_agent(setting, policy, Arm("x", "g2rpo-a", parts={"selection": SplitGuided()}), None)
    assert agent.recipe.selection == SplitGuided()


def test_an_unknown_agent_is_named():
    for name in ("no_such_module:Agent", "g2rpo_env.agents:NoSuchAgent"):
        with pytest.raises(ConfigurationError, match="must (have the form|name something)"):
            load_agent(name)
    assert load_agent("g2rpo_env.agents:GRPO") is GRPO


def test_guidance_goes_only_to_arms_that_need_it(setting):
    assert setting.make_envs(guided=True).unwrapped.reveal_plan is not None
    assert isinstance(setting.make_envs(guided=False), gym.vector.VectorEnv)
    assert setting.make_envs(guided=False).unwrapped.reveal_plan is None


def test_the_ending_of_a_name_asks_for_a_form():
    assert [split_form(name) for name in ("grpo", "my.module:f@unguided", "dapo@guided-positive")] == [
        ("grpo", ""), ("my.module:f", "@unguided"), ("dapo", "@guided-positive")
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match="algorithm='grpo@gided' must end in @unguided, @guided, .*-positive"):
        split_form("grpo@gided")


def test_a_guided_form_is_that_of_the_recipe(setting, base):
    for ending, revealed in (("", True), ("-masked", False), ("-positive", "positive")):
        assert get_recipe(f"dapo@guided{ending}") == recipes.guided("dapo", revealed)
    assert get_recipe("dapo@unguided") == get_recipe("dapo") == recipes.get("dapo")
    assert is_recipe("g2rpo_env.agents.recipes.plain:raft@guided")
    with pytest.raises(ConfigurationError, match="algorithm='disco@guided': revealed=True must be False with loss"):
        get_recipe("disco@guided")
    policy = CausalLMPolicy.from_pretrained(base)
    agent = make_agent(setting, policy, Arm("x", "dapo@guided-masked", 0.5), None)
    assert agent.controller.length == 9.0 and not agent.recipe.token_weight.revealed
    assert agent.recipe.optimizer.learning_rate == 0.5


def test_parts_are_further_arguments_of_an_agent(setting, base):
    policy = CausalLMPolicy.from_pretrained(base)
    arm = Arm("x", AGENTS["veripo"], parts={"grpo": 2, "dpo": 1, "rounds": 1}, guided=False)
    assert [stage.updates for stage in make_agent(setting, policy, arm, None).stages] == [2, 1, 2]


class Rows:
    """A recorder that keeps metrics."""

    def __init__(self):
        self.rows = []

    def record(self, metrics, seconds):
        self.rows.append(metrics)

    def record_evaluation(self, update, evaluation):
        pass


def test_an_agent_that_says_what_its_updates_did_is_asked(setting, base, counting):
    policy = CausalLMPolicy.from_pretrained(base)
    staged, other = Rows(), Rows()
    arm = Arm("x", AGENTS["veripo"], parts={"grpo": 2, "dpo": 1, "rounds": 1}, guided=False)
    assert train(make_agent(setting, policy, arm, None), setting, staged) == 3
    assert [(row["update"], row["stage"], "reward" in row) for row in staged.rows] == [
        (1, 0, True), (2, 0, True), (3, 1, True)
    ]  # fmt: skip
    train(make_agent(setting, policy, Arm("x", counting), None), setting, other)
    assert other.rows == [{"update": number, "sampled_tokens": 7} for number in (1, 2, 3)]
