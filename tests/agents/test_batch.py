"""Batch: padding, parts and what replaces a sampling context in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import batch as module
from g2rpo_env.agents.batch import Batch, make_batch, split_lengths
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.episode import Role

CPU = torch.device("cpu")


@pytest.fixture
def batch(make_episode: Any) -> Batch:
    """Three episodes of 3, 5 and 2 tokens with advantages 1, 2 and 3."""
    episodes = [
        make_episode("pss", [0, -1, -2]),
        make_episode("prsss", [0, 0, -3, -4, -5]),
        make_episode("ps", [0, -6]),
    ]
    return make_batch(episodes, np.array([1.0, 2.0, 3.0]), [TokenMean()(e) for e in episodes], CPU)


def test_episodes_are_padded_on_the_right_and_masked(batch: Batch) -> None:
    assert batch.mask_NT.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.tokens_NT.tolist() == [[2, 3, 4, 0, 0], [2, 3, 4, 5, 6], [2, 3, 0, 0, 0]]
    assert batch.weight_NT.tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]
    assert batch.old_log_probs_NT.tolist() == [[0, -1, -2, 0, 0], [0, 0, -3, -4, -5], [0, -6, 0, 0, 0]]
    assert batch.advantage_NT[:, 0].tolist() == [1, 2, 3]
    assert (batch.advantage_NT == batch.advantage_NT[:, :1]).all()


def test_take_cuts_to_the_longest_episode_it_keeps(batch: Batch) -> None:
    part = batch.take(torch.tensor([2, 0]))
    assert part.tokens_NT.tolist() == [[2, 3, 0], [2, 3, 4]]
    assert part.advantage_NT[:, 0].tolist() == [3, 1]
    assert part.reference_log_probs_NT is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, None])
def test_minibatches_hold_every_episode_once_longest_first(batch: Batch, size: int | None) -> None:
    parts = list(batch.minibatches(size))
    assert sorted(a for p in parts for a in p.advantage_NT[:, 0].tolist()) == [1, 2, 3]
    assert sum(float(p.weight_NT.sum()) for p in parts) == float(batch.weight_NT.sum())
    assert all(p.mask_NT.any(dim=0).all() for p in parts)
    if size in (1, 2):
        lengths = [int(n) for p in parts for n in p.mask_NT.sum(-1)]
        assert lengths == sorted(lengths, reverse=True)


def test_old_log_probs_are_filled_in_by_role_only(batch: Batch) -> None:
    filled = batch.with_old_log_probs(torch.full((3, 5), -9.0), Role.REVEALED)
    assert filled.old_log_probs_NT[1].tolist() == [0, -9, -3, -4, -5]
    assert torch.equal(filled.old_log_probs_NT[[0, 2]], batch.old_log_probs_NT[[0, 2]])


def test_a_training_prefix_replaces_the_context_of_the_sampled_tokens(make_episode: Any) -> None:
    # Sampled after "p r r" as tokens 5 and 6, trained after the prefix (9, 8): the context is never in the loss.
    episode = make_episode("prrss", [0, 0, 0, -1, -2], train_prefix=np.array([9, 8], np.int32))
    plain = make_episode("prrss", [0, 0, 0, -1, -2], member=1)
    weights = [TokenMean(revealed=True)(e) for e in (episode, plain)]
    batch = make_batch([episode, plain], np.array([1.0, 1.0]), weights, CPU)
    assert batch.tokens_NT.tolist() == [[9, 8, 5, 6, 0], [2, 3, 4, 5, 6]]
    assert batch.mask_NT.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert batch.weight_NT.tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]]
    assert batch.role_NT[0, :4].tolist() == [Role.PROMPT, Role.PROMPT, Role.SAMPLED, Role.SAMPLED]
    assert batch.old_log_probs_NT[0].tolist() == [0, 0, -1, -2, 0]


def best_cost(lengths: list[int], size: int | None, tokens: int | None) -> int:
    """The least cost of any way to cut, tried one by one."""
    if not lengths:
        return 0
    costs = []
    for first in range(1, len(lengths) + 1):
        if first > 1 and (first > (size or first) or first * lengths[0] > (tokens or first * lengths[0])):
            break
        costs.append(first * lengths[0] + module.PASS + best_cost(lengths[first:], size, tokens))
    return min(costs)


@given(
    lengths=st.lists(st.integers(1, 900), min_size=1, max_size=7),
    size=st.none() | st.integers(1, 7),
    tokens=st.none() | st.integers(1, 3000),
)
def test_parts_keep_the_limits_and_cost_the_least(lengths: list[int], size: int | None, tokens: int | None) -> None:
    lengths = sorted(lengths, reverse=True)
    ends = split_lengths(lengths, size, tokens)
    parts = [lengths[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert [n for part in parts for n in part] == lengths and all(parts)
    assert all(len(part) <= (size or 7) for part in parts)
    assert all(len(part) == 1 or len(part) * part[0] <= (tokens or 10**9) for part in parts)
    cost = sum(len(part) * part[0] + module.PASS for part in parts)
    assert cost == best_cost(lengths, size, tokens)


def test_parts_for_one_pass_each_hold_every_episode_once(batch: Batch) -> None:
    # 3, 5 and 2 tokens: 5 alone and 3 with 2 are 5 + 6 tokens, within 6 per pass
    parts = list(batch.microbatches(tokens=6))
    assert [tuple(part.tokens_NT.shape) for part in parts] == [(1, 5), (2, 3)]
    assert [part.advantage_NT[:, 0].tolist() for part in parts] == [[2], [1, 3]]
    assert [p.id_N2.shape for p in parts if p.id_N2 is not None] == [(1, 2), (2, 2)]
    assert list(batch.microbatches()) == [batch]
