"""The preference loss: value and slopes by hand, doubt, what is no pair, gradients in any passes, steps on pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import assert_close, catch_gradients, make_set_batch, one_graph, set_batch, slopes_of
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.losses import Preference
from g2rpo_env.agents.parts.losses.preference import find_pairs
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.errors import ConfigurationError

REWARDS, SETS = [1, 0, 0.25, 0.75, 0, 1, 1, 0], [0, 0, 1, 1, 2, 2, 3, 3]


def scores(*values: float) -> torch.Tensor:
    """Scores, (N, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(parts) -> an agent on 8 lanes."""

    def make(**parts: Any) -> Any:
        envs = make_envs(8, 4)
        return recipes.make("dpo", make_policy(envs), envs, **parts)

    return make


def test_a_pair_with_doubt_by_hand() -> None:
    # D = 0.4 + 0.2 = 0.6, beta D = 0.3; log sigmoid(0.3) = -0.5543553, log sigmoid(-0.3) = -0.8543553:
    # L = 0.8 * 0.5543553 + 0.2 * 0.8543553 = 0.6143553. dL/dD = 0.5 (-0.8 * 0.4255575 + 0.2 * 0.5744425) = -0.1127787.
    value, slope = slopes_of(Preference(beta=0.5), scores(0.4, -0.2), set_batch([0.8, 0.2], [0, 0]))
    assert value == pytest.approx(0.6143553, abs=1e-6)
    assert slope[:, 0].tolist() == pytest.approx([-0.1127787, 0.1127787], abs=1e-6)


def test_without_doubt_it_is_the_sigmoid_loss_and_a_mean_over_pairs() -> None:
    value, _ = slopes_of(Preference(beta=0.5), scores(0.4, -0.2, 3.0, 1.0), set_batch([1, 0, 0, 1], [0, 0, 1, 1]))
    assert value == pytest.approx((math.log1p(math.exp(-0.3)) + math.log1p(math.exp(1.0))) / 2)


def test_a_policy_that_is_the_reference_has_the_loss_log_two() -> None:
    value, slope = slopes_of(Preference(beta=0.1), scores(0.0, 0.0), set_batch([1, 0], [0, 0]))
    assert value == pytest.approx(math.log(2)) and slope[:, 0].tolist() == pytest.approx([-0.05, 0.05])


def test_a_doubt_of_one_half_prefers_nothing() -> None:
    value, slope = slopes_of(Preference(), scores(0.0, 0.0), set_batch([0.5, 0.5], [0, 0]))
    assert value == pytest.approx(math.log(2)) and not slope.any()


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0, 1))
def test_the_order_of_the_two_does_not_matter(one: float, other: float, better: float) -> None:
    value, slope = slopes_of(Preference(), scores(one, other), set_batch([better, 1 - better], [0, 0]))
    swapped, turned = slopes_of(Preference(), scores(other, one), set_batch([1 - better, better], [0, 0]))
    assert swapped == pytest.approx(value, rel=1e-6)
    assert turned.flip(0)[:, 0].tolist() == pytest.approx(slope[:, 0].tolist(), abs=1e-6)


def test_a_pair_with_an_answer_without_a_token_in_the_loss_is_left_out() -> None:
    batch = set_batch([1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 1])
    value, slope = slopes_of(Preference(beta=0.5), scores(0.4, -0.2, 0.0, 3.0), batch)
    assert value == pytest.approx(math.log1p(math.exp(-0.3))) and not slope[2:].any() and slope[:2].all()
    alone, metrics = Preference().objective(scores(0.0, 3.0), set_batch([1, 0], [0, 0], [0, 1]))
    assert float(alone) == 0 and not alone.requires_grad and metrics == {}


def test_pairs_need_not_stand_together() -> None:
    row_P2, reward_P2 = find_pairs(torch.tensor([4, 2, 2, 4]), torch.tensor([0.25, 0.0, 1.0, 0.75]))
    assert row_P2.tolist() == [[1, 2], [0, 3]] and reward_P2.tolist() == [[0, 1], [0.25, 0.75]]


def test_metrics_are_signed_by_preference() -> None:
    # D = 0.6 where the first one is preferred, 2 where the second one is: 0.6 and -2.
    batch = set_batch([1, 0, 0, 1], [0, 0, 1, 1])
    _, metrics = Preference().objective(scores(0.4, -0.2, 3.0, 1.0), batch)
    assert metrics == {"preference_gap": pytest.approx(-0.7), "preferred": 0.5}


@pytest.mark.parametrize(
    ("rewards", "sets", "words"),
    [
        ([1, 0, 0], [0, 0, 0], r"pairs, groups of two: one is of 3; a selection such as AnswerPairs\(\)"),
        ([1, 0, 0], [0, 0, 1], "one is of 1; a selection"),
        ([1, 1], [0, 0], r"probabilities that sum to 1: one has \[1.0, 1.0\]"),
        ([2, -1], [0, 0], r"one has \[2.0, -1.0\]"),
    ],
)
def test_what_is_no_pair_is_refused(rewards: Any, sets: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"loss=Preference must be given .*{words}"):
        Preference().objective(scores(*rewards), set_batch(rewards, sets))


def test_groups_that_are_no_pairs_are_refused_before_the_first_rollout(make_agent: Any) -> None:
    with pytest.raises(ConfigurationError, match="groups of two: one is of 4;.*before the first rollout"):
        make_agent(selection=recipes.get("grpo").selection)


def test_scores_are_sums_of_log_ratios_by_hand(make_episode: Any) -> None:
    batch = make_set_batch(make_episode, [1, 0], [0, 0], ("pss", "ps"), reference=True)
    reference = batch.reference_log_probs_NT
    assert reference is not None
    reference[0, 1:], reference[1, 1] = torch.tensor([-2.0, -1.0]), -4.0
    log_probs = torch.tensor([[7.0, -1, -3], [7, -1, 99]])
    assert Preference().scores(log_probs, batch).tolist() == [[-1], [3]]


@pytest.mark.parametrize("microbatch", [None, 1, 3])
def test_gradients_are_exact_in_any_passes(make_agent: Any, make_episode: Any, microbatch: Any) -> None:
    agent = make_agent(loss=Preference(0.5), optimizer=Optimizer(microbatch=microbatch))
    batch = make_set_batch(make_episode, REWARDS, SETS, reference=True)
    value, expected = one_graph(agent, batch, Preference(0.5))
    metrics, found = catch_gradients(agent, batch)
    assert metrics["loss"] == pytest.approx(value, rel=1e-5)
    assert_close(found, expected)


def test_scores_have_numeric_gradients(make_episode: Any) -> None:
    batch = make_set_batch(make_episode, REWARDS, SETS, reference=True)

    def loss(log_probs_NT: torch.Tensor) -> torch.Tensor:
        return Preference().objective(Preference().scores(log_probs_NT, batch), batch)[0]

    assert torch.autograd.gradcheck(loss, [batch.old_log_probs_NT.double().requires_grad_()])


def test_steps_on_one_set_of_pairs_prefer_all_of_them(make_agent: Any, make_episode: Any) -> None:
    # Four pairs, no two texts alike; the first step is from the policy that is the reference: log 2.
    agent = make_agent(optimizer=Optimizer(learning_rate=1e-2, epochs=12))
    batch = make_set_batch(make_episode, [1, 0] * 4, [0, 0, 1, 1, 2, 2, 3, 3])
    batch = replace(batch, tokens_NT=batch.tokens_NT + 10 * torch.arange(8)[:, None])
    steps: list[dict[str, Any]] = []
    step = agent.learner._step
    agent.learner._step = lambda part: (steps.append(step(part)), steps[-1])[1]
    agent.learner.fit(batch)
    assert steps[0]["loss"] == pytest.approx(math.log(2)) and steps[0]["preferred"] == 0
    assert steps[-1]["loss"] < 0.6 and steps[-1]["preferred"] == 1


def test_beta_must_be_above_zero() -> None:
    with pytest.raises(ConfigurationError, match="beta=0 must be above 0"):
        Preference(beta=0)
