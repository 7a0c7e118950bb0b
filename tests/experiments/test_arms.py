"""The study: same base, same problems; sft replays the reveals; runs side by side equal runs one after the other."""

import json
import math
from dataclasses import replace

import gymnasium as gym
import pytest
import torch

from g2rpo_env.agents import GRPO, CausalLMPolicy, evaluate
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.selection.splits import SplitGuided
from g2rpo_env.curriculum import Ramp
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Arm, Setting, evaluate_base, load_agent, make_agent
from g2rpo_env.experiments.runner import run_chain, run_chains
from g2rpo_env.guidance import find_guidance

ENV = "g2rpo_env/Addition-v0"
GUIDED = Arm("guided", "g2rpo-a", 1e-3)
IMITATION = Arm("imitation", "sft", 1e-3, replays="guided")


class MyAgent(GRPO):
    """An agent that the command line knows only by its name."""


@pytest.fixture
def setting():
    return Setting(
        ENV, {"digits": 1}, {"length": 9.0, "ratio": 0.5}, problems=2, group_size=2, updates=3, evaluation_problems=6,
        evaluations=1, curve_problems=4,
    )  # fmt: skip


@pytest.fixture
def base(setting, tmp_path):
    envs = setting.envs(guided=False)
    CausalLMPolicy.tiny(envs, hidden_size=16, layers=1).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_an_imitation_arm_sees_the_lengths_and_the_tokens_of_the_guided_one(setting, base, tmp_path):
    guided, imitation = run_chain(setting, base, [GUIDED, IMITATION], tmp_path)
    assert imitation.reveal_lengths == guided.reveal_lengths
    revealed = [[row["revealed_tokens"] for row in result.curves.metrics] for result in (guided, imitation)]
    assert revealed[0] == revealed[1] and sum(revealed[0]) > 0
    assert imitation.sampled_tokens == 0 < guided.sampled_tokens
    assert guided.evaluation.problem_ids == evaluate_base(setting, base).problem_ids == imitation.evaluation.problem_ids
    assert guided.sampled_tokens == sum(row["sampled_tokens"] for row in guided.curves.metrics)
    assert [row["update"] for row in guided.curves.evaluations] == [0, 3]
    assert json.loads((tmp_path / "guided/config.json").read_text())["learning_rate"] == 1e-3


@pytest.mark.long
def test_side_by_side_equals_one_after_the_other(setting, base, tmp_path):
    chains = [[GUIDED, IMITATION], [Arm("grpo", "grpo")]]
    jobs = [(setting, base, chain, tmp_path / "a") for chain in chains]
    lines = []
    together = run_chains(jobs, lines.append, workers=2)
    alone = [r for s, b, arms, _ in jobs for r in run_chain(s, b, arms, tmp_path / "b")]
    assert [r.arm.label for r in together] == ["guided", "imitation", "grpo"] and len(lines) == 3
    for one, other in zip(together, alone, strict=True):
        assert one.curves == other.curves


def test_an_agent_of_the_users_own_is_trained_by_its_name(setting, base, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "my_module", __import__("types").SimpleNamespace(MyAgent=MyAgent))
    (result,) = run_chain(setting, base, [Arm("mine", "my_module:MyAgent")], tmp_path)
    assert len(result.evaluation.problem_ids) == 6 and len(result.curves.metrics) == 3


class Counting:
    """An agent that writes 7 tokens an update, learns nothing and says what it was made with."""

    def __init__(self, policy, envs, *, seed, learning_rate=None):
        self.policy, self.envs, self.rate, self.sampled_tokens = policy, envs, learning_rate, 0

    def learn(self, updates):
        self.sampled_tokens += 7 * updates

    def evaluate(self, split="test", problems=256):
        return evaluate(self.policy, self.envs, split=split, problems=problems)

    def save(self, folder):
        self.policy.save_pretrained(folder)


def test_an_arm_ends_with_the_update_that_reaches_its_tokens(setting, base, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mine", __import__("types").SimpleNamespace(Counting=Counting))
    setting = replace(setting, sampled_tokens=30, evaluations=2)
    (result,) = run_chain(setting, base, [Arm("mine", "mine:Counting")], tmp_path)
    # 7, 14, 21, 28 are below 30; half of the budget is passed in update 3
    assert result.sampled_tokens == 35
    assert [row["sampled_tokens"] for row in result.curves.metrics] == [7] * 5
    assert [row["update"] for row in result.curves.evaluations] == [0, 3, 5]
    assert (tmp_path / "mine/checkpoints/000005/config.json").is_file()


def test_what_samples_nothing_is_counted_in_updates(setting, base, tmp_path):
    setting = replace(setting, sampled_tokens=10**9)
    (result,) = run_chain(setting, base, [Arm("sft", "sft")], tmp_path)
    assert result.sampled_tokens == 0 and len(result.curves.metrics) == setting.updates == 3


def test_an_imitation_arm_does_as_many_updates_as_the_guided_one(setting, base, tmp_path):
    setting = replace(setting, sampled_tokens=40)
    guided, imitation = run_chain(setting, base, [GUIDED, IMITATION], tmp_path)
    assert guided.sampled_tokens >= 40 and len(guided.curves.metrics) == len(imitation.curves.metrics)
    assert imitation.reveal_lengths == guided.reveal_lengths


def test_a_rate_and_the_environment_reach_agents_of_all_kinds(setting, base, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mine", __import__("types").SimpleNamespace(Counting=Counting))
    policy = CausalLMPolicy.from_pretrained(base)
    for algorithm in ("mine:Counting", "grpo"):
        for guided in (True, False):
            agent = make_agent(setting, policy, Arm("x", algorithm, 0.5, guided=guided), None)
            assert (find_guidance(agent.envs) is not None) == guided
    assert make_agent(setting, policy, Arm("x", "mine:Counting", 0.5), None).rate == 0.5
    assert make_agent(setting, policy, Arm("x", "mine:Counting"), None).rate is None
    assert make_agent(setting, policy, Arm("x", "grpo", 0.5), None).recipe.optimizer.learning_rate == 0.5


@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_the_agents_of_stable_baselines3_are_trained_by_their_short_names(setting, base, tmp_path, name):
    setting = replace(setting, sampled_tokens=60)
    (result,) = run_chain(setting, base, [Arm(name, AGENTS[name], 1e-4)], tmp_path)
    lanes, steps = 4, setting.envs(guided=True).unwrapped.task.max_new_tokens
    assert result.sampled_tokens == lanes * steps * math.ceil(60 / (lanes * steps))


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
    envs = setting.envs(guided=True)
    ids = envs.reset(seed=0)[1]["problem_id"]
    assert isinstance(envs.unwrapped.task.source, Ramp) and all(len(name) == 3 for name in ids)  # of four the easiest


def test_other_parts_of_a_recipe_reach_the_agent(setting, base):
    policy = CausalLMPolicy.from_pretrained(base)
    agent = make_agent(setting, policy, Arm("x", "g2rpo-a", parts={"selection": SplitGuided()}), None)
    assert agent.recipe.selection == SplitGuided()


def test_an_unknown_agent_is_named():
    for name in ("no_such_module:Agent", "g2rpo_env.agents:NoSuchAgent"):
        with pytest.raises(ConfigurationError, match="must name a class"):
            load_agent(name)
    assert load_agent("g2rpo_env.agents:GRPO") is GRPO


def test_guidance_goes_only_to_arms_that_need_it(setting):
    assert setting.envs(guided=True).unwrapped.reveal_plan is not None
    assert isinstance(setting.envs(guided=False), gym.vector.VectorEnv)
    assert setting.envs(guided=False).unwrapped.reveal_plan is None
