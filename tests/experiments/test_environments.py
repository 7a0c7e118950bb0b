"""Environments of experiments: ids with and without modules, whole groups, guidance; torch gets its threads."""

import gymnasium as gym
import pytest
import torch

from g2rpo_env import GuidanceWrapper, TokenEnv
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import env_spec, make_envs, prepare_torch

ENV = "g2rpo_env/Addition-v0"


def test_an_unknown_id_is_named_with_the_nearest_known_one():
    with pytest.raises(ConfigurationError, match="must be one of .*; did you mean 'g2rpo_env/Addition-v0'"):
        env_spec("g2rpo_env/Adition-v0")
    with pytest.raises(ConfigurationError, match="env='CartPole-v1' must be one of"):
        env_spec("CartPole-v1")  # no tokens
    assert env_spec(f"g2rpo_env:{ENV}").id == env_spec(ENV).id == ENV


def test_an_id_may_name_the_module_that_registers_it(tmp_path, monkeypatch):
    text = "from g2rpo_env import register_task\n"
    text += "register_task('Own-v0', 'g2rpo_env.envs.arithmetic:Addition', namespace='own')\n"
    (tmp_path / "own_tasks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert env_spec("own_tasks:own/Own-v0").id == "own/Own-v0"
    gym.registry.pop("own/Own-v0")
    with pytest.raises(ConfigurationError, match="must name a module"):
        env_spec("no_such_module:own/Own-v0")


def test_lanes_are_whole_groups_and_guided_where_guidance_is_given():
    envs = make_envs(ENV, 3, 4, {"digits": 2})
    assert (envs.num_envs, envs.unwrapped.group_size) == (12, 4)
    assert envs.unwrapped.autoreset_mode.name == "DISABLED" and envs.unwrapped.reveal_plan is None
    guided = make_envs(ENV, 3, 4, {"digits": 2}, {"length": 5.0, "ratio": 0.5})
    assert (guided.length, guided.ratio) == (5.0, 0.5) and guided.unwrapped.reveal_plan is not None


def make_short(digits=1, render_mode=None):
    """An environment of a user's, registered as Gymnasium's pages show it."""
    return TokenEnv(Addition(digits=digits), vocabulary="0123456789+=#\n")


def make_guided():
    return GuidanceWrapper(TokenEnv(Addition(digits=1)), length=2)


@pytest.fixture
def register():
    known = set(gym.registry)
    yield lambda name, make, **options: gym.register(f"tests/{name}-v0", entry_point=make, **options)
    for env_id in set(gym.registry) - known:
        del gym.registry[env_id]


def test_an_id_of_a_single_environment_gets_lanes_too(register):
    register("Function", make_short)
    register("Text", f"{__name__}:make_short")
    register("Class", TokenEnv, kwargs={"task": Addition(digits=3)})
    for name, digits in (("Function", 2), ("Text", 2)):
        envs = make_envs(f"tests/{name}-v0", 3, 4, {"digits": digits}, {"length": 5.0})
        assert (envs.num_envs, envs.unwrapped.group_size, envs.unwrapped.task.source.low) == (12, 4, digits)
        assert len(envs.unwrapped.vocabulary) == 15
    assert make_envs("tests/Class-v0", 1, 2, {}).unwrapped.task.source.low == 3


def test_what_a_wrapper_would_change_gets_no_lanes(register):
    register("Wrapped", make_guided)
    register("Limited", make_short, max_episode_steps=4)
    for name, kind in (("Wrapped", "GuidanceWrapper"), ("Limited", "TimeLimit")):
        with pytest.raises(
            ConfigurationError, match=f"must make a TokenEnv, .*: it makes a {kind}, which has no lanes"
        ):
            make_envs(f"tests/{name}-v0", 1, 2, {})


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)])
def test_an_update_has_problems_and_members(sizes):
    with pytest.raises(ConfigurationError, match="problems=. and group_size=. must be at least 1"):
        make_envs(ENV, *sizes, {})


def test_torch_gets_its_threads():
    before = torch.get_num_threads()
    prepare_torch(2)
    assert torch.get_num_threads() == 2
    prepare_torch()
    assert torch.get_num_threads() == 2  # a number that nobody names stays
    torch.set_num_threads(before)
