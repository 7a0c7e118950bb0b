"""Shaping: environment rewards, and what a penalty takes off them."""

from __future__ import annotations

from typing import Any

import pytest

from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward, TruncationPenalty
from g2rpo_env.episode import Group


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
