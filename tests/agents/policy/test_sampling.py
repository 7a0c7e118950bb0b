"""Truncation: what top_k, top_p and min_p keep, in Hugging Face's order; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from g2rpo_env.agents.policy.sampling import Truncation
from g2rpo_env.errors import ConfigurationError

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
