"""Scores: those of the policy as it is now, of the tokens that it may have written, and no random stream is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import collect
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.scores import score_episodes
from g2rpo_env.episode import Role


@pytest.fixture
def sampled(make_envs: Any, make_policy: Any) -> Any:
    envs = make_envs(4, 4, guidance={"length": 3, "ratio": 0.5})
    policy = make_policy(envs)
    return policy, collect(policy, envs, seed=0).episodes


def test_the_scores_of_sampled_tokens_are_what_the_rollout_recorded(sampled: Any) -> None:
    policy, episodes = sampled
    for episode, score in zip(episodes, score_episodes(policy, episodes), strict=True):
        assert score.log_prob_T[episode.sampled_T] == pytest.approx(episode.logprob_T[episode.sampled_T], abs=1e-4)
        assert score.written_T.tolist() == [role in (Role.REVEALED, Role.SAMPLED) for role in episode.role_T]
        assert not score.log_prob_T[~score.written_T].any() and not score.entropy_T[~score.written_T].any()
        limit = np.log(policy.vocab_size)
        assert (score.entropy_T[score.written_T] > 0).all() and (score.entropy_T <= limit + 1e-4).all()
        assert score.likeliest == ()


def test_scores_do_not_depend_on_how_episodes_go_through_together(sampled: Any) -> None:
    policy, episodes = sampled
    whole, split = (score_episodes(policy, episodes, options=Optimizer(microbatch=size)) for size in (None, 1))
    for one, other in zip(whole, split, strict=True):
        assert one.log_prob_T == pytest.approx(other.log_prob_T, abs=1e-4)
        assert one.entropy_T == pytest.approx(other.entropy_T, abs=1e-4)


def test_the_likeliest_tokens_stand_in_the_places_of_sampled_ones(sampled: Any) -> None:
    policy, episodes = sampled
    for episode, score in zip(episodes, score_episodes(policy, episodes, top=policy.vocab_size), strict=True):
        for place, found in enumerate(score.likeliest):
            assert (found is not None) == bool(episode.sampled_T[place])
            if found is not None:
                ids_K, log_prob_K = found
                assert np.exp(log_prob_K).sum() == pytest.approx(1, abs=1e-4) and (np.diff(log_prob_K) <= 0).all()
                mine = log_prob_K[ids_K == episode.tokens_T[place]]
                assert mine == pytest.approx([score.log_prob_T[place]], abs=1e-4)


def test_no_random_stream_is_touched_and_no_weight(sampled: Any) -> None:
    policy, episodes = sampled
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), [p.clone() for p in policy.model.parameters()]
    score_episodes(policy, episodes, top=2)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]
    assert all(torch.equal(p, old) for p, old in zip(policy.model.parameters(), before[2], strict=True))
    assert score_episodes(policy, []) == []
