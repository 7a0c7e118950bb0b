"""Batch: the episodes of an update as padded tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from g2rpo_env.episode import Episode, Role


@dataclass(frozen=True)
class Batch:
    """Padded arrays of N episodes and T tokens; column t is about token t given those before it.

    Attributes:
        tokens_NT: int64.
        mask_NT: bool, where there is a token (attention).
        role_NT: int8, a Role; meaningless where ``mask_NT`` is False.
        old_log_probs_NT: float32, recorded when sampled; 0 elsewhere.
        advantage_NT: float32.
        weight_NT: float32, weight of a token in the loss, 0 for those outside it.
        reference_log_probs_NT: float32 or None, where a part requires them.
        id_N2: int64 or None, group and member of each episode, for messages.
    """

    tokens_NT: torch.Tensor
    mask_NT: torch.Tensor
    role_NT: torch.Tensor
    old_log_probs_NT: torch.Tensor
    advantage_NT: torch.Tensor
    weight_NT: torch.Tensor
    reference_log_probs_NT: torch.Tensor | None = None
    id_N2: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens_NT)

    def take(self, rows: torch.Tensor) -> Batch:
        """Return some rows, cut to their longest episode."""
        end = int(self.mask_NT[rows].sum(-1).max()) if len(rows) else 0
        taken: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            columns = slice(None) if field.name == "id_N2" else slice(end)
            taken[field.name] = None if value is None else value[rows, columns]
        return Batch(**taken)

    def minibatches(self, size: int | None) -> Iterator[Batch]:
        """Yield the rows in parts of ``size``, longest episodes together; all at once if None."""
        if size is None or size >= len(self):
            yield self
            return
        order = torch.argsort(self.mask_NT.sum(-1), descending=True, stable=True)
        for start in range(0, len(self), size):
            yield self.take(order[start : start + size])

    def microbatches(self, size: int | None = None, tokens: int | None = None) -> Iterator[Batch]:
        """Yield the rows in parts for one forward pass each, longest episodes together; see :func:`split_lengths`.

        Args:
            size: Most episodes in a part; None for no limit.
            tokens: Most tokens in a part, padding included; None for no limit.
        """
        lengths = self.mask_NT.sum(-1)
        order = torch.argsort(lengths, descending=True, stable=True)
        extra = PASS if lengths.device.type == "cpu" else PASS_ON_GPU
        ends = split_lengths(lengths[order].tolist(), size, tokens, extra)
        if len(ends) == 1:
            yield self
            return
        for start, end in zip([0, *ends], ends, strict=False):
            yield self.take(order[start:end])

    def with_old_log_probs(self, log_probs_NT: torch.Tensor, role: int) -> Batch:
        """Return the batch with old log-probabilities filled in where the token has a role."""
        return replace(self, old_log_probs_NT=torch.where(self.role_NT == role, log_probs_NT, self.old_log_probs_NT))


PASS = 256
"""What one more forward pass costs, in tokens: launches, and the addition of its gradients to those before."""
PASS_ON_GPU = 4096
"""The same on a GPU, which computes many tokens in the time of a pass's launches."""


def split_lengths(
    lengths: Sequence[int], size: int | None = None, tokens: int | None = None, extra: int | None = None
) -> list[int]:
    """Return the ends of the consecutive parts with the least padding, where a part costs ``extra`` tokens on top.

    Exact, by dynamic programming over the last part; ties go to the longer part, so that the result is one.

    Args:
        lengths: Lengths of N episodes, descending.
        size: Most episodes in a part.
        tokens: Most tokens in a part with padding; an episode that is longer alone gets a part of its own.
        extra: What a part costs; None for PASS.

    >>> split_lengths([100] * 8), split_lengths([1000] * 2 + [100] * 8), split_lengths([4, 3, 2], tokens=6)
    ([8], [2, 10], [1, 3])
    """
    width_N = np.asarray(lengths, np.int64)
    extra = PASS if extra is None else extra
    cost, last = np.zeros(len(width_N) + 1, np.int64), [0] * (len(width_N) + 1)
    for end in range(1, len(width_N) + 1):
        rows = end - np.arange(end)
        total = rows * width_N[:end]
        fits = (rows <= (size or end)) & ((total <= (tokens or total.max())) | (rows == 1))
        costs = np.where(fits, cost[:end] + total + extra, np.iinfo(np.int64).max)
        last[end] = int(costs.argmin())
        cost[end] = costs[last[end]]
    ends, end = [], len(width_N)
    while end > 0:
        ends.append(end)
        end = last[end]
    return ends[::-1]


def make_batch(
    episodes: Sequence[Episode], advantage_N: np.ndarray, weights: Sequence[np.ndarray], device: torch.device
) -> Batch:
    """Return episodes as a batch.

    Args:
        episodes: N episodes; ``train_prefix`` replaces the tokens before the first sampled one where it is set.
        advantage_N: float (N,).
        weights: N arrays (T,), the loss weight of each token.
        device: Where the tensors go.
    """
    rows = [_row(e, weight_T) for e, weight_T in zip(episodes, weights, strict=True)]
    tokens, roles, log_probs, weight = zip(*rows, strict=True)
    lengths = np.array([len(tokens_T) for tokens_T in tokens])
    size, width = len(episodes), int(lengths.max())

    def padded(rows: Sequence[np.ndarray], dtype: type) -> torch.Tensor:
        out: np.ndarray = np.zeros((size, width), dtype)
        for row, values in zip(out, rows, strict=True):
            row[: len(values)] = values
        return torch.from_numpy(out).to(device)

    mask = torch.from_numpy(np.arange(width) < lengths[:, None]).to(device)
    advantage = torch.from_numpy(np.asarray(advantage_N, np.float32)).to(device)
    return Batch(
        tokens_NT=padded(tokens, np.int64),
        mask_NT=mask,
        role_NT=padded(roles, np.int8),
        old_log_probs_NT=padded(log_probs, np.float32),
        advantage_NT=advantage[:, None].expand(size, width),
        weight_NT=padded(weight, np.float32),
        id_N2=torch.tensor([(e.group, e.member) for e in episodes], device=device),
    )


def _row(episode: Episode, weight_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens, roles, log-probabilities and weights of an episode as it is trained on."""
    row = (episode.tokens_T, episode.role_T, episode.logprob_T, weight_T)
    if episode.train_prefix is None:
        return row
    first = int(np.argmax(episode.sampled_T)) if episode.sampled_T.any() else len(episode.tokens_T)
    nothing = np.zeros(len(episode.train_prefix))
    prefix = (episode.train_prefix, nothing + Role.PROMPT, nothing, nothing)
    return tuple(np.concatenate([new, old[first:]]) for new, old in zip(prefix, row, strict=True))  # type: ignore[return-value]
