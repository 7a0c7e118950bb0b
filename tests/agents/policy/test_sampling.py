"""Truncation: what top_k, top_p and min_p keep, in Hugging Face's order; what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from g2rpo_env.agents.policy.sampling import Truncation, draw, invert
from g2rpo_env.errors import ConfigurationError, NonFiniteError

P = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_k": 9, "top_p": 1.0, "min_p": 0.0}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.3}, [0, 1, 0, 0]),  # the likeliest alone holds 0.4
        ({"top_p": 0.6}, [0, 4 / 7, 0, 3 / 7]),  # 0.4 is not enough, 0.7 is
        ({"top_p": 0.71}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"min_p": 0.49}, [0, 4 / 9, 2 / 9, 3 / 9]),  # at least 0.196
        ({"min_p": 1.0}, [0, 1, 0, 0]),
        ({"top_k": 2, "top_p": 0.5}, [0, 1, 0, 0]),  # of what top_k left the likeliest holds 4/7
        ({"top_k": 3, "top_p": 0.7, "min_p": 0.8}, [0, 1, 0, 0]),
    ],
)
def test_what_is_kept_is_normalised(options: dict[str, Any], kept: list[float]) -> None:
    assert torch.allclose(Truncation(**options)(P).exp(), torch.tensor(kept, dtype=torch.float32), atol=1e-6)
    rows = Truncation(**options)(torch.stack([P, P.flip(0)]))
    assert torch.allclose(rows[1].exp(), torch.tensor(kept, dtype=torch.float32).flip(0), atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0.01, 0.99), st.floats(0.0, 0.99), st.floats(0.1, 5.0))
@settings(max_examples=60, deadline=None)
def test_the_support_is_that_of_generate(seed: int, k: int, p: float, least: float, scale: float) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 20)) * scale)
    got = Truncation(k, p, least)(torch.log_softmax(logits, -1))
    want = logits
    for warper in (TopKLogitsWarper(k), TopPLogitsWarper(p), MinPLogitsWarper(least)):
        want = warper(None, want)
    assert torch.equal(torch.isinf(got), torch.isinf(want))
    assert torch.allclose(got.exp(), torch.softmax(want, -1), atol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 0}, "top_k=0 must be None or at least 1"),
        ({"top_p": 0.0}, r"top_p=0.0 must be None or lie in \(0, 1\]"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"min_p": -0.1}, r"min_p=-0.1 must be None or lie in \[0, 1\]"),
        ({"min_p": float("nan")}, "min_p=nan"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Truncation(**options)


def test_draw_inverts_the_distribution_function() -> None:
    # probabilities 0.25, 0, 0.5, 0.25: the cumulative ends at 0.25, 0.25, 0.75, 1
    log_probs = torch.log(torch.tensor([0.25, 0.0, 0.5, 0.25])).expand(6, 4)
    tokens, picked = draw(log_probs, [0.0, 0.2, 0.26, 0.7, 0.76, 1 - 1e-12])
    assert tokens.tolist() == [0, 0, 2, 2, 3, 3] and tokens.dtype == np.int64
    assert np.array_equal(picked, log_probs[0, tokens].numpy()) and picked.dtype == np.float32
    tokens, picked = draw(log_probs, None)
    assert tokens.tolist() == [2] * 6 and np.array_equal(picked, log_probs[:, 2].numpy())


def test_draw_takes_tokens_as_often_as_they_are_likely() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    uniforms = (np.arange(1000) + 0.5) / 1000
    counts = Counter(draw(probabilities.log().expand(1000, 4), uniforms)[0].tolist())
    assert [counts[i] for i in range(4)] == [500, 300, 150, 50]


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_a_search_by_blocks_finds_what_a_search_through_all_finds(block: int) -> None:
    # masses 0 1 0 | 2 0 0 | 0 0 0 | 4 0 1 of sum 8: a token is found from the sum before it on, up to its own
    mass = torch.tensor([0.0, 1, 0, 2, 0, 0, 0, 0, 0, 4, 0, 1]).expand(9, 12)
    u = torch.tensor([0, 0.5, 1, 2.9, 3, 6.9, 7, 7.5, 8 - 1e-12], dtype=torch.float64) / 8
    for size in (block, 12):
        tokens, total = invert(mass, u, size)
        assert tokens.tolist() == [1, 1, 3, 3, 9, 9, 11, 11, 11] and total.tolist() == [8.0] * 9


def test_a_search_by_blocks_finds_tokens_with_mass_at_random() -> None:
    random = torch.Generator().manual_seed(0)
    mass = torch.rand(400, 50, generator=random) * (torch.rand(400, 50, generator=random) < 0.2)
    mass[:, 17] += 0.01  # some mass in each row
    u = torch.rand(400, generator=random, dtype=torch.float64)
    u[:100], u[100:200] = 0.0, 1 - 2**-53
    for block in (3, 7, 16):
        tokens, _ = invert(mass, u, block)
        wanted, _ = invert(mass, u, 50)
        assert torch.equal(tokens, wanted)
        assert bool((mass.gather(1, tokens[:, None]) > 0).all())


@pytest.mark.parametrize("uniforms", [None, [0.5, 0.5]], ids=["greedy", "sampled"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_distribution_that_is_not_finite_is_refused_by_row(uniforms: Any, bad: float) -> None:
    logits = torch.zeros(2, 4)
    logits[1, 2] = bad
    with pytest.raises(NonFiniteError, match="row 1"):
        draw(torch.log_softmax(logits, -1), uniforms)
