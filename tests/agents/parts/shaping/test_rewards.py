"""Shaping: environment rewards, and what a penalty takes off them."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.shaping.rewards import (
    EnvironmentReward,
    KLPenalty,
    Signed,
    SoftOverlong,
    TruncationPenalty,
    overlong,
)
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.episode import Group, Role
from g2rpo_env.errors import ConfigurationError


def test_environment_reward_is_passed_on_by_member(make_episode: Any) -> None:
    group = Group((make_episode("ps", reward=0.25), make_episode("ps", reward=1.0, member=1)))
    assert EnvironmentReward()(group).tolist() == [0.25, 1.0]


def test_truncated_answers_lose_the_penalty_and_others_nothing(make_episode: Any) -> None:
    cut = make_episode("ps", reward=1.0, terminated=False, truncated=True)
    ended = make_episode("ps", reward=1.0, member=1)
    assert TruncationPenalty(0.25)(Group((cut, ended))).tolist() == [0.75, 1.0]


def test_shaping_leaves_the_episodes_alone(make_episode: Any) -> None:
    episode = make_episode("ps", reward=1.0, terminated=False, truncated=True)
    TruncationPenalty(0.5)(Group((episode,)))
    assert episode.reward == 1.0


def test_a_negative_penalty_is_refused() -> None:
    with pytest.raises(ValueError, match="penalty=-0.1"):
        TruncationPenalty(-0.1)


# -- signs -------------------------------------------------------------------------------------------------------------


def test_signed_rewards_by_hand(make_episode: Any) -> None:
    group = Group(tuple(make_episode("ps", reward=r, member=i) for i, r in enumerate((0.0, 1.0, 0.25))))
    assert Signed()(group).tolist() == [-1, 1, -0.5]


def test_signed_hands_on_what_the_inner_shaping_requires(make_episode: Any) -> None:
    # budget 2, buffer 1: 0 after one token, -1 after two: r = 1, 0, doubled less 1
    group = Group((make_episode("ps"), make_episode("pss", member=1)))
    part = Signed(SoftOverlong(buffer=0.5))
    assert part.requires == {"budget"} and Signed().requires == frozenset()
    assert part(group, budget=2).tolist() == [1, -1]


def test_signed_needs_what_the_inner_shaping_needs() -> None:
    class Picky(EnvironmentReward):
        needs = frozenset({"steps"})

    assert Signed(Picky()).needs == {"binary", "steps"} and Signed().needs == {"binary"}
    with pytest.raises(ConfigurationError, match=r"inner=None must be an object that is called with \(group\)"):
        Signed(None)


# -- long answers ------------------------------------------------------------------------------------------------------


def test_the_soft_punishment_by_hand(make_episode: Any) -> None:
    # L 10, C 0.2 * 10 = 2: nothing up to 8 tokens, (8 - 9) / 2 at 9, -1 at 10; prompts and reveals count for nothing
    group = Group(tuple(make_episode("pprr" + "s" * n, member=i) for i, n in enumerate((1, 8, 9, 10))))
    assert SoftOverlong()(group, budget=10).tolist() == [1, 1, 0.5, 0]
    assert SoftOverlong(penalty=0.5)(group, budget=10).tolist() == [1, 1, 0.75, 0.5]
    assert SoftOverlong(buffer=1.0)(group, budget=10) == pytest.approx([0.9, 0.2, 0.1, 0.0])


def test_without_a_penalty_the_reward_is_that_of_the_environment(make_episode: Any) -> None:
    group = Group(tuple(make_episode("p" + "s" * n, correct=bool(n % 2), member=n) for n in range(1, 11)))
    assert SoftOverlong(penalty=0.0)(group, budget=10).tolist() == EnvironmentReward()(group).tolist()


def test_the_punishment_falls_from_zero_to_minus_one_and_no_further() -> None:
    found = overlong(np.arange(25.0), 20.0, 4.0)
    assert found[:17].tolist() == [0] * 17 and not np.signbit(found[:17]).any()
    assert np.diff(found[16:21]).tolist() == [-0.25] * 4 and found[20:].tolist() == [-1] * 5


@pytest.mark.parametrize(
    "options,words",
    [
        ({"buffer": 0.0}, r"buffer=0\.0 must lie in \(0, 1\]"),
        ({"buffer": 1.5}, r"buffer=1\.5"),
        ({"penalty": -1.0}, r"penalty=-1\.0 must be finite and at least 0"),
        ({"penalty": math.inf}, "penalty=inf"),
    ],
)
def test_bad_punishments_are_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SoftOverlong(**options)


def test_an_agent_gives_the_budget_of_its_task(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, max_new_tokens=10)
    agent = recipes.make("grpo", make_policy(envs), envs, shaping=SoftOverlong(buffer=1.0))
    agent.update()
    for group, reward_G in zip(agent.groups, agent.last_update.rewards, strict=True):
        lengths = [int(e.sampled_T.sum()) for e in group.episodes]
        assert reward_G == pytest.approx([e.reward - n / 10 for e, n in zip(group.episodes, lengths, strict=True)])


# -- divergence from the reference -------------------------------------------------------------------------------------


def test_the_divergence_is_taken_off_by_hand(make_episode: Any) -> None:
    # sampled tokens: differences 0.5 and -0.25, beta 2: 1 - 2 * 0.25; what stands at other tokens is not looked at
    group = Group((make_episode("prss"), make_episode("ps", correct=False, member=1)))
    found = KLPenalty(2.0)(
        group,
        log_prob_GT=[np.array([9, 9, -1.0, -2.0]), np.array([9, -3.0])],
        reference_log_prob_GT=[np.array([7, 8, -1.5, -1.75]), np.array([0, -3.0])],
    )
    assert found.tolist() == [0.5, 0]


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_a_weight_that_is_not_above_zero_is_refused(beta: float) -> None:
    with pytest.raises(ConfigurationError, match=f"beta={beta} must be finite and above 0"):
        KLPenalty(beta)


def test_an_agent_is_kept_near_the_policy_it_began_with(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    agent = recipes.make("grpo", make_policy(envs), envs, shaping=KLPenalty(0.5), optimizer=Optimizer(1e-2))
    start = copy.deepcopy(agent.policy.model)
    agent.update()
    for group, reward_G in zip(agent.groups, agent.last_update.rewards, strict=True):
        assert reward_G.tolist() == group.reward_G.tolist()  # the policy is its own reference still
    before = copy.deepcopy(agent.policy.model)
    agent.update()
    taken_off = []
    for group, reward_G in zip(agent.groups, agent.last_update.rewards, strict=True):
        for episode, reward in zip(group.episodes, reward_G, strict=True):
            new, old = (sum_log_probs(model, episode) for model in (before, start))
            assert reward == pytest.approx(episode.reward - 0.5 * (new - old), abs=1e-5)
            taken_off.append(episode.reward - reward)
    assert max(map(abs, taken_off)) > 1e-3


def sum_log_probs(model: Any, episode: Any) -> float:
    """The log-probability of the sampled tokens of an episode under a model."""
    tokens = torch.from_numpy(episode.tokens_T.astype(np.int64))
    with torch.no_grad():
        log_probs = torch.log_softmax(model(tokens[None]).logits[0], -1)
    return sum(float(log_probs[t - 1, tokens[t]]) for t in np.flatnonzero(episode.role_T == Role.SAMPLED))
