"""Token weights: which roles count, and what each normalisation makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.token_weights.means import ByRole, SequenceMean, TokenMean, in_loss
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


# -- by role -----------------------------------------------------------------------------------------------------------


def test_sampled_tokens_and_levels_have_weights_of_their_own(make_episode: Any) -> None:
    part = ByRole(2.0, 0.5)
    weight_T = part(make_episode("pprrsses"))
    assert weight_T.tolist() == [0, 0, 0.5, 0.5, 2, 2, 0, 2] and weight_T.dtype == np.float32
    assert part.count(weight_T) == 3 and isinstance(part.count(weight_T), float)


@pytest.mark.parametrize("weight", [1.0, 0.1, 3.0])
def test_the_denominator_is_the_sampled_tokens_also_where_both_weights_are_equal(
    make_episode: Any, weight: float
) -> None:
    part = ByRole(weight, weight)
    weight_T = part(make_episode("prrrss"))
    assert weight_T == pytest.approx([0, weight, weight, weight, weight, weight], rel=1e-6)
    assert part.count(weight_T) == 2


def test_without_levels_it_is_the_token_mean(make_episode: Any) -> None:
    episode = make_episode("ppssse")
    assert ByRole()(episode).tolist() == TokenMean()(episode).tolist()
    assert ByRole().count(ByRole()(episode)) == TokenMean()(episode).sum() == 3


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"answer": 0.0}, "answer=0.0 must be finite and above 0"),
        ({"answer": float("inf")}, "answer=inf must be finite"),
        ({"level": -1.0}, "level=-1.0 must be finite and at least 0"),
    ],
)
def test_wrong_weights_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ByRole(**arguments)


def test_nobody_takes_it_for_one_that_trains_reveals() -> None:
    assert not hasattr(ByRole(), "revealed")
