"""The discriminative loss: gaps and slopes by hand, its limit, its brake, and gradients in any passes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import assert_close, catch_gradients, make_set_batch, near_policy, one_graph, set_batch, slopes_of
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.losses import Discriminative
from g2rpo_env.agents.parts.losses.discriminative import score_gap
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.errors import ConfigurationError

REWARDS, SETS = [1, 0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1, 2, 2]


def columns(scores: list[float], gaps: list[float] | None = None) -> torch.Tensor:
    """Scores and sums of log-probability differences, (N, 2)."""
    return torch.tensor([scores, [0.0] * len(scores) if gaps is None else gaps]).T


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(parts) -> an agent on 8 lanes."""

    def make(**parts: Any) -> Any:
        envs = make_envs(8, 4)
        return recipes.make("disco", make_policy(envs), envs, **parts)

    return make


# -- the objective ----------------------------------------------------------------------------------------------------


def test_the_gap_of_means_by_hand() -> None:
    # Set 0: right -1, wrong -2 and -4, gap -1 - (-3) = 2; set 1 is all right, gap 0. Mean 1, L = -1.
    # Slopes: -1/2 for the right one, +1/2 shared by two wrong ones.
    batch = set_batch([1, 0, 0, 1], [0, 0, 0, 1])
    value, slope = slopes_of(Discriminative(hardness=None), columns([-1, -2, -4, -9]), batch)
    assert value == -1
    assert slope[:, 0].tolist() == [-0.5, 0.25, 0.25, 0] and not slope[:, 1].any()


def test_the_gap_with_hardness_by_hand() -> None:
    # tau 1: log((e^-2 + e^-4) / 2) = -2.5662193, gap 1.5662193, L = -0.7831097; softmax(-2, -4) = 0.8807971, 0.1192029.
    batch = set_batch([1, 0, 0, 1], [0, 0, 0, 1])
    value, slope = slopes_of(Discriminative(hardness=1.0), columns([-1, -2, -4, -9]), batch)
    assert value == pytest.approx(-0.7831097, abs=1e-6)
    assert slope[:, 0].tolist() == pytest.approx([-0.5, 0.4403985, 0.0596015, 0], abs=1e-6)


def test_a_small_hardness_counts_the_likeliest_wrong_answer_alone() -> None:
    batch = set_batch([1, 0, 0], [0, 0, 0])
    _, slope = slopes_of(Discriminative(hardness=0.01), columns([-1, -2, -4]), batch)
    assert slope[:, 0].tolist() == pytest.approx([-1, 1, 0])


@given(st.lists(st.floats(-10, 0), min_size=2, max_size=8), st.data())
def test_a_large_hardness_is_the_mean(scores: list[float], data: st.DataObject) -> None:
    right = data.draw(st.integers(1, len(scores) - 1))
    score, chosen = torch.tensor(scores, dtype=torch.float64), torch.arange(len(scores)) < right
    assert float(score_gap(score, chosen, 1e6)) == pytest.approx(float(score_gap(score, chosen, None)), abs=1e-4)


def test_the_brake_by_hand() -> None:
    # Six loss tokens, sums of log pi_old - log pi 0.3 and 0.3: KL 0.1; penalty 8, delta 0.05: 8 / 2 * 0.05^2 = 0.01.
    # Its slope for each sum is 8 * 0.05 / 6.
    batch = set_batch([1, 1], [0, 0], [2, 4])
    value, slope = slopes_of(Discriminative(delta=0.05, penalty=8.0), columns([-1, -2], [0.3, 0.3]), batch)
    assert value == pytest.approx(0.01, rel=1e-5)
    assert slope[:, 1].tolist() == pytest.approx([0.4 / 6] * 2, rel=1e-5) and not slope[:, 0].any()


def test_a_kl_below_delta_costs_nothing() -> None:
    batch = set_batch([1, 0], [0, 0], [2, 4])
    for gaps in ([0.3, 0.3], [-9.0, -9.0]):
        _, slope = slopes_of(Discriminative(delta=0.2), columns([-1, -2], gaps), batch)
        assert not slope[:, 1].any() and slope[:, 0].tolist() == [-1, 1]


def test_metrics_are_the_mean_gap_and_the_kl() -> None:
    batch = set_batch([1, 0, 0, 1], [4, 4, 4, 7])  # numbers need not begin at 0
    loss = Discriminative(hardness=None)
    _, metrics = loss.objective(columns([-1, -2, -4, -9], [0.4, 0, 0, 0.4]), batch)
    assert metrics == {"score_gap": pytest.approx(1), "kl_to_old": pytest.approx(0.2)}


def test_rewards_are_right_above_the_threshold() -> None:
    graded = set_batch([0.9, 0.2, 0.6], [0, 0, 0])
    assert slopes_of(Discriminative(hardness=None), columns([-1, -2, -4]), graded)[1][:, 0].tolist() == [-0.5, 1, -0.5]
    signed = set_batch([1, -1], [0, 0])
    assert slopes_of(Discriminative(threshold=0.0), columns([-1, -2]), signed)[1][:, 0].tolist() == [-1, 1]


def test_an_answer_without_a_token_in_the_loss_is_compared_with_none() -> None:
    # The score 0 of the last two is that of no token. Without them: -1 against -2 and -4, as by hand above; the second
    # group has one kind of answer left, and stays in the mean.
    batch = set_batch([1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1], [1, 1, 1, 0, 1, 0])
    for hardness, expected in ((None, -1), (1.0, -0.7831097)):
        value, slope = slopes_of(Discriminative(hardness=hardness), columns([-1, -2, -4, 0, -9, 0]), batch)
        assert value == pytest.approx(expected, abs=1e-6) and not slope[3:].any()


def test_the_order_of_groups_and_members_does_not_matter() -> None:
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    rewards, sets = torch.tensor([1, 0, 0, 1, 0, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    score = columns([-1, -2, -4, -1.5, -3, -2.5], [0.1, 0.2, 0.3, 0.1, 0, 0.2])
    value, slope = slopes_of(Discriminative(), score, set_batch(rewards.tolist(), sets.tolist()))
    moved = set_batch(rewards[order].tolist(), sets[order].tolist())
    again, moved_slope = slopes_of(Discriminative(), score[order], moved)
    assert again == pytest.approx(value, rel=1e-12) and torch.allclose(moved_slope, slope[order])


# -- scores -----------------------------------------------------------------------------------------------------------


def test_scores_by_hand(make_episode: Any) -> None:
    # "pss": lp -1, -3, lo -2, -2: mean lp -2, mean ratio (e + 1/e) / 2 = 1.5430806, sum of lo - lp 0.
    # "ps": lp -1, lo -3.
    batch = make_set_batch(make_episode, [1, 0], [0, 0], ("pss", "ps"))
    old = torch.tensor([[0.0, -2, -2], [0, -3, 0]])
    log_probs = torch.tensor([[7.0, -1, -3], [7, -1, 99]])  # what stands outside does not count
    batch = replace(batch, old_log_probs_NT=old)
    assert Discriminative().scores(log_probs, batch).tolist() == [[-2, 0], [-1, -2]]
    ratios = Discriminative("ratio").scores(log_probs, batch)
    assert ratios.flatten().tolist() == pytest.approx([1.5430806, 0, math.exp(2), -2])


@pytest.mark.parametrize("score", ["log-likelihood", "ratio"])
def test_scores_have_numeric_gradients_and_none_outside(make_episode: Any, score: str) -> None:
    batch = make_set_batch(make_episode, REWARDS, SETS)
    log_probs = batch.old_log_probs_NT.double() - 0.1
    assert torch.autograd.gradcheck(
        lambda x: Discriminative(score).scores(x, batch), [log_probs.clone().requires_grad_()]
    )
    wild = torch.where(batch.weight_NT > 0, log_probs, 1e5).requires_grad_()  # exp(1e5) would overflow
    Discriminative(score).scores(wild, batch).sum().backward()
    assert wild.grad is not None and torch.isfinite(wild.grad).all()
    assert not wild.grad[batch.weight_NT == 0].any()


# -- in the learner ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("microbatch", [None, 1, 3])
@pytest.mark.parametrize("score", ["log-likelihood", "ratio"])
@pytest.mark.parametrize("hardness", [None, 1.0, 0.3])
def test_gradients_are_exact_in_any_passes(
    make_agent: Any, make_episode: Any, score: str, hardness: Any, microbatch: Any
) -> None:
    loss = Discriminative(score, hardness, penalty=10.0)
    agent = make_agent(loss=loss, optimizer=Optimizer(microbatch=microbatch, epochs=2))
    batch = near_policy(agent, make_set_batch(make_episode, REWARDS, SETS))
    batch = replace(batch, old_log_probs_NT=torch.where(batch.weight_NT > 0, batch.old_log_probs_NT + 0.2, 0.0))
    value, expected = one_graph(agent, batch, loss)
    metrics, found = catch_gradients(agent, batch)
    assert metrics["loss"] == pytest.approx(value, rel=1e-5) and metrics["kl_to_old"] > 1e-4  # the brake is on
    assert_close(found, expected)


def test_a_hardness_of_a_million_has_the_gradient_of_none(make_agent: Any, make_episode: Any) -> None:
    batch = make_set_batch(make_episode, REWARDS, SETS)
    found = []
    for hardness in (1e6, None):
        agent = make_agent(loss=Discriminative(hardness=hardness), optimizer=Optimizer(epochs=2))
        found.append(catch_gradients(agent, near_policy(agent, batch))[1])
    assert_close(*found, tolerance=1e-4)


def test_advantages_are_not_read(make_agent: Any, make_episode: Any) -> None:
    agent = make_agent(optimizer=Optimizer(epochs=2))
    one = near_policy(agent, make_set_batch(make_episode, REWARDS, SETS))
    other = replace(one, advantage_NT=torch.zeros_like(one.advantage_NT))
    assert_close(catch_gradients(agent, one)[1], catch_gradients(agent, other)[1], tolerance=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score": "likelihood"}, "score='likelihood' must be one of log-likelihood, ratio"),
        ({"hardness": 0.0}, "hardness=0.0 must be None or a finite number above 0"),
        ({"hardness": math.inf}, "hardness=inf"),
        ({"delta": -1.0}, "delta=-1.0 must be at least 0"),
        ({"penalty": math.nan}, "penalty=nan must be at least 0"),
        ({"threshold": math.nan}, "threshold=nan must be finite"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Discriminative(**options)
