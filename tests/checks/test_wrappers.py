"""Wrappers that make no sense are warned of; the others let infos through."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from broken import TASK, refusal, unbroken, without

from g2rpo_env import GuidanceWrapper, TokenEnv, TokenVectorEnv, check_env, check_vector_env
from g2rpo_env.checks import wrappers
from g2rpo_env.errors import ConformanceError


def timed(env: gym.Env) -> gym.Env:
    return gym.wrappers.TimeAwareObservation(gym.wrappers.TimeLimit(env, 10))


class LosesInfo(gym.Wrapper):
    """A wrapper that drops the key which says who is who."""

    def reset(self, **arguments: Any) -> Any:
        """Reset without the group."""
        return without(self.env.reset(**arguments), "group")


class LosesVectorInfo(gym.vector.VectorWrapper):
    """A wrapper that drops what resets say."""

    def reset(self, **arguments: Any) -> Any:
        """Reset without info."""
        return self.env.reset(**arguments)[0], {}


@pytest.mark.parametrize(
    "wrap",
    [
        gym.wrappers.RecordEpisodeStatistics,
        lambda env: gym.wrappers.TransformReward(env, lambda reward: reward - 1),
        gym.wrappers.NormalizeReward,
        gym.wrappers.FlattenObservation,
    ],
)
def test_wrappers_that_keep_the_contract_pass_without_a_warning(wrap: Callable[[gym.Env], gym.Env]) -> None:
    check_env(wrap(TokenEnv(TASK)))


def test_vector_wrappers_that_keep_the_contract_pass_without_a_warning() -> None:
    envs = TokenVectorEnv(TASK, 4, group_size=2)
    check_vector_env(gym.wrappers.vector.NormalizeReward(gym.wrappers.vector.RecordEpisodeStatistics(envs)))


@pytest.mark.parametrize(
    "wrap,words",
    [
        (lambda env: gym.wrappers.TimeLimit(env, 10), "TimeLimit makes no sense here: the budget is max_new_tokens"),
        (gym.wrappers.Autoreset, "Autoreset makes no sense here"),
        (timed, "TimeAwareObservation .* already says how far"),
        (lambda env: gym.wrappers.FrameStackObservation(env, 2), "FrameStackObservation .* append-only"),
        (lambda env: gym.wrappers.DelayObservation(env, 1), "DelayObservation"),
        (lambda env: gym.wrappers.StickyAction(env, 0.5), "StickyAction .* replaces the policy's token"),
    ],
)
def test_wrappers_without_sense_are_warned_of(wrap: Callable[[gym.Env], gym.Env], words: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrappers.warn_of_wrappers(GuidanceWrapper(wrap(TokenEnv(TASK)), length=1))
    assert re.search(words, str(caught[0].message))


def test_both_checks_look_at_the_wrappers() -> None:
    with pytest.warns(UserWarning, match="TimeLimit makes no sense here"):
        check_env(gym.wrappers.TimeLimit(TokenEnv(TASK), 10))
    listed = gym.wrappers.vector.DictInfoToList(TokenVectorEnv(TASK, 2))
    with (
        pytest.warns(UserWarning, match="DictInfoToList makes no sense"),
        pytest.raises(ConformanceError, match="loses"),
    ):
        check_vector_env(listed)


def test_every_wrapper_of_the_table_exists() -> None:
    known = {*gym.wrappers.__all__, *gym.wrappers.vector.__all__}
    assert set(wrappers.WRAPPERS) <= known


def test_a_wrapper_that_loses_infos_is_refused() -> None:
    cases = [
        (check_env, lambda: LosesInfo(TokenEnv(TASK)), r"the keys \['group', .* must pass through"),
        (check_vector_env, lambda: LosesVectorInfo(TokenVectorEnv(TASK, 2)), r"the keys \['_group', "),
    ]
    errors = [refusal(check, make) for check, make, _ in cases]
    for error, (_, _, words) in zip(errors, cases, strict=True):
        assert re.search("a wrapper of .* loses or changes info: " + words, str(error))
    assert unbroken(wrappers, errors) == []
