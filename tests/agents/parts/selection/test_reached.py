"""Reached: rows and weights token by token, rewards, and what one level comes to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.selection.reached import Reached
from g2rpo_env.agents.parts.strategies.conditioned import Conditioned
from g2rpo_env.agents.parts.token_weights.means import ByRole
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import encode

ANSWER = [40, 41, 1]
"""Three sampled tokens, the last of which ends the answer."""


@pytest.fixture
def task(make_envs: Any) -> Any:
    return make_envs().unwrapped.task


@pytest.fixture
def answer(make_episode: Any, task: Any) -> Any:
    """(level text, correct, ...) -> an answer to 1+1 under a level, log-probabilities -1, -2, -3."""

    def make(level: str, correct: bool, tokens: Any = ANSWER, kinds: str = "sss", **fields: Any) -> Any:
        context = ids(task, f"1+1={level}")
        values = [0.0] * len(context) + [-float(i) if kind == "s" else 0.0 for i, kind in enumerate(kinds, 1)]
        episode = make_episode("p" * len(context) + kinds, values, correct=correct, **fields)
        return dataclasses.replace(episode, tokens_T=np.array([*context, *tokens], np.int32))

    return make


def ids(task: Any, text: str) -> list[int]:
    return encode(task.tokenizer, text)[0].tolist()


def select(part: Reached, task: Any, *episodes: Any) -> tuple[Any, list[np.ndarray]]:
    groups = Groups([Group(episodes)])
    return part(groups, [group.reward_G for group in groups], task=task)


def list_tokens(episode: Any) -> list[tuple[int, int, float]]:
    """Token, role and log-probability of each place."""
    return list(zip(episode.tokens_T.tolist(), episode.role_T.tolist(), episode.logprob_T.tolist(), strict=True))


def test_rows_and_weights_token_by_token(answer: Any, task: Any) -> None:
    # Sampled under the top level; one is right and reached it, one is wrong and reached the lowest.
    rows, rewards = select(Reached(), task, answer("[1]", True), answer("[1]", False, member=1))
    expected = [(40, 2, -1.0), (41, 2, -2.0), (1, 2, -3.0)]
    for row, level in zip(rows[0].episodes, ("[1]", "[0]"), strict=True):
        assert list_tokens(row) == [(token, 0, 0.0) for token in ids(task, f"1+1={level}")] + expected
        assert ByRole()(row).tolist() == [0] * 7 + [1, 1, 1] and ByRole().count(ByRole()(row)) == 3
    assert [reward_G.tolist() for reward_G in rewards] == [[1.0, 0.0]]
    assert [(e.group, e.member, e.problem_id, e.correct) for e in rows[0].episodes] == [
        (0, 0, "1+1", True),
        (0, 1, "1+1", False),
    ]


def test_the_prior_trains_the_level_too(answer: Any, task: Any) -> None:
    rows, _ = select(Reached(prior=True), task, answer("[1]", False))
    (row,) = rows[0].episodes
    assert row.role_T.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2] and row.reveal == 0
    assert ByRole(1.0, 0.25)(row).tolist() == [0, 0, 0, 0, 0.25, 0.25, 0.25, 1, 1, 1]
    assert ByRole(1.0, 0.25).count(ByRole(1.0, 0.25)(row)) == 3


def test_the_critic_reads_the_answer_and_is_trained_on_the_level(answer: Any, task: Any) -> None:
    part = Reached(critic=True)
    rows, rewards = select(part, task, answer("[1]", True), answer("[0]", False, member=1))
    assert len(rows) == 1 and [e.member for e in rows[0].episodes] == [0, 1, 0, 1]
    assert list_tokens(rows[0].episodes[0]) == list_tokens(
        select(Reached(), task, answer("[1]", True))[0][0].episodes[0]
    )
    for row, level in zip(rows[0].episodes[2:], ("[1]", "[0]"), strict=True):
        assert row.tokens_T.tolist() == [*ids(task, "1+1="), *ANSWER, *ids(task, level)]
        assert row.role_T.tolist() == [0, 0, 0, 0, 3, 3, 3, 1, 1, 1] and not row.logprob_T.any()
        weight_T = ByRole(1.0, 0.1)(row)
        assert weight_T.tolist() == pytest.approx([0] * 7 + [0.1] * 3) and ByRole(1.0, 0.1).count(weight_T) == 0
    # the critic's rows have reward 1: it is not to lean towards successes
    assert rewards[0].tolist() == [1.0, 0.0, 1.0, 1.0]


def test_graded_rewards_reach_the_bin_that_they_lie_in(answer: Any, task: Any) -> None:
    part = Reached(Conditioned((0.0, 0.5, 1.0)))
    episodes = [answer("[1]", False, member=i) for i in range(4)]
    rows, _ = part(Groups([Group(tuple(episodes))]), [np.array([0.2, 0.5, 0.9, 1.0])], task=task)
    contexts = [task.tokenizer.decode(e.tokens_T[e.role_T == 0].tolist()) for e in rows[0].episodes]
    assert contexts == ["1+1=[0]", "1+1=[0.5]", "1+1=[0.5]", "1+1=[1]"]


def test_shaped_rewards_decide(answer: Any, task: Any) -> None:
    rows, _ = Reached()(Groups([Group((answer("[1]", False),))]), [np.array([1.0])], task=task)
    assert rows[0].episodes[0].tokens_T.tolist() == [*ids(task, "1+1=[1]"), *ANSWER]


def test_what_was_revealed_or_written_by_the_environment_is_read(answer: Any, task: Any) -> None:
    given = answer("", True, tokens=[50, 51, 52, 53], kinds="rses")
    rows, _ = select(Reached(prior=True, critic=True), task, given)
    assert rows[0].episodes[0].role_T.tolist() == [0] * 4 + [1] * 3 + [3, 2, 3, 2]
    assert rows[0].episodes[1].role_T.tolist() == [0] * 4 + [3] * 4 + [1] * 3


def test_the_order_of_groups_and_members_changes_nothing_else(answer: Any, task: Any) -> None:
    episodes = [answer("[1]", member % 2 == 0, member=member) for member in range(4)]
    part = Reached(critic=True)
    one, reward_G = select(part, task, *episodes)
    two, other_G = select(part, task, *reversed(episodes))
    order = [3, 2, 1, 0, 7, 6, 5, 4]
    assert [list_tokens(e) for e in one[0].episodes] == [list_tokens(two[0].episodes[i]) for i in order]
    assert reward_G[0].tolist() == other_G[0][order].tolist()


def test_answers_under_a_level_of_another_strategy_are_refused(answer: Any, task: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be that of the strategy: an answer was sampled in another"):
        select(Reached(), task, answer("[0.5]", True))
    select(Reached(), task, answer("", True))  # without a level, as a plain rollout samples


def test_something_else_in_place_of_the_levels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="conditioned=None must be a Conditioned"):
        Reached(conditioned=None)  # type: ignore[arg-type]
