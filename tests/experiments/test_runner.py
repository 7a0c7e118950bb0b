"""The runner: sft replays the reveals, budgets end where they say, runs side by side equal runs one after the other."""

import json
import math
import sys
import types
from dataclasses import replace

import pytest

from g2rpo_env.agents import GRPO
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.staged import Staged
from g2rpo_env.experiments.arms import Arm, evaluate_base
from g2rpo_env.experiments.runner import run_chain, run_chains

GUIDED = Arm("guided", "g2rpo-a", 1e-3)
IMITATION = Arm("imitation", "sft", 1e-3, replays="guided")


class MyAgent(GRPO):
    """An agent that the command line knows only by its name."""


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
    monkeypatch.setitem(sys.modules, "my_module", types.SimpleNamespace(MyAgent=MyAgent))
    (result,) = run_chain(setting, base, [Arm("mine", "my_module:MyAgent")], tmp_path)
    assert len(result.evaluation.problem_ids) == 6 and len(result.curves.metrics) == 3


def test_an_arm_ends_with_the_update_that_reaches_its_tokens(setting, base, tmp_path, counting):
    setting = replace(setting, sampled_tokens=30, evaluations=2)
    (result,) = run_chain(setting, base, [Arm("mine", counting)], tmp_path)
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


@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_the_agents_of_stable_baselines3_are_trained_by_their_short_names(setting, base, tmp_path, name):
    setting = replace(setting, sampled_tokens=60)
    (result,) = run_chain(setting, base, [Arm(name, AGENTS[name], 1e-4)], tmp_path)
    lanes, steps = 4, setting.make_envs(guided=True).unwrapped.task.max_new_tokens
    assert result.sampled_tokens == lanes * steps * math.ceil(60 / (lanes * steps))


CRASHING = """
import os


class Raises:
    def __init__(self, policy, envs, *, seed):
        self.sampled_tokens = 0

    def evaluate(self, split="test", problems=256):
        raise ZeroDivisionError("no problems")


class Dies(Raises):
    def evaluate(self, split="test", problems=256):
        os._exit(1)
"""


def test_an_arm_that_crashes_is_named_and_the_others_are_kept(setting, base, tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(tmp_path)
    setting = replace(setting, seed=5, updates=1, evaluations=0)
    follower = Arm("follower", "sft", replays="raises")
    chains = [[Arm("raises", "crashing:Raises"), follower], [Arm("dies", "crashing:Dies")], [Arm("grpo", "grpo")]]
    lines, kept = [], []
    jobs = [(setting, base, chain, tmp_path / "out") for chain in chains]
    raises, replays, dies, grpo = run_chains(jobs, lines.append, 1, kept.append)
    trace = tmp_path / "out/raises/error.txt"
    assert str(raises) == f"raises, seed 5: ZeroDivisionError: no problems (its traceback: {trace})"
    assert "in evaluate" in trace.read_text()
    assert str(replays) == "follower, seed 5: raises, whose reveal lengths it replays, failed"
    assert str(dies).startswith("dies, seed 5: its process ended without a word")
    assert kept == [grpo] and grpo.arm.label == "grpo"
    assert [line.split(":")[0] for line in lines] == ["  failed", "  failed", "  failed", "  grpo, seed 5"]


def test_a_run_says_what_it_was_made_of_and_what_came_out(setting, base, tmp_path):
    (result,) = run_chain(replace(setting, seed=2), base, [Arm("plain", "grpo", 1e-3)], tmp_path)
    config = json.loads((tmp_path / "plain/config.json").read_text())
    assert config["setting"]["env"] == setting.env and config["setting"]["task"] == {"digits": 1}
    assert config["arm"]["learning_rate"] == 1e-3 and config["base"] == str(base) and config["data"] == {}
    assert {"python", "torch", "transformers", "g2rpo_env"} <= config["versions"].keys()
    found = json.loads((tmp_path / "plain/result.json").read_text())
    assert found["accuracy"] == result.evaluation.accuracy and found["update"] == 3
    assert found["problem_ids"] == list(result.evaluation.problem_ids)
    assert found["correct"] == result.evaluation.correct_PS.astype(int).tolist()


def test_an_agent_of_stages_has_metrics_and_a_checkpoint_that_goes_on(setting, base, tmp_path):
    arm = Arm("veripo", AGENTS["veripo"], 1e-3, guided=False, parts={"grpo": 2, "dpo": 1, "rounds": 1})
    (result,) = run_chain(setting, base, [arm], tmp_path)
    assert [row["stage"] for row in result.curves.metrics] == [0, 0, 1]
    assert result.sampled_tokens == sum(row["sampled_tokens"] for row in result.curves.metrics) > 0
    assert len(result.evaluation.problem_ids) == 6 and len(result.reveal_lengths) == 3
    (checkpoint,) = (tmp_path / "veripo/checkpoints").iterdir()
    resumed = Staged.load(checkpoint, setting.make_envs(guided=False))
    assert resumed.updates == 3 and resumed.update()["stage"] == 2
