"""The study: same base, same problems; sft replays the reveals; runs side by side equal runs one after the other."""

import json

import gymnasium as gym
import pytest

from g2rpo_env.agents import GRPO, CausalLMPolicy
from g2rpo_env.cli.study import Arm, Setting, evaluate_base, load_agent, run_chain, run_chains
from g2rpo_env.errors import ConfigurationError

ENV = "g2rpo_env/Addition-v0"
GUIDED = Arm("guided", "g2rpo-a", 1e-3)
IMITATION = Arm("imitation", "sft", 1e-3, replays="guided")


class MyAgent(GRPO):
    """An agent that the command line knows only by its name."""


@pytest.fixture
def setting():
    return Setting(
        ENV, {"digits": 1}, {"length": 9.0, "ratio": 0.5}, problems=2, group_size=2, updates=3, evaluation_problems=6,
        evaluate_every=2, curve_problems=4,
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
    assert [row["update"] for row in guided.curves.evaluations] == [0, 2]
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
    assert len(result.evaluation.problem_ids) == 6 and result.curves.metrics == ()


def test_an_unknown_agent_is_named():
    for name in ("no_such_module:Agent", "g2rpo_env.agents:NoSuchAgent"):
        with pytest.raises(ConfigurationError, match="must name a class"):
            load_agent(name)
    assert load_agent("g2rpo_env.agents:GRPO") is GRPO


def test_guidance_goes_only_to_arms_that_need_it(setting):
    assert setting.envs(guided=True).unwrapped.reveal_plan is not None
    assert isinstance(setting.envs(guided=False), gym.vector.VectorEnv)
    assert setting.envs(guided=False).unwrapped.reveal_plan is None
