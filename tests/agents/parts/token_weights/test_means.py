"""Token weights: which roles count, and what each normalisation makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.token_weights.means import (
    ByRole,
    FixedLength,
    RisingMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
    in_loss,
)
from g2rpo_env.agents.stages import count_weights
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


@pytest.mark.parametrize("kind", [TokenMean, SequenceMean, SequenceSum, FixedLength, RisingMean])
def test_weights_that_leave_no_token_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="sampled=False and revealed=False"):
        kind(sampled=False, revealed=False)


# -- sums over tokens --------------------------------------------------------------------------------------------------


def test_a_sequence_sum_weighs_tokens_alike_and_counts_episodes(make_episode: Any) -> None:
    part, episodes = SequenceSum(), [make_episode("prsss"), make_episode("ps", member=1)]
    weights = [part(e) for e in episodes]
    assert [w.tolist() for w in weights] == [TokenMean()(e).tolist() for e in episodes]
    assert count_weights(part, episodes, weights) == [1, 1]


def test_a_fixed_length_divides_every_token_by_it(make_episode: Any) -> None:
    part, episodes = FixedLength(length=4), [make_episode("prsss"), make_episode("ps", member=1)]
    weights = [part(e) for e in episodes]
    assert [w.tolist() for w in weights] == [[0, 0, 0.25, 0.25, 0.25], [0, 0.25]]
    assert count_weights(part, episodes, weights) == [1, 1] and part.requires == frozenset()
    assert all(w.dtype == np.float32 for w in weights)


def test_without_a_length_it_is_the_budget_of_the_task(make_episode: Any) -> None:
    assert FixedLength().requires == {"budget"}
    assert FixedLength()(make_episode("pss"), budget=10).tolist() == pytest.approx([0, 0.1, 0.1])
    with_filter = FixedLength(revealed=True, which="entropy")
    assert with_filter.requires == {"budget", "entropy"}
    given = {"budget": 2, "entropy_T": np.array([0, 1, 0, 0, 0, 0, 0], np.float32)}
    assert with_filter(make_episode("prrrrrs"), **given).tolist() == [0, 0.5, 0, 0, 0, 0, 0.5]


def test_an_agent_gives_the_budget_to_the_weights_of_its_tokens(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, max_new_tokens=10)
    agent = recipes.make("grpo", make_policy(envs), envs, token_weight=FixedLength())
    agent.update()
    for example in agent.last_update.examples():
        assert example.weight_T == pytest.approx(np.where(example.episode.sampled_T, 0.1, 0))


@pytest.mark.parametrize("length", [0, -1.0, math.nan])
def test_a_length_that_is_not_above_zero_is_refused(length: float) -> None:
    with pytest.raises(ConfigurationError, match=f"length={length} must be None or above 0"):
        FixedLength(length=length)


# -- answers that ran out of budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TokenMean, SequenceMean, SequenceSum, FixedLength, RisingMean])
@pytest.mark.parametrize("revealed", [True, False])
def test_answers_that_were_cut_off_leave_numerator_and_denominator(
    make_episode: Any, kind: Any, revealed: bool
) -> None:
    ended = make_episode("prss")
    cut = make_episode("prss", member=1, terminated=False, truncated=True)
    part, usual = kind(revealed=revealed, truncated=False), kind(revealed=revealed)
    weights = [part(e, budget=10) for e in (ended, cut)]
    assert weights[0].tolist() == usual(ended, budget=10).tolist() == usual(cut, budget=10).tolist()
    assert weights[1].tolist() == [0] * 4
    counts = count_weights(part, [ended, cut], weights) or [float(w.sum()) for w in weights]
    assert counts[0] > 0 and counts[1] == 0


def test_an_update_whose_answers_were_all_cut_off_takes_no_step(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, max_new_tokens=2)
    agent = recipes.make("grpo", make_policy(envs), envs, token_weight=SequenceMean(truncated=False))
    metrics = agent.update()
    assert metrics["truncated"] == 1 and metrics["loss"] is None and not agent.learner.optimizer.state


# -- rising weights ----------------------------------------------------------------------------------------------------


def test_rising_weights_by_hand(make_episode: Any) -> None:
    # decay 1/2: shares 1, 3/2, 7/4 over 17/4; what is not counted does not age the trace
    expected = np.array([4, 6, 7]) / 17
    assert RisingMean(decay=0.5)(make_episode("psses"))[[1, 2, 4]] == pytest.approx(expected)
    # decay 1: 1, 2, 3 over 6
    assert RisingMean(decay=1.0)(make_episode("psss")).tolist() == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6])
    assert RisingMean(decay=0.5, revealed=True)(make_episode("prss")).tolist() == pytest.approx([0, *expected])
    assert RisingMean()(make_episode("ppr")).tolist() == [0, 0, 0]


@given(st.integers(1, 40), st.floats(0, 0.999))
def test_rising_weights_follow_their_formula_and_sum_to_one(make_episode: Any, length: int, decay: float) -> None:
    weight_T = RisingMean(decay=decay)(make_episode("p" + "s" * length))
    share_T = (1 - decay ** np.arange(1, length + 1)) / (1 - decay)
    assert weight_T.dtype == np.float32
    assert weight_T[1:] == pytest.approx(share_T / share_T.sum(), rel=1e-5)
    assert (np.diff(weight_T[1:]) >= 0).all() and weight_T.sum() == pytest.approx(1, rel=1e-5)


@given(st.integers(0, 40))
def test_without_decay_rising_weights_are_the_mean_over_the_sequence(make_episode: Any, length: int) -> None:
    episode = make_episode("pr" + "s" * length)
    assert RisingMean(decay=0.0)(episode).tolist() == SequenceMean()(episode).tolist()


@pytest.mark.parametrize("decay", [-0.1, 1.01, math.nan])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ConfigurationError, match=f"decay={decay} must lie in"):
        RisingMean(decay=decay)


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
