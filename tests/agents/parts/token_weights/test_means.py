"""Token weights: which roles count, and what each normalisation makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from g2rpo_env.agents.parts.token_weights.means import SequenceMean, TokenMean, in_loss
from g2rpo_env.errors import ConfigurationError


def test_only_sampled_tokens_count_by_default(make_episode: Any) -> None:
    assert TokenMean()(make_episode("pprrsses")).tolist() == [0, 0, 0, 0, 1, 1, 0, 1]


def test_revealed_tokens_count_on_request(make_episode: Any) -> None:
    assert TokenMean(revealed=True)(make_episode("pprrsses")).tolist() == [0, 0, 1, 1, 1, 1, 0, 1]
    assert TokenMean(sampled=False, revealed=True)(make_episode("pprrsses")).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("revealed", [True, False])
def test_prompt_and_environment_tokens_never_count(make_episode: Any, sampled: bool, revealed: bool) -> None:
    counted = in_loss(make_episode("ppereses"), sampled, revealed)
    assert not counted[[0, 1, 2, 4, 6]].any()


def test_sequence_mean_shares_one_among_the_counted_tokens(make_episode: Any) -> None:
    assert SequenceMean()(make_episode("prssss")).tolist() == [0, 0, 0.25, 0.25, 0.25, 0.25]
    assert SequenceMean(revealed=True)(make_episode("prsss")).tolist() == [0, 0.25, 0.25, 0.25, 0.25]


def test_sequence_mean_of_an_episode_without_counted_tokens_is_zero(make_episode: Any) -> None:
    assert SequenceMean()(make_episode("pprr")).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", [TokenMean, SequenceMean])
def test_weights_that_leave_no_token_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="sampled=False and revealed=False"):
        kind(sampled=False, revealed=False)
