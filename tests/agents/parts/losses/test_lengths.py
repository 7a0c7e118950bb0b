"""Weights by length: values by hand, the surrogate at exponent 0, the exponent's gradient, its bound and its state."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import assert_close, catch_gradients, make_set_batch, near_policy, one_graph, set_batch, slopes_of
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import GRPO, recipes
from g2rpo_env.agents.parts.losses import ClippedSurrogate, LengthPreference
from g2rpo_env.agents.parts.losses.lengths import length_weights
from g2rpo_env.agents.parts.protocols import Trainable
from g2rpo_env.agents.recipe import Optimizer, part_from_config, part_to_config
from g2rpo_env.errors import ConfigurationError

LENGTHS = torch.tensor([200, 300, 400, 500, 600, 800, 1200, 2500])
REWARDS, SETS = [1, 0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
ADVANTAGES = [1.0, -1.0, -0.5, 0.5, 1.5, -0.5, 0.0, -1.0]


def at(exponent: float, **options: Any) -> LengthPreference:
    """The loss at an exponent."""
    return LengthPreference(start=exponent, **options)


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(parts) -> an agent on 16 lanes; with 60 tokens to write some answers of its random policy end."""

    def make(name: str = "lambda-grpo", **parts: Any) -> Any:
        envs = make_envs(16, 4, max_new_tokens=60)
        parts.setdefault("optimizer", Optimizer(learning_rate=1e-2, epochs=2))
        return recipes.make(name, make_policy(envs), envs, **parts)

    return make


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exponent", "shortest", "longest"), [(1, 0.902, 1.297), (2, 0.794, 1.749), (3, 0.669, 2.445), (-2, 1.197, 0.655)]
)
def test_weights_by_hand(exponent: float, shortest: float, longest: float) -> None:
    # Mean 812.5, population deviation 717.8: z of 200 is -0.853 and of 2500 is 2.351, so h is 0.905 and 1.261.
    weight = length_weights(LENGTHS, torch.tensor(float(exponent)))
    assert float(weight[0]) == pytest.approx(shortest, abs=5e-4)
    assert float(weight[-1]) == pytest.approx(longest, abs=5e-4)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=16), st.floats(-3, 3))
def test_weights_are_above_zero_and_sum_to_the_size_and_zero_weighs_all_alike(
    lengths: list[int], exponent: float
) -> None:
    weight = length_weights(torch.tensor(lengths), torch.tensor(exponent))
    assert float(weight.sum()) == pytest.approx(len(lengths)) and bool((weight > 0).all())
    assert length_weights(torch.tensor(lengths), torch.tensor(0.0)).tolist() == pytest.approx([1.0] * len(lengths))


def test_a_positive_exponent_favours_long_answers() -> None:
    for exponent, rises in ((1.0, True), (-1.0, False)):
        weight = length_weights(LENGTHS, torch.tensor(exponent))
        assert bool((weight.diff() > 0).all()) is rises and bool((weight.diff() < 0).all()) is not rises


# -- the loss ---------------------------------------------------------------------------------------------------------


def test_the_objective_by_hand() -> None:
    # Lengths 1 and 3: z -1 and 1, rho 0.5: h 0.5 and 1.5; exponent 1: f = 2 softmax(0.5, 1.5) = 0.5378828, 1.4621172.
    # Scores -2 and 3, 4 tokens: (-2 * 0.5378828 + 3 * 1.4621172) / 4 = 0.8276464; slopes f / 4.
    # The second group, of equal lengths 2 and 2, has f = 1; with it the sum is 3.3105859 + 1 - 5 over 8 tokens.
    loss = at(1.0, rho=0.5)
    score = torch.tensor([[-2.0, 0], [3.0, 1]])
    value, slope = slopes_of(loss, score, set_batch([1, 0], [0, 0], [1, 3]))
    assert value == pytest.approx(0.8276464, abs=1e-6)
    assert slope[:, 0].tolist() == pytest.approx([0.1344707, 0.3655293], abs=1e-6) and not slope[:, 1].any()
    both = torch.cat([score, torch.tensor([[1.0, 0], [-5.0, 1]])])
    value, metrics = loss.objective(both, set_batch([1, 0, 1, 0], [0, 0, 1, 1], [1, 3, 2, 2]))
    assert float(value.detach()) == pytest.approx(-0.6894141 / 8, abs=1e-6)
    assert metrics == {"clip_fraction": 0.25, "length_exponent": 1.0}


def test_the_gradient_of_the_exponent_by_hand() -> None:
    # f_i = 2 p_i, p = softmax(h^x): dp_1/dx = p_1 p_2 (h_1^x log h_1 - h_2^x log h_2). At x = 1 with h 0.5, 1.5 and
    # p 0.2689414, 0.7310586: 0.1966119 * (-0.3465736 - 0.6081977) = -0.1877184. dL/dx = 2 (-2 - 3) * that / 4.
    loss = at(1.0, rho=0.5)
    slopes_of(loss, torch.tensor([[-2.0, 0], [3.0, 0]]), set_batch([1, 0], [0, 0], [1, 3]))
    assert float(loss.exponent.grad) == pytest.approx(0.4692960, abs=1e-5)


def test_answers_of_one_length_give_the_exponent_no_gradient() -> None:
    loss = at(1.0)
    slopes_of(loss, torch.tensor([[-2.0, 0], [3.0, 0]]), set_batch([1, 0], [0, 0], [3, 3]))
    assert float(loss.exponent.grad) == 0


def test_an_answer_without_a_token_in_the_loss_is_in_no_group() -> None:
    # As by hand above; with the length 0 the mean and the deviation would be others. The second group has no token.
    batch = set_batch([1, 0, 0, 1], [0, 0, 0, 1], [1, 3, 0, 0])
    score = torch.tensor([[-2.0, 0], [3.0, 1], [0.0, 0], [0.0, 0]])
    value, slope = slopes_of(at(1.0, rho=0.5), score, batch)
    assert value == pytest.approx(0.8276464, abs=1e-6)
    assert slope[:, 0].tolist() == pytest.approx([0.1344707, 0.3655293, 0, 0], abs=1e-6)


def test_scores_are_those_of_the_clipped_surrogate(make_agent: Any, make_episode: Any) -> None:
    agent = make_agent()
    batch = near_policy(agent, make_set_batch(make_episode, REWARDS, SETS, advantages=ADVANTAGES))
    with torch.no_grad():
        log_probs = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT, batch.weight_NT > 0)
    score = LengthPreference(clip_low=0.1, clip_high=0.15).scores(log_probs, batch)
    surrogate = ClippedSurrogate(0.1, 0.15)(log_probs, batch)
    assert float(score[:, 0].sum()) == pytest.approx(float(surrogate.total), rel=1e-5)
    assert float(score[:, 1].sum()) == float(surrogate.metrics["clip_fraction"]) > 0


def test_scores_have_numeric_gradients_and_none_outside(make_episode: Any) -> None:
    batch = make_set_batch(make_episode, REWARDS, SETS, advantages=ADVANTAGES)
    log_probs = batch.old_log_probs_NT.double() - 0.1  # inside of all clips, where the derivative exists
    assert torch.autograd.gradcheck(
        lambda x: LengthPreference().scores(x, batch)[:, 0], [log_probs.clone().requires_grad_()]
    )
    wild = torch.where(batch.weight_NT > 0, log_probs, 1e5).requires_grad_()
    LengthPreference().scores(wild, batch)[:, 0].sum().backward()
    assert wild.grad is not None and torch.isfinite(wild.grad).all() and not wild.grad[batch.weight_NT == 0].any()


def test_the_exponent_zero_has_the_gradient_of_the_token_mean(make_agent: Any, make_episode: Any) -> None:
    found = []
    for parts in ({}, {"loss": ClippedSurrogate()}):
        agent = make_agent(**parts)
        batch = near_policy(agent, make_set_batch(make_episode, REWARDS, SETS, advantages=ADVANTAGES))
        found.append(catch_gradients(agent, batch))
    (one, ours), (other, theirs) = found
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert one["clip_fraction"] == pytest.approx(other["clip_fraction"]) and one["clip_fraction"] > 0
    assert_close(ours, theirs, tolerance=2e-6)


@pytest.mark.parametrize("microbatch", [None, 1, 3])
def test_gradients_are_exact_in_any_passes(make_agent: Any, make_episode: Any, microbatch: Any) -> None:
    agent = make_agent(loss=at(2.0), optimizer=Optimizer(microbatch=microbatch, epochs=2))
    batch = near_policy(agent, make_set_batch(make_episode, REWARDS, SETS, advantages=ADVANTAGES))
    value, expected = one_graph(agent, batch, at(2.0))
    metrics, found = catch_gradients(agent, batch)
    assert metrics["loss"] == pytest.approx(value, rel=1e-5)
    assert_close(found, expected)


@pytest.mark.parametrize("microbatch", [None, 2])
def test_the_gradient_of_the_exponent_is_numeric(make_agent: Any, make_episode: Any, microbatch: Any) -> None:
    agent = make_agent(loss=at(0.7), optimizer=Optimizer(microbatch=microbatch, epochs=2))
    batch = near_policy(agent, make_set_batch(make_episode, REWARDS, SETS, advantages=ADVANTAGES))
    catch_gradients(agent, batch)
    with torch.no_grad():
        log_probs = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT, batch.weight_NT > 0)
        score = LengthPreference().scores(log_probs, batch)
        up, down = (at(0.7 + step).objective(score, batch)[0] for step in (1e-3, -1e-3))
    expected = float(up - down) / 2e-3
    assert abs(expected) > 1e-4
    assert float(agent.parts.loss.exponent.grad) == pytest.approx(expected, rel=1e-3)


# -- its number -------------------------------------------------------------------------------------------------------


def test_the_exponent_is_trained_by_plain_descent_within_its_bound() -> None:
    loss = at(2.9, learning_rate=0.5)
    optimizer = loss.optimizer()
    assert isinstance(loss, Trainable) and isinstance(optimizer, torch.optim.SGD)
    loss.exponent.grad = torch.tensor(0.4)
    optimizer.step()
    assert float(loss.exponent) == pytest.approx(2.7)
    loss.exponent.grad = torch.tensor(-9.0)
    optimizer.step()
    loss.stepped()
    assert float(loss.exponent) == 3.0
    loss.exponent.grad = torch.tensor(99.0)
    optimizer.step()
    loss.stepped()
    assert float(loss.exponent) == -3.0


def test_an_agent_trains_the_exponent_saves_it_and_resumes(make_agent: Any, make_envs: Any, tmp_path: Any) -> None:
    agent = make_agent()
    agent.learn(2)
    value = float(agent.parts.loss.exponent)
    assert value != 0 == float(agent.recipe.loss.exponent)
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4, max_new_tokens=60))
    assert float(loaded.parts.loss.exponent) == value and loaded.recipe == agent.recipe
    assert [loaded.update() for _ in range(2)] == [agent.update() for _ in range(2)]
    assert float(loaded.parts.loss.exponent) == float(agent.parts.loss.exponent) != value
    pairs = zip(agent.policy.model.parameters(), loaded.policy.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_momentum_of_its_optimiser_is_saved_too(make_agent: Any, make_envs: Any, tmp_path: Any) -> None:
    agent = make_agent()
    for group in agent.learner.part_optimizers["loss"].param_groups:
        group["momentum"] = 0.9
    agent.learn(2)
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4, max_new_tokens=60))
    loaded.update(), agent.update()
    assert float(loaded.parts.loss.exponent) == float(agent.parts.loss.exponent)


def test_a_rate_of_zero_keeps_the_exponent(make_agent: Any) -> None:
    agent = make_agent(loss=at(0.5, learning_rate=0.0))
    agent.learn(2)
    assert float(agent.parts.loss.exponent) == 0.5


def test_its_plain_form_has_the_options_and_not_the_number() -> None:
    loss = at(1.0, rho=0.25)
    with torch.no_grad():
        loss.exponent.fill_(2.0)
    again = part_from_config(part_to_config(loss))
    assert again == loss and float(again.exponent) == 1.0
    assert "exponent" not in part_to_config(loss)["options"]  # type: ignore[index]


def test_a_group_that_is_too_large_is_refused() -> None:
    # rho 1/2: 1 / sqrt(G - 1) is 1/2 for G = 5.
    four, five = (set_batch([1.0] * size, [0] * size) for size in (4, 5))
    at(1.0, rho=0.5).objective(torch.zeros(4, 2), four)
    with pytest.raises(ConfigurationError, match=r"rho=0.5 must be below 1 / sqrt\(G - 1\) = 0.5 for a group of G=5"):
        at(1.0, rho=0.5).objective(torch.zeros(5, 2), five)
    LengthPreference().objective(torch.zeros(81, 2), set_batch([1.0] * 81, [0] * 81))
    LengthPreference().objective(torch.zeros(1, 2), set_batch([1.0], [0]))


def test_a_group_that_is_too_large_is_refused_before_the_first_rollout(make_agent: Any) -> None:
    with pytest.raises(ConfigurationError, match="group of G=4.*before the first rollout"):
        make_agent(loss=at(0.0, rho=0.7))


def test_the_order_of_groups_does_not_matter() -> None:
    order = torch.tensor([3, 0, 2, 1])
    score, sets, lengths = torch.randn(4, 2), torch.tensor([0, 0, 1, 1]), torch.tensor([1, 4, 2, 7])
    value, slope = slopes_of(at(1.5), score, set_batch([1.0] * 4, sets.tolist(), lengths.tolist()))
    moved = replace(set_batch([1.0] * 4, sets[order].tolist(), lengths[order].tolist()))
    again, turned = slopes_of(at(1.5), score[order], moved)
    assert again == pytest.approx(value, rel=1e-9) and torch.allclose(turned, slope[order])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 4.0}, r"start=4.0 must lie in \[-3.0, 3.0\], the bound"),
        ({"start": math.nan}, "start=nan"),
        ({"rho": 1.0}, r"rho=1.0 must lie in \(0, 1\)"),
        ({"rho": 0.0}, "rho=0.0"),
        ({"bound": 0.0}, "bound=0.0 must be a finite number above 0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1 must be finite and at least 0"),
        ({"clip_low": 1.5}, r"clip_low=1.5 must lie in \[0, 1\]"),
        ({"clip_high": -0.1}, "clip_high=-0.1 must be at least 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LengthPreference(**options)
