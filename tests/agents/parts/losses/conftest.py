"""Batches of given ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.episode import Role

Rows = Callable[..., tuple[torch.Tensor, Batch]]


@pytest.fixture(scope="session")
def make_rows() -> Rows:
    """(ratios, advantages, ...) -> log-probabilities, float64 with gradient, and a batch of such ratios.

    One row per answer, of any lengths; ``None`` among the ratios of a row is a token outside the loss. A prompt token
    stands before each answer. An advantage is one number per row, or one per token. ``old`` are old probabilities,
    alike for all, or a list like ``ratios``; ``share`` makes weights 1 / n and else 1.
    """

    def make(
        ratios: Sequence[Sequence[float | None]],
        advantages: Sequence[Any],
        *,
        old: Any = 0.3,
        share: bool = False,
        outside: float = 1e4,
    ) -> tuple[torch.Tensor, Batch]:
        shape = len(ratios), 1 + max(map(len, ratios))
        new_NT, old_NT = np.full(shape, outside), np.full(shape, -outside)  # exp of the difference overflows
        advantage_NT, weight_NT = np.zeros(shape), np.zeros(shape)
        for n, row in enumerate(ratios):
            inside = [t + 1 for t, ratio in enumerate(row) if ratio is not None]
            for t in inside:
                before = old if np.ndim(old) == 0 else old[n][t - 1]
                old_NT[n, t], new_NT[n, t] = math.log(before), math.log(before) + math.log(row[t - 1] or 0)
            advantage_NT[n, 1 : 1 + len(row)] = advantages[n]
            weight_NT[n, inside] = 1 / len(inside) if share else 1
        role_NT = np.where(weight_NT > 0, Role.SAMPLED, Role.PROMPT).astype(np.int8)
        mask_NT = np.arange(shape[1]) <= np.array([[len(row)] for row in ratios])
        batch = Batch(
            tokens_NT=torch.zeros(shape, dtype=torch.int64),
            mask_NT=torch.from_numpy(mask_NT),
            role_NT=torch.from_numpy(role_NT),
            old_log_probs_NT=torch.from_numpy(old_NT),
            advantage_NT=torch.from_numpy(advantage_NT),
            weight_NT=torch.from_numpy(weight_NT),
        )
        return torch.from_numpy(new_NT).requires_grad_(), batch

    return make


@pytest.fixture(scope="session")
def slopes_of() -> Callable[..., list[list[float]]]:
    """(loss, log_probs, batch) -> the gradient of its total for each token behind the prompt, as lists."""

    def find(loss: Any, log_probs_NT: torch.Tensor, batch: Batch) -> list[list[float]]:
        (slope_NT,) = torch.autograd.grad(loss(log_probs_NT, batch).total, [log_probs_NT])
        assert not slope_NT[:, 0].any() and torch.isfinite(slope_NT).all()
        return slope_NT[:, 1:].tolist()

    return find
