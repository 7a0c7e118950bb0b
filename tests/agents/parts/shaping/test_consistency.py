"""The consistency bonus: likelihoods and choices by hand, empty spans, kappa 0, and what an agent hands over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.references import MovingAverage
from g2rpo_env.agents.parts.shaping.consistency import ConsistencyBonus, answer_likelihood, choose_consistent
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.verdict import Outcome, Verdict


def call(part: ConsistencyBonus, make_episode: Any, right: list[int], likelihoods: list[float], **change: Any) -> Any:
    """Rewards of members "pss" whose last token is their answer, of that likelihood under the reference."""
    episodes = [make_episode("pss", correct=bool(c), member=i) for i, c in enumerate(right)]
    log_probs = [np.array([0, -9, math.log(c)]) for c in likelihoods]
    spans = change.get("spans", [np.array([False, False, True])] * len(right))
    return part(Group(tuple(episodes)), reference_log_prob_GT=log_probs, answer_GT=spans).tolist()


def test_rewards_by_hand(make_episode: Any) -> None:
    # H = members 0, 1 and 3, mean of their c (0.9 + 0.5 + 0.7) / 3 = 0.7: 0 and 3 reach it.
    assert call(ConsistencyBonus(), make_episode, [1, 1, 0, 1], [0.9, 0.5, 0.9, 0.7]) == [1.5, 1, 0, 1.5]


def test_a_margin_and_a_bonus_of_another_size_by_hand(make_episode: Any) -> None:
    # Mean 0.7, margin 0.2: 0.5 reaches it as well.
    assert call(ConsistencyBonus(2.0, 0.2), make_episode, [1, 1, 0, 1], [0.9, 0.5, 0.9, 0.7]) == [3, 3, 0, 3]


def test_the_likelihood_is_capped(make_episode: Any) -> None:
    # 0.99 counts as 0.95: the mean is 0.95 with 0.95 beside it, and both have it.
    assert call(ConsistencyBonus(), make_episode, [1, 1], [0.99, 0.95]) == [1.5, 1.5]
    assert call(ConsistencyBonus(cap=1.0), make_episode, [1, 1], [0.99, 0.95]) == [1.5, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 11])
def test_members_of_one_likelihood_all_reach_their_mean(make_episode: Any, size: int) -> None:
    assert call(ConsistencyBonus(), make_episode, [1] * size, [0.1] * size) == [1.5] * size


def test_a_likelihood_is_the_geometric_mean_over_the_span() -> None:
    log_prob_T = np.log(np.array([0.1, 0.5, 0.2, 0.9], np.float32))
    span_T = np.array([False, True, True, False])
    assert answer_likelihood(log_prob_T, span_T, 0.95) == pytest.approx(math.sqrt(0.1), rel=1e-6)
    assert answer_likelihood(log_prob_T, np.zeros(4, bool), 0.95) == 0


def test_an_answer_without_a_place_has_no_bonus(make_episode: Any) -> None:
    nowhere, last = np.zeros(3, bool), np.array([False, False, True])
    # c = 0.6, 0: mean 0.3, so the first one; all without a place: nobody, although 0 reaches the mean 0.
    assert call(ConsistencyBonus(), make_episode, [1, 1], [0.6, 0.9], spans=[last, nowhere]) == [1.5, 1]
    assert call(ConsistencyBonus(), make_episode, [1, 1], [0.6, 0.9], spans=[nowhere, nowhere]) == [1, 1]


def test_only_tokens_that_the_policy_wrote_count(make_episode: Any) -> None:
    episode = make_episode("prs")
    shown, written = np.array([False, True, False]), np.array([False, False, True])
    log_probs = [np.array([0, -0.1, -2.0])]
    part, group = ConsistencyBonus(), Group((episode,))
    assert part(group, reference_log_prob_GT=log_probs, answer_GT=[shown]).tolist() == [1]
    assert part(group, reference_log_prob_GT=log_probs, answer_GT=[written]).tolist() == [1.5]


def test_without_a_right_answer_there_is_no_bonus(make_episode: Any) -> None:
    assert call(ConsistencyBonus(), make_episode, [0, 0, 0], [0.9, 0.5, 0.9]) == [0, 0, 0]


def test_accuracies_by_degrees() -> None:
    # Mean 0.475: 0.5 and 0.9 are not below it; of these the mean likelihood is 0.5.
    found = choose_consistent(np.array([0.5, 0.9, 0.05, 0.45]), np.array([0.4, 0.6, 0.9, 0.9]))
    assert found.tolist() == [False, True, False, False]
    # All at 0.1: none is above the least.
    assert not choose_consistent(np.full(3, 0.1), np.full(3, 0.9)).any()


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 19)), min_size=1, max_size=8), st.randoms())
def test_the_order_of_members_does_not_matter(members: Any, random: Any) -> None:
    accuracy_G, likelihood_G = np.array([a for a, _ in members]), np.array([c / 20 for _, c in members])
    order = list(range(len(members)))
    random.shuffle(order)
    chosen_G = choose_consistent(accuracy_G, likelihood_G)
    turned_G = choose_consistent(accuracy_G[order], likelihood_G[order])
    assert turned_G.tolist() == chosen_G[order].tolist()
    assert not (chosen_G & (accuracy_G == 0)).any()
    if (likelihood_G[accuracy_G == 1] > 0).any():
        assert chosen_G.any()


class LastCharacter:
    """A verifier for which every answer is right, and its last character the final answer."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        return [Verdict(Outcome.CORRECT, text[-1:]) for text in completions]


def test_an_agent_hands_over_likelihoods_of_the_average(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, verifier=LastCharacter())
    agent = recipes.make("care", make_policy(envs), envs, optimizer=Optimizer(learning_rate=1e-2))
    agent.update()
    rewards = np.concatenate(agent.last_update.rewards)
    assert set(rewards) == {1.0, 1.5}  # all are right, and some more likely than the mean
    for group, reward_G in zip(agent.groups, agent.last_update.rewards, strict=True):
        # In the first update the average is the policy that sampled: its own record has the likelihoods.
        likelihood_G = []
        for episode in group.episodes:
            text = envs.task.completion(episode.tokens_T[episode.sampled_T], stopped=False)
            last = np.flatnonzero(episode.sampled_T)[-1 - int(episode.terminated)]
            likelihood_G.append(np.exp(episode.logprob_T[last]) if text else 0.0)
        assert reward_G.tolist() == (1 + 0.5 * (np.array(likelihood_G) >= np.mean(likelihood_G) - 1e-6)).tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kappa": -1.0}, "kappa=-1.0 must be at least 0"),
        ({"margin": math.nan}, "margin=nan must be at least 0"),
        ({"cap": 1.5}, r"cap=1.5 must lie in \(0, 1\]"),
        ({"least": 1.0}, r"least=1.0 must lie in \[0, 1\)"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ConsistencyBonus(**options)


def test_what_it_requires_and_needs() -> None:
    assert ConsistencyBonus().requires == {"reference_log_probs", "answer_spans"}
    assert ConsistencyBonus().needs == {"members", "answers"} and MovingAverage().requires == frozenset()
