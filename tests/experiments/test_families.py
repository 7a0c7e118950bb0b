"""families: every one makes an environment, fits its controller, and knows all arms."""

import pytest

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Setting
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.experiments.families import ARMS, FAMILIES, find_controller, find_family, make_setting


@pytest.mark.parametrize("env", FAMILIES)
def test_a_family_fits_its_environment(env):
    family = FAMILIES[env]
    envs = make_envs(env, family.problems, family.group_size, family.task, family.guidance)
    assert envs.num_envs == family.problems * family.group_size
    assert (envs.length, envs.ratio) == (family.longest, family.ratio)
    assert family.has_rates(ARMS) and all(0 < rate < 1e-2 for rate in family.rates.values())
    controller = family.controller
    assert controller.length == family.longest
    for _ in range(100):  # success of every answer shortens the reveal, but not below the least
        controller.update(reward=1.0)
    assert family.shortest <= controller.length <= family.longest


def test_each_asks_for_its_own_controller_and_only_known_arms():
    family = FAMILIES["g2rpo_env/Addition-v0"]
    assert family.controller is not family.controller
    assert not family.has_rates(["grpo@unguided", "ppo"]) and not family.has_rates(["grpo"])


def test_a_family_is_found_by_its_id_with_or_without_a_module():
    assert find_family("g2rpo_env:g2rpo_env/Addition-v0") is FAMILIES["g2rpo_env/Addition-v0"]
    assert find_family("g2rpo_env/LinearEquation-v0") is None


def test_a_controller_belongs_to_the_guidance_of_its_family():
    family = FAMILIES["g2rpo_env/Chain-v0"]
    more = {**family.guidance, "counted": True}
    for guidance in (family.guidance, more):
        assert find_controller("g2rpo_env/Chain-v0", guidance) == family.controller
    assert find_controller("g2rpo_env/Chain-v0", {**family.guidance, "length": 0.5}) is None
    assert find_controller("g2rpo_env/LinearEquation-v0", family.guidance) is None


def test_the_setting_of_a_family():
    family = FAMILIES["g2rpo_env/Chain-v0"]
    setting = make_setting("g2rpo_env/Chain-v0", updates=7, seed=3)
    assert setting == Setting(
        "g2rpo_env/Chain-v0", {}, family.guidance, problems=16, group_size=4, updates=7, seed=3, decay=True
    )
    with pytest.raises(ConfigurationError, match="env='g2rpo_env/LinearEquation-v0' must be one of g2rpo_env/Addition"):
        make_setting("g2rpo_env/LinearEquation-v0")
