"""Algorithms by name: arms with their rates and controllers, and what trains after what."""

from dataclasses import replace

import pytest

from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.agents.parts.losses import ShapedReveal
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.controllers.rules import AdaptiveGuidance
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.algorithms import expand_names, find_misfits, make_arms, make_chains
from g2rpo_env.experiments.arms import Arm, Setting, make_agent
from g2rpo_env.experiments.families import ARMS, FAMILIES

ADDITION = "g2rpo_env/Addition-v0"


def test_arms_have_one_rate_for_all_or_one_each():
    assert make_arms(["grpo", "sft"], ()) == [Arm("grpo", "grpo", None), Arm("sft", "sft", None)]
    assert [arm.learning_rate for arm in make_arms(["grpo", "sft"], (0.1,))] == [0.1, 0.1]
    assert [arm.learning_rate for arm in make_arms(["grpo", "sft"], (0.1, 0.2))] == [0.1, 0.2]
    for names, rates in (([], ()), (["grpo", "grpo"], ()), (["grpo", "sft"], (1, 2, 3))):
        with pytest.raises(ConfigurationError):
            make_arms(names, rates)


def test_an_algorithm_is_guided_unless_its_name_says_otherwise():
    guided, plain, ppo, own = make_arms(["grpo", "grpo@unguided", "a2c@unguided", "g2rpo_env.agents:GRPO"])
    assert (guided.label, guided.algorithm, guided.guided) == ("grpo", "grpo", True)
    assert (plain.label, plain.algorithm, plain.guided) == ("grpo@unguided", "grpo", False)
    assert (ppo.label, ppo.algorithm, ppo.guided) == ("a2c@unguided", "g2rpo_env.agents.sb3:A2CAgent", False)
    assert (own.label, own.algorithm, own.guided) == ("g2rpo_env.agents.GRPO", "g2rpo_env.agents:GRPO", True)
    with pytest.raises(ConfigurationError, match="'g2rpo-a@unguided' needs guidance"):
        make_arms(["g2rpo-a@unguided"])
    with pytest.raises(ConfigurationError, match="'pppo' must be one of grpo, .*ppo, a2c, veripo, or module:function"):
        make_arms(["pppo"])


def my_recipe():
    """A recipe of a user's."""
    return replace(recipes.get("g2rpo-a"), loss=ShapedReveal(), optimizer=Optimizer(epochs=3))


MINE = my_recipe()


def make_my_agent(policy, envs, seed=0):
    """A factory of agents, which is no recipe."""


def test_a_recipe_of_the_users_is_an_algorithm_too():
    controller = FAMILIES[ADDITION].controller
    names = [f"{__name__}:my_recipe", f"{__name__}:MINE", f"{__name__}:make_my_agent"]
    made, object_, agent = make_arms(names, (0.5,), controller, {"minibatch": 4})
    assert (made.label, made.algorithm, made.controller) == (f"{__name__}.my_recipe", names[0], None)
    assert made.parts == object_.parts == {"optimizer": Optimizer(epochs=3, minibatch=4)} and agent.parts == {}
    with pytest.raises(ConfigurationError, match="my_recipe@unguided' needs guidance"):
        make_arms([names[0] + "@unguided"])
    setting = Setting(ADDITION, {"digits": 1}, {"length": 4.0, "ratio": 0.5}, problems=1, group_size=2)
    policy = CausalLMPolicy.tiny(setting.make_envs(guided=True), hidden_size=16, layers=1)
    mine = make_agent(setting, policy, made, None)
    assert isinstance(mine.recipe.loss, ShapedReveal) and mine.recipe.optimizer.learning_rate == 0.5
    assert mine.controller.length == 4.0


def test_fields_of_the_optimiser_replace_those_of_recipes_alone():
    names = ["grpo", "ppo", Arm("mine", "grpo")]
    recipe, agent, mine = make_arms(names, (0.5,), optimizer={"minibatch": 16, "epochs": 2})
    assert recipe.parts == {"optimizer": Optimizer(minibatch=16, epochs=2)} and recipe.learning_rate == 0.5
    assert agent.parts == mine.parts == make_arms(["grpo"])[0].parts == {}
    with pytest.raises(ConfigurationError, match="minibatch=0 must be at least 1"):
        make_arms(names, optimizer={"minibatch": 0})


def test_imitation_follows_the_run_it_replays():
    chains = make_chains(make_arms(["sft", "grpo", "g2rpo-a"], (0.1, 0.2, 0.3)))
    assert [[arm.label for arm in chain] for chain in chains] == [["grpo"], ["g2rpo-a", "sft"]]
    assert chains[1][1] == Arm("sft", "sft", 0.1, replays="g2rpo-a")
    assert make_chains(make_arms(["sft", "grpo"]))[0] == [Arm("sft", "sft")]


def test_only_arms_with_a_controller_take_the_family_s():
    controller = FAMILIES[ADDITION].controller
    arms = {arm.label: arm for arm in make_arms(ARMS, (), controller)}
    assert [name for name, arm in arms.items() if arm.controller is controller] == ["g2rpo-a", "g2rpo-a-masked"]


def test_arms_of_the_user_stay_as_they_are_and_follow_what_they_replay():
    mine, other = Arm("mine", "sft", 0.3, replays="grpo"), Arm("sft", "sft", 0.4)
    arms = make_arms([mine, "grpo", other, "g2rpo-a"], (0.1,))
    assert arms == [mine, Arm("grpo", "grpo", 0.1), other, Arm("g2rpo-a", "g2rpo-a", 0.1)]
    assert make_chains(arms) == [[arms[1], mine], [other], [arms[3]]]
    with pytest.raises(ConfigurationError, match="replays='grpo' of mine must be one of sft"):
        make_chains([mine, other])


def test_a_guided_form_takes_the_controller_of_the_family():
    controller = FAMILIES[ADDITION].controller
    names = ["grpo@guided", "dapo@guided-masked", f"{__name__}:make_plain@guided-positive", "dapo"]
    arms = make_arms(names, (0.5,), controller, {"minibatch": 4})
    assert [arm.label for arm in arms] == [name.replace(":", ".") for name in names]
    assert [arm.algorithm for arm in arms] == names and all(arm.guided for arm in arms)
    assert [arm.controller is controller for arm in arms] == [True, True, True, False]
    assert all(arm.parts["optimizer"].minibatch == 4 for arm in arms)


def make_plain():
    """A recipe of a user's that is not guided."""
    return recipes.get("grpo")


def test_the_guided_form_of_grpo_is_g2rpo_a_where_both_have_one_controller():
    setting = Setting(ADDITION, {"digits": 1}, {"length": 4.0, "ratio": 0.5}, problems=1, group_size=2)
    policy = CausalLMPolicy.tiny(setting.make_envs(guided=True), hidden_size=16, layers=1)
    arms = make_arms(["grpo@guided", "g2rpo-a", "grpo@guided-masked", "g2rpo-a-masked"], (), AdaptiveGuidance(length=4))
    one, other, masked, other_masked = [make_agent(setting, policy, arm, None).recipe for arm in arms]
    assert one == other and masked == other_masked != one


@pytest.mark.parametrize("name", ["guided-grpo", "guide", "bread", "sft"])
def test_a_controller_that_is_a_part_of_a_method_stays(name):
    assert make_arms([name], (), FAMILIES[ADDITION].controller)[0].controller is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("g2rpo-a@guided", "algorithm='g2rpo-a@guided': recipe=.* is guided already"),
        ("gac@guided", "algorithm='gac@guided': strategy=Conditioned"),
        ("veripo@guided", "algorithm='veripo@guided' must be a recipe"),
        ("g2rpo_env.agents:GRPO@guided", "must be a recipe"),
        ("grpo@masked", "must end in @unguided, @guided"),
        ("pppo@guided", "algorithm='pppo@guided' must be one of"),
    ],
)
def test_a_form_that_there_is_not_is_refused(name, words):
    with pytest.raises(ConfigurationError, match=words):
        make_arms([name])


def test_all_stands_for_every_recipe_that_is_not_named_beside_it():
    arms = make_arms(["all"])
    assert [arm.algorithm for arm in arms] == list(recipes.RECIPES)
    assert {arm.label: arm.guided for arm in arms} == {
        name if recipes.get(name).needs_guidance else f"{name}@unguided": recipes.get(name).needs_guidance
        for name in recipes.RECIPES
    }
    assert make_arms(["all"])[1].replays == "g2rpo-a"
    mine = Arm("sft", "sft", 0.3)
    names = expand_names(["grpo", "all", mine, "dapo@unguided"])
    assert names[:2] == ["grpo", "grpo@unguided"] and names[-2:] == [mine, "dapo@unguided"]
    assert len(names) == len(set(names)) == len(recipes.RECIPES) + 1 and "sft" not in names


def test_of_all_those_are_left_out_that_the_guidance_does_not_fit():
    names = ["all", "bread"]
    arms = make_arms(names)
    setting = Setting(ADDITION, {"digits": 1}, {"length": 4.0, "ratio": 0.5}, problems=1, group_size=2)
    found = find_misfits(names, arms, setting)
    assert {"guide", "ghpo", "pope", "hint-grpo", "r3"} < found.keys() and "bread" not in found  # asked for by name
    assert not found.keys() & {"grpo@unguided", "g2rpo-a", "guided-grpo", "sft", "luffy", "igrpo@unguided"}
    assert "unit='tokens' of the guidance wrapper must be 'fraction'" in found["uft"]
    assert find_misfits(["guide"], make_arms(["guide"]), setting) == {}
    alone = find_misfits(["all"], make_arms(["all"]), replace(setting, group_size=1))
    assert "group_size=1" in alone["gpg@unguided"]
