"""Guided rollouts: that they collect what rollouts do, and which wrappers they refuse, with what words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env import InAnswer, InPrompt, Levels
from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.strategies.guided import GuidedRollout, check_place, name_place
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError

WHOLE = {"length": 1.0, "unit": "fraction"}


def test_it_collects_what_a_rollout_does(make_envs: Any, make_policy: Any) -> None:
    found = []
    for strategy in (Rollout(), GuidedRollout(places=("answer",), who="some")):
        envs = make_envs(8, 4, guidance={"length": 4, "ratio": 0.5})
        envs.reset(seed=0)
        found.append(strategy(make_policy(envs), envs))
    for one, two in zip(found[0].episodes, found[1].episodes, strict=True):
        assert np.array_equal(one.tokens_T, two.tokens_T) and np.array_equal(one.logprob_T, two.logprob_T)


@pytest.mark.parametrize(
    ("strategy", "wrapper", "words"),
    [
        ({"places": ("prompt",)}, {}, "place='answer' of the guidance wrapper must be 'prompt': the recipe"),
        ({"places": ("answer", "hint")}, {"place": "prompt"}, "place='prompt' .* must be 'answer' or 'hint'"),
        ({"units": ("steps",)}, {}, "unit='fraction' of the guidance wrapper must be 'steps'"),
        ({"units": ("steps", "fraction")}, {"unit": "tokens"}, "unit='tokens' .* must be 'steps' or 'fraction'"),
        ({"scaled": True}, {"length": 0}, "length=0.0 of the guidance wrapper must be above 0.* 1 is the longest"),
        ({"who": "all"}, {"ratio": 0.75}, "ratio=0.75 of the guidance wrapper must be 1"),
        ({"who": "some"}, {"ratio": 1.0}, r"ratio=1.0 .* must lie in \(0, 1\) and leave members of groups of 4"),
        ({"who": "some"}, {"ratio": 0.9}, r"ratio=0.9 .* must lie in \(0, 1\)"),  # ceil(3.6) of 4: all
        ({"who": "some"}, {"ratio": 0.0}, r"ratio=0.0 .* must lie in \(0, 1\)"),
        ({"who": "levels"}, {"ratio": 1.0}, "who=FirstMembers of the guidance wrapper must be Levels"),
        ({"who": "levels"}, {"ratio": 0.5, "who": Levels((0, 1))}, "ratio=0.5 of the guidance wrapper must be 1"),
        ({}, {"ratio": 0.0}, "ratio=0.0 of the guidance wrapper must be above 0"),
    ],
)
def test_a_wrapper_that_does_not_suit_is_refused_when_the_agent_is_made(
    make_envs: Any, make_policy: Any, strategy: Any, wrapper: Any, words: str
) -> None:
    envs = make_envs(8, 4, guidance={**WHOLE, "ratio": 0.5, **wrapper})
    with pytest.raises(ConfigurationError, match=words):
        recipes.make("grpo", make_policy(envs), envs, strategy=GuidedRollout(**strategy))


@pytest.mark.parametrize(
    ("strategy", "wrapper"),
    [
        ({"places": ("answer",), "units": ("fraction",), "who": "some", "scaled": True}, {"ratio": 0.75}),
        ({"who": "some"}, {"ratio": 0.9, "who": "groups"}),
        ({"who": "levels"}, {"ratio": 1.0, "who": Levels((0, 1))}),
        ({"places": ("prompt",)}, {"place": InPrompt(template="{hint} ")}),
        ({"places": ("answer",)}, {"place": InAnswer(opening="<")}),
    ],
)
def test_a_wrapper_that_suits_is_taken(make_envs: Any, make_policy: Any, strategy: Any, wrapper: Any) -> None:
    envs = make_envs(8, 4, guidance={**WHOLE, "ratio": 0.5, **wrapper})
    recipes.make("grpo", make_policy(envs), envs, strategy=GuidedRollout(**strategy))


def test_without_a_wrapper_it_says_so(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    with pytest.raises(MissingGuidanceError, match="strategy=GuidedRollout needs a guidance wrapper"):
        recipes.make("grpo", make_policy(envs), envs, strategy=GuidedRollout())


def test_a_placement_of_somebody_else_is_not_judged() -> None:
    class Elsewhere:
        what = "solution"

    assert name_place(Elsewhere()) is None
    check_place(Elsewhere(), ("answer",))


def test_what_it_needs_and_which_arguments_it_refuses() -> None:
    assert GuidedRollout(who="some").needs == GuidedRollout(who="levels").needs == {"members"}
    assert GuidedRollout(who="all").needs == frozenset() and GuidedRollout().requires == {"guidance"}
    assert GuidedRollout(places=["answer"]) == GuidedRollout(places=("answer",))  # as JSON has it
    for options, words in (
        ({"places": "prompt"}, "places='prompt' must be a tuple of names out of answer, prompt, hint"),
        ({"places": ("here",)}, "places=.'here',. must be a tuple of names"),
        ({"units": ("words",)}, "units=.'words',. must be a tuple of names out of tokens, steps, fraction"),
        ({"who": "one"}, "who='one' must be one of any, some, all, levels"),
        ({"groups": 0}, "groups=0"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            GuidedRollout(**options)


def test_rerolls_may_be_bound_to_places_too(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance={**WHOLE, "ratio": 0.5})
    bound = Reroll(places=("prompt", "hint"))
    assert bound.requires == {"guidance"} and Reroll().requires == frozenset()
    with pytest.raises(ConfigurationError, match="place='answer' .* must be 'prompt' or 'hint'"):
        recipes.make("grpo", make_policy(envs), envs, strategy=bound)
    with pytest.raises(ConfigurationError, match="train_plain=True needs guidance in the prompt"):
        recipes.make("grpo", make_policy(envs), envs, strategy=Reroll(train_plain=True))
    with pytest.raises(ConfigurationError, match="places="):
        Reroll(places=("nowhere",))
