"""Strategies that take each group once: sampling, and showing reveals without sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.strategies.rollout import RevealOnly, Rollout
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, VocabularyMismatchError

GUIDED = {"length": 5, "ratio": 0.5}


def test_a_rollout_has_one_finished_episode_per_lane(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance=GUIDED)
    envs.reset(seed=0)
    groups = Rollout()(make_policy(envs), envs)
    assert len(groups.episodes) == 8 and all(e.terminated or e.truncated for e in groups.episodes)


def test_reveal_only_shows_guided_members_and_samples_nothing(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance=GUIDED)
    envs.reset(seed=0)
    groups = RevealOnly()(make_policy(envs), envs)
    assert [(e.group, e.member) for e in groups.episodes] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    for episode in groups.episodes:
        assert set(episode.role_T.tolist()) == {Role.PROMPT, Role.REVEALED}
        assert int((episode.role_T == Role.REVEALED).sum()) == episode.reveal == 5
        assert not episode.correct and episode.valid
    assert groups.sampled_tokens == 0 and groups.revealed_tokens == 20


def test_reveal_only_shows_the_tokens_that_a_rollout_from_the_same_state_shows(
    make_envs: Any, make_policy: Any
) -> None:
    shown = []
    for strategy in (Rollout(), RevealOnly()):
        envs = make_envs(8, 4, digits=(1, 4), guidance=GUIDED)
        envs.unwrapped.load_state_dict({"root": 5, "counter": 0, "open": {}})
        rows = []
        for _ in range(3):
            for e in strategy(make_policy(envs), envs).episodes:
                if e.reveal:
                    rows.append((e.group, e.member, e.problem_id, e.tokens_T[e.role_T != Role.SAMPLED].tolist()))
        shown.append(rows)
    assert shown[0] == shown[1] and len(shown[0]) == 12


def test_reveal_only_without_a_reveal_gives_no_groups(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance={"length": 0, "ratio": 1.0})
    envs.reset(seed=0)
    assert RevealOnly()(make_policy(envs), envs) == []


def test_reveal_only_checks_the_environment_like_a_rollout(
    make_envs: Any, make_policy: Any, merging_tokenizer: Any
) -> None:
    policy = make_policy(make_envs())
    with pytest.raises(ConfigurationError, match="DISABLED"):
        RevealOnly()(policy, make_envs(4, 1, autoreset_mode="NEXT_STEP"))
    with pytest.raises(VocabularyMismatchError):
        RevealOnly()(policy, make_envs(tokenizer=merging_tokenizer, guidance=GUIDED))


def test_episodes_of_a_strategy_own_their_arrays(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance=GUIDED)
    envs.reset(seed=0)
    for strategy in (Rollout(), RevealOnly()):
        groups = strategy(make_policy(envs), envs)
        kept = [e.tokens_T.copy() for e in groups.episodes]
        strategy(make_policy(envs), envs)
        assert all(np.array_equal(e.tokens_T, k) for e, k in zip(groups.episodes, kept, strict=True))
