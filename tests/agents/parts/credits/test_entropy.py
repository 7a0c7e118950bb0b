"""The tokens of highest entropy: the quantile by hand, over the whole update and over sampled tokens alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.agents.parts.credits.entropy import TopEntropyTokens
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError


def test_one_token_of_five_is_left(make_episode: Any) -> None:
    # Entropies 1 to 5, share 0.2: the 0.8 quantile is at rank 3.2: 4.2. One token is left.
    groups = Groups([Group((make_episode("psssss"),))])
    (found,) = TopEntropyTokens(0.2)(groups, [np.array([2.0])], entropy_GT=[np.array([0, 1, 2, 3, 4, 5.0])])
    assert found.tolist() == [2, 0, 0, 0, 0, 2]


def test_the_quantile_is_over_the_sampled_tokens_of_the_update(make_episode: Any) -> None:
    # Sampled 1, 4 | 2, 3 (and a revealed token of 9, which is no part of it): median 2.5 for share 0.5.
    groups = Groups([Group((make_episode("pss"),)), Group((make_episode("prsse", group=1),))])
    given = [np.array([0, 1, 4.0]), np.array([0, 9, 2, 3, 0.0])]
    found = TopEntropyTokens(0.5)(groups, [np.array([1.0]), np.array([-1.0])], entropy_GT=given)
    assert found[0].tolist() == [1, 0, 1]
    assert found[1].tolist() == [-1, -1, 0, -1, -1]  # prompt and environment tokens keep A, the reveal is above


def test_a_share_of_one_keeps_every_advantage(make_episode: Any) -> None:
    groups = Groups([Group((make_episode("prss"), make_episode("ps", member=1)))])
    given = [np.array([0, 0.1, 0.2, 0.3]), np.array([0, 5.0])]
    found = TopEntropyTokens(1.0)(groups, [np.array([0.3, -0.7])], entropy_GT=given)
    assert [row.tolist() for row in found] == [[0.3] * 4, [-0.7] * 2]


def test_equal_entropies_are_all_kept(make_episode: Any) -> None:
    groups = Groups([Group((make_episode("psss"),))])
    (found,) = TopEntropyTokens(0.2)(groups, [np.ones(1)], entropy_GT=[np.array([0, 0.7, 0.7, 0.7])])
    assert found.tolist() == [1, 1, 1, 1]


def test_an_update_without_a_sampled_token_keeps_its_advantages(make_episode: Any) -> None:
    groups = Groups([Group((make_episode("prr"),))])
    (found,) = TopEntropyTokens()(groups, [np.ones(1)], entropy_GT=[np.zeros(3)])
    assert found.tolist() == [1, 1, 1]
    assert TopEntropyTokens()(Groups(), [], entropy_GT=[]) == []


@given(st.lists(st.integers(0, 64), min_size=1, max_size=40), st.sampled_from([0.25, 0.5, 0.75, 0.2, 0.37, 0.99]))
@settings(max_examples=60, deadline=None)
def test_the_tokens_kept_are_those_of_the_quantile_of_torch(
    make_episode: Any, eighths: list[int], share: float
) -> None:
    entropy = [value / 8 for value in eighths]
    groups = Groups([Group((make_episode("p" + "s" * len(entropy)),))])
    (found,) = TopEntropyTokens(share)(groups, [np.ones(1)], entropy_GT=[np.array([0, *entropy], np.float32)])
    values = torch.tensor(entropy, dtype=torch.float64)
    kept = (values >= torch.quantile(values, 1 - share) - 1e-9).tolist()
    assert (found[1:] != 0).tolist() == kept
    assert found[1:].sum() >= max(1, np.floor(share * len(entropy)))


@pytest.mark.parametrize("share", [0.0, 1.1, -0.2])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"share={share} must lie in \(0, 1\]"):
        TopEntropyTokens(share)
