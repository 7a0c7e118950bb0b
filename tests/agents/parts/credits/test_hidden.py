"""Hidden rewards: against the double sum that defines them, against gradients of the head, and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.credits.hidden import HiddenReward, NegativeHiddenReward, find_influence, find_least_mean
from g2rpo_env.agents.policy.scoring import TokenStates
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError


def make_states(lengths: Sequence[int], seed: int = 0) -> list[TokenStates]:
    """States of answers of these lengths, behind one prompt token, with 5 columns and 4 hidden numbers."""
    random = torch.Generator().manual_seed(seed)
    return [
        TokenStates(
            torch.arange(1, n + 1),
            torch.randn(n, 4, generator=random),
            torch.randn(n, 5, generator=random),
            torch.arange(5),
        )
        for n in lengths
    ]


def define_influence(states: list[TokenStates], right: list[bool], averaged: bool) -> list[list[float]]:
    """The double sum of the definition."""
    found = []
    for mine in states:
        row = []
        for h, g in zip(mine.hidden_MD, mine.residual_MV, strict=True):
            total = 0.0
            for other, is_right in zip(states, right, strict=True):
                if is_right:
                    pairs = zip(other.hidden_MD, other.residual_MV, strict=True)
                    share = sum(float(g @ g2) * float(h @ h2) for h2, g2 in pairs)
                    total += share / len(other.hidden_MD) if averaged else share
            row.append(total)
        found.append(row)
    return found


@pytest.mark.parametrize("averaged", [True, False])
def test_influence_is_the_double_sum_that_defines_it(averaged: bool) -> None:
    states, right = make_states([3, 2, 4, 1]), [True, False, True, False]
    found = find_influence(states, np.array(right), averaged)
    for one, expected in zip(found, define_influence(states, right, averaged), strict=True):
        assert one.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.fixture
def make_group(make_episode: Any) -> Any:
    """(shapes, right) -> a group."""
    return lambda shapes, right: Group(
        tuple(make_episode(s, member=i, correct=r) for i, (s, r) in enumerate(zip(shapes, right, strict=True)))
    )


def test_with_all_columns_influence_is_an_inner_product_of_gradients_of_the_head(
    make_envs: Any, make_policy: Any, make_group: Any
) -> None:
    policy = make_policy(make_envs(), scale=3.0)
    group, right = make_group(["ppss", "psss", "prss"], [True, False, True]), np.array([True, False, True])
    states = policy.token_states(group.episodes, True)
    influence = find_influence(states, right, averaged=True)
    weight = policy.model.get_output_embeddings().weight.detach()
    assert states[0].residual_MV.shape[1] == policy.vocab_size

    def gradient(state: TokenStates, index: int, token: int) -> torch.Tensor:
        head = weight[: policy.vocab_size].clone().requires_grad_()
        log_p = torch.log_softmax(state.hidden_MD[index] @ head.T / policy.temperature, -1)[token]
        return torch.autograd.grad(log_p, [head])[0]

    gradients = [
        [gradient(s, k, int(e.tokens_T[p])) for k, p in enumerate(s.position_M)]
        for e, s in zip(group.episodes, states, strict=True)
    ]
    answers = sum(torch.stack(gradients[i]).mean(0) for i in (0, 2))  # of the right answers' mean log pi
    for found, rows in zip(influence, gradients, strict=True):
        assert found.tolist() == pytest.approx([float((g * answers).sum()) for g in rows], rel=1e-3, abs=1e-6)


def states_of(states: list[TokenStates]) -> Any:
    return lambda group, every_column: states


def make_known() -> list[TokenStates]:
    """Right answers with residuals (1, 0) and (2, 0); a wrong one with (3, 0), (-1, 0), (0.5, 0); all hidden states 1.

    M is 1 + 2 = 3 in the first column: influences 3 and 6 of the right, 9, -3 and 1.5 of the wrong tokens.
    """
    rows = [[1.0], [2.0], [3.0, -1.0, 0.5]]
    return [
        TokenStates(
            torch.arange(1, len(row) + 1), torch.ones(len(row), 1), torch.tensor([[x, 0] for x in row]), torch.arange(2)
        )
        for row in rows
    ]


def test_hidden_reward_by_hand(make_group: Any) -> None:
    # Scores: 3 and 6 of the right answers, -9, 3, -1.5 of the wrong one; tau = 3: abs(s) > 3 keeps 6 and -9.
    groups = Groups([make_group(["ps", "ps", "psss"], [True, True, False])])
    advantages = [np.array([1.0, 1.0, -2.0])]
    found = HiddenReward(0.1)(groups, advantages, states_of=states_of(make_known()))
    assert [row.tolist() for row in found] == [[1, 0], [1, pytest.approx(1.1)], [-2, pytest.approx(-1.8), 0, 0]]
    # threshold 0.4: tau = 1.2, nothing is masked; the other sign of the tilt
    found = HiddenReward(-0.1, threshold=0.4)(groups, advantages, states_of=states_of(make_known()))
    expected = [[1, 0.9], [1, 0.9], [-2, -2.2, -1.8, -2.2]]
    assert [row.tolist() for row in found] == [pytest.approx(row) for row in expected]


def test_negative_hidden_reward_by_hand(make_group: Any) -> None:
    # Influences 3 and 6, and 9, -3, 1.5 of the wrong answer; tau = 3: 9 is above it. eta = 2 (2/3 - 1/2) = 1/3.
    groups = Groups([make_group(["ps", "ps", "psss"], [True, True, False])])
    found = NegativeHiddenReward()(groups, [np.array([1.0, 1.0, -3.0])], states_of=states_of(make_known()))
    assert [row.tolist() for row in found] == [[1, 1], [1, 1], [-3, pytest.approx(-1), -3, -3]]


def test_negative_hidden_rewards_sum_over_tokens_where_hidden_rewards_average(make_group: Any) -> None:
    # The right answer has two tokens of residual 1 and 0.5: M is 1.5 (averaged 0.75), its influences 1.5 and 0.75,
    # mean 1.125; the wrong token of residual 0.8 has 1.2 > 1.125 and is blamed by eta = 0.
    states = [
        TokenStates(torch.tensor([1, 2]), torch.ones(2, 1), torch.tensor([[1.0], [0.5]]), torch.arange(1)),
        TokenStates(torch.tensor([1]), torch.ones(1, 1), torch.tensor([[0.8]]), torch.arange(1)),
    ]
    groups = Groups([make_group(["pss", "ps"], [True, False])])
    found = NegativeHiddenReward()(groups, [np.array([1.0, -1.0])], states_of=states_of(states))
    assert [row.tolist() for row in found] == [[1, 1, 1], [-1, 0]]
    assert find_influence(states, np.array([True, False]), False)[1].tolist() == pytest.approx([1.2])
    assert find_influence(states, np.array([True, False]), True)[1].tolist() == pytest.approx([0.6])
    assert find_least_mean(find_influence(states, np.array([True, False]), False), np.array([True, False])) == 1.125


def test_a_negative_bound_masks_nothing(make_group: Any) -> None:
    # Right answers that disagree: residuals 1 and -3 make M = -2, influences -2 and 6; tau = -2.
    states = [
        TokenStates(torch.tensor([1]), torch.ones(1, 1), torch.tensor([[x]]), torch.arange(1)) for x in (1.0, -3.0, 0.0)
    ]
    groups = Groups([make_group(["ps", "ps", "ps"], [True, True, False])])
    found = HiddenReward(0.1)(groups, [np.array([1.0, 1.0, -1.0])], states_of=states_of(states))
    assert [row[1] for row in found] == pytest.approx([0.9, 1.1, -1])  # a score of 0 has no sign


@pytest.mark.parametrize("credit", [HiddenReward(0.3), NegativeHiddenReward()])
@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_groups_of_one_kind_keep_their_advantages_and_are_not_scored(
    make_group: Any, credit: Any, right: list[bool]
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("such a group needs no states")

    found = credit(Groups([make_group(["prs", "ps"], right)]), [np.array([0.5, -0.5])], states_of=refuse)
    assert [row.tolist() for row in found] == [[0.5] * 3, [-0.5] * 2]


@pytest.mark.parametrize("credit", [HiddenReward(0.3), NegativeHiddenReward()])
def test_a_right_answer_without_a_sampled_token_says_nothing(make_group: Any, credit: Any) -> None:
    states = make_states([0, 2])
    found = credit(Groups([make_group(["pr", "pss"], [True, False])]), [np.ones(2)], states_of=states_of(states))
    assert [row.tolist() for row in found] == [[1, 1], [1, 1, 1]]


@pytest.mark.parametrize("credit", [HiddenReward(0.1), NegativeHiddenReward(), HiddenReward(0.1, columns="all")])
def test_members_and_groups_may_stand_in_any_order(
    make_envs: Any, make_policy: Any, make_group: Any, credit: Any
) -> None:
    policy = make_policy(make_envs(), scale=3.0)
    shapes, right = ["ppss", "psss", "prss", "pssss"], [True, False, True, False]
    groups = [make_group(shapes, right), make_group(shapes[1:], right[1:])]
    advantages = [np.array([1.0, -1.0, 0.5, -0.5]), np.array([-1.0, 1.0, -0.5])]

    def states(group: Group, every_column: bool) -> list[TokenStates]:
        return policy.token_states(group.episodes, every_column)

    found = credit(Groups(groups), advantages, states_of=states)
    turned = [Group(group.episodes[::-1]) for group in groups[::-1]]
    other = credit(Groups(turned), [a[::-1] for a in advantages[::-1]], states_of=states)
    for one, two in zip(found, other[::-1], strict=True):
        assert one.tolist() == pytest.approx(two.tolist())
    if isinstance(credit, HiddenReward):
        for row, advantage in zip(found, np.concatenate(advantages), strict=True):
            factors = {round(x, 9) for x in (row / advantage).tolist()}
            assert factors <= {0.0, 0.9, 1.0, 1.1}


def test_columns_of_the_group_are_fewer_than_all(make_envs: Any, make_policy: Any, make_group: Any) -> None:
    asked = []

    def states(group: Group, every_column: bool) -> list[TokenStates]:
        asked.append(every_column)
        return make_states([1, 1])

    groups = Groups([make_group(["ps", "ps"], [True, False])])
    for columns in ("group", "all"):
        HiddenReward(columns=columns)(groups, [np.ones(2)], states_of=states)
        NegativeHiddenReward(columns=columns)(groups, [np.ones(2)], states_of=states)
    assert asked == [False, False, True, True]


@pytest.mark.parametrize("microbatch", [None, 3])
def test_without_tilt_and_mask_an_update_is_that_of_grpo_to_the_bit(
    make_envs: Any, make_policy: Any, weights_of: Any, same_weights: Any, microbatch: int | None
) -> None:
    agents = []
    for parts in ({}, {"credit": HiddenReward(0.0, threshold=None)}):
        envs = make_envs(16, 4)
        optimizer = recipes.Optimizer(learning_rate=1e-2, microbatch=microbatch)
        agents.append(recipes.make("grpo", make_policy(envs), envs, optimizer=optimizer, **parts))
    assert agents[0].update() == agents[1].update()
    assert same_weights(*(weights_of(agent.policy) for agent in agents))


def test_what_the_parts_ask_for() -> None:
    for credit in (HiddenReward(), NegativeHiddenReward()):
        assert credit.requires == {"states"} and credit.needs == {"members"}


@pytest.mark.parametrize(
    "kind,options,words",
    [
        (HiddenReward, {"tilt": 1.5}, r"tilt=1.5 must lie in \[-1, 1\]"),
        (HiddenReward, {"threshold": -1.0}, "threshold=-1.0 must be None or at least 0"),
        (HiddenReward, {"columns": "some"}, "columns='some' must be one of group, all"),
        (NegativeHiddenReward, {"threshold": None}, "threshold=None must be a number"),
        (NegativeHiddenReward, {"columns": "some"}, "columns='some' must be one of group, all"),
    ],
)
def test_bad_options_are_named(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)
