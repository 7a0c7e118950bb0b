"""A setting of three updates, a base that fits it, and an agent that needs no training."""

import sys
import types

import pytest

from g2rpo_env.agents import CausalLMPolicy, evaluate
from g2rpo_env.experiments.arms import Setting

ENV = "g2rpo_env/Addition-v0"


@pytest.fixture
def setting():
    return Setting(
        ENV, {"digits": 1}, {"length": 9.0, "ratio": 0.5}, problems=2, group_size=2, updates=3, evaluation_problems=6,
        evaluations=1, curve_problems=4,
    )  # fmt: skip


@pytest.fixture
def base(setting, tmp_path):
    envs = setting.make_envs(guided=False)
    CausalLMPolicy.tiny(envs, hidden_size=16, layers=1).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


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


@pytest.fixture
def counting(monkeypatch):
    """The algorithm ``mine:Counting``."""
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Counting=Counting))
    return "mine:Counting"
