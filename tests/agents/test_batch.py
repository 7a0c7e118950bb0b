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


# -- columns of losses that look further than an episode ---------------------------------------------------------------


def test_counts_rewards_and_sets_are_columns_that_rows_keep(make_episode: Any) -> None:
    episodes = [make_episode("pss"), make_episode("prsss", member=1), make_episode("ps", member=2)]
    weights = [TokenMean()(e) for e in episodes]
    given: dict[str, Any] = {"counts": [1, 2, 3], "rewards": np.array([0.5, 1, 0]), "sets": np.array([0, 0, 1])}
    batch = make_batch(episodes, np.ones(3), weights, CPU, **given)
    assert batch.count_N1 is not None and batch.reward_N1 is not None and batch.set_N1 is not None
    assert batch.count == 6 and batch.count_N1.tolist() == [[1], [2], [3]]
    assert batch.reward_N1.tolist() == [[0.5], [1], [0]] and batch.set_N1.tolist() == [[0], [0], [1]]
    rows = batch.take(torch.tensor([2, 0]))
    assert rows.tokens_NT.shape == (2, 3) and rows.count == 4 and rows.set_N1.tolist() == [[1], [0]]
    wide = Batch(**{**vars(batch), "slope_NK": torch.ones(3, 7)}).take(torch.tensor([2]))
    assert wide.tokens_NT.shape == (1, 2) and wide.slope_NK.shape == (1, 7)  # scores are no tokens


def test_without_counts_the_denominator_is_the_sum_of_the_weights(batch: Batch) -> None:
    assert batch.count_N1 is None and batch.count == 6


def test_advantages_may_vary_along_an_episode_and_are_cut_with_its_context(make_episode: Any) -> None:
    plain = make_episode("pss")
    moved = make_episode("prsss", member=1, train_prefix=np.array([9, 9, 9], np.int32))
    credits = [np.array([0.0, 1, 2]), np.array([0.0, 5, 6, 7, 8])]
    weights = [TokenMean()(e) for e in (plain, moved)]
    batch = make_batch([plain, moved], credits, weights, CPU)
    assert batch.advantage_NT.tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 6, 7, 8]]
    assert batch.weight_NT.tolist() == [[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 9))
def test_parts_of_whole_sets_hold_every_row_once_and_split_no_set(sizes: list[int], most: int) -> None:
    set_N = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    parts = [rows.tolist() for rows in module.split_sets(set_N, most)]
    assert sum(parts, []) == list(range(len(set_N)))
    owners = [set(set_N[rows].tolist()) for rows in parts]
    assert all(len(rows) <= most or len(owner) == 1 for rows, owner in zip(parts, owners, strict=True))
    assert sum(map(len, owners)) == len(sizes)
    # As many as fit: the next set never fits into the part before it.
    assert all(len(a) + sizes[min(other)] > most for a, other in zip(parts, owners[1:], strict=False))


def test_passes_name_their_rows(batch: Batch) -> None:
    found = list(batch.passes(size=1))
    assert sorted(int(rows[0]) for _, rows in found) == [0, 1, 2]
    for part, rows in found:
        assert part.weight_NT.sum() == batch.weight_NT[rows].sum()
