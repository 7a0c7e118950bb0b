"""Bases: the user's folder as it is, or a tiny model of the seed with what its warm start reached."""

import json

import numpy as np
import pytest

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import RunExistsError
from g2rpo_env.experiments.bases import make_base, make_folder, save_base, warm_start_tiny

WARM = WarmStart(success=(0.0, 1.0), max_steps=1, check_every=1, samples=8)


def test_a_base_of_the_user_is_left_alone(setting, tmp_path):
    assert make_base(setting, str(tmp_path / "mine"), WARM, tmp_path / "base") == tmp_path / "mine"
    assert list(tmp_path.iterdir()) == []


def test_a_base_is_made_for_its_seed(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    lines = []
    folder = make_base(setting, None, WARM, tmp_path / "base", lines.append)
    found = json.loads((folder / "warm_start.json").read_text())
    assert (
        set(found) == {"steps", "success", "env", "task", "guidance"}
        and found["env"] == setting.env
        and 0 <= found["success"] <= 1
    )
    assert lines[0].startswith(f"Base, seed 0: {found['steps']} steps, sampled success ")
    assert CausalLMPolicy.from_pretrained(folder).model is not None


def test_a_base_can_be_warm_started_under_a_context(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    seen = []

    def context(task, problem_id):
        assert isinstance(task, Addition)
        seen.append(problem_id)
        return np.array([5, 6], np.int32)

    make_base(setting, None, WARM, tmp_path / "base", lambda line: None, context)
    assert seen
    make_base(setting, None, WARM, tmp_path / "plain", lambda line: None)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # the context is a part of what the cache is asked for


def test_a_tiny_model_has_the_size_and_the_seed_that_were_asked_for(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    envs = setting.make_envs(guided=False)
    policy, result = warm_start_tiny(envs, WARM, 3, hidden_size=16, layers=1)
    initial = CausalLMPolicy.tiny(envs, 3, hidden_size=16, layers=1)
    assert result.steps == 0  # a success in [0, 1] is in the range that WARM asks for
    for weight, other in zip(policy.model.parameters(), initial.model.parameters(), strict=True):
        assert weight.equal(other)
    save_base(policy, tmp_path / "base", {"steps": 0})
    assert (tmp_path / "base/warm_start.json").read_text() == '{"steps": 0}\n'
    assert CausalLMPolicy.from_pretrained(tmp_path / "base").model.config.hidden_size == 16


def test_a_folder_that_holds_something_is_refused(tmp_path):
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    (tmp_path / "a/b/thesis.txt").write_text("three years of work")
    for path in (tmp_path / "a/b", tmp_path / "a/b/thesis.txt"):
        with pytest.raises(RunExistsError, match="must be a new or empty folder, .* nothing in it is overwritten"):
            make_folder(path)
    assert (tmp_path / "a/b/thesis.txt").read_text() == "three years of work"
