"""Which of the revealed tokens count, and what their filters ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.token_weights.means import SequenceMean, TokenMean
from g2rpo_env.agents.parts.token_weights.revealed import Every, TopEntropy
from g2rpo_env.errors import ConfigurationError


def test_revealed_tokens_of_members_without_a_positive_advantage_leave_the_loss(make_episode: Any) -> None:
    weight, episode = SequenceMean(revealed=True, which="positive"), make_episode("prrss")
    assert weight.requires == {"advantage"}
    assert weight(episode, advantage=0.5).tolist() == [0, 0.25, 0.25, 0.25, 0.25]
    for advantage in (0.0, -1.0):
        assert weight(episode, advantage=advantage).tolist() == [0, 0, 0, 0.5, 0.5]


def test_the_revealed_tokens_of_highest_entropy_by_hand(make_episode: Any) -> None:
    episode = make_episode("ppprrrrrss")
    entropy_T = np.array([9, 9, 9, 0.1, 0.5, 0.3, 0.5, 0.2, 9, 9])  # what it says of others does not matter

    def kept(share: float) -> list[int]:
        return np.flatnonzero(TokenMean(False, True, TopEntropy(share))(episode, entropy_T=entropy_T)).tolist()

    assert [kept(share) for share in (0.2, 0.4, 0.6, 1.0)] == [[4], [4, 6], [4, 5, 6], [3, 4, 5, 6, 7]]
    assert kept(0.21) == [4, 6]  # ceil(0.21 * 5) = 2
    weight_T = TokenMean(revealed=True, which="entropy")(episode, entropy_T=entropy_T)
    assert weight_T.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 1, 1]


def test_nothing_is_asked_for_where_revealed_tokens_do_not_count(make_episode: Any) -> None:
    assert TokenMean(which="entropy").requires == frozenset() == TokenMean(revealed=True).requires
    assert TokenMean(which="entropy")(make_episode("prs")).tolist() == [0, 0, 1]


def test_every_token_or_a_share_of_one_are_the_plain_weights(make_episode: Any) -> None:
    episode = make_episode("pprrsses")
    plain = SequenceMean(revealed=True)(episode)
    assert (SequenceMean(revealed=True, which=TopEntropy(1.0))(episode, entropy_T=np.zeros(8)) == plain).all()
    assert (SequenceMean(revealed=True, which=Every())(episode) == plain).all()


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: TopEntropy(0), "share=0"),
        (lambda: TopEntropy(1.1), "share=1.1"),
        (lambda: TokenMean(which="some"), "which='some' must be one of every, positive, entropy"),
        (lambda: TokenMean(which=3), "which=3"),
    ],
)
def test_bad_filters_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()
