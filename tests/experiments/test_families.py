"""families: every one makes an environment, fits its controller, and knows all arms."""

import pytest

from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.experiments.families import ARMS, FAMILIES, family_of


@pytest.mark.parametrize("env", FAMILIES)
def test_a_family_fits_its_environment(env):
    family = FAMILIES[env]
    envs = make_envs(env, family.problems, family.group_size, family.task, family.guidance)
    assert envs.num_envs == family.problems * family.group_size
    assert (envs.length, envs.ratio) == (family.longest, family.ratio)
    assert family.knows(ARMS) and all(0 < rate < 1e-2 for rate in family.rates.values())
    controller = family.controller
    assert controller.length == family.longest
    for _ in range(100):  # success of every answer shortens the reveal, but not below the least
        controller.update(reward=1.0)
    assert family.shortest <= controller.length <= family.longest


def test_each_asks_for_its_own_controller_and_only_known_arms():
    family = FAMILIES["g2rpo_env/Addition-v0"]
    assert family.controller is not family.controller
    assert not family.knows(["grpo@unguided", "ppo"]) and not family.knows(["grpo"])


def test_a_family_is_found_by_its_id_with_or_without_a_module():
    assert family_of("g2rpo_env:g2rpo_env/Addition-v0") is FAMILIES["g2rpo_env/Addition-v0"]
    assert family_of("g2rpo_env/LinearEquation-v0") is None
