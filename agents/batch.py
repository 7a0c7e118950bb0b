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
        advantage_NT: float32; it varies along T only where a recipe has a credit part.
        weight_NT: float32, weight of a token in the loss, 0 for those outside it.
        reference_log_probs_NT: float32 or None, where a part requires them.
        count_N1: float32, what each episode adds to the denominator of the loss; None: the sum of its weights.
        reward_N1: float32 or None, shaped rewards, for losses of whole groups.
        set_N1: int64 or None, number of the selected group that an episode belongs to, 0..P-1. Not the number of the
            group it was sampled in: selections may split a group.
        slope_NK: float32 or None, d loss / d score of each episode, for losses of whole groups; set for each gradient
            step.
        step_count: Denominator of the gradient step that the rows are a part of; set for each step.
        step_tokens: Number of tokens in the loss of that step, likewise.
        id_N2: int64 or None, group and member of each episode, for messages.
        off_policy_N1: bool or None, episodes that are trained in another context than they were sampled in, so that
            their old log-probabilities are those of another distribution even before any step.
    """

    tokens_NT: torch.Tensor
    mask_NT: torch.Tensor
    role_NT: torch.Tensor
    old_log_probs_NT: torch.Tensor
    advantage_NT: torch.Tensor
    weight_NT: torch.Tensor
    reference_log_probs_NT: torch.Tensor | None = None
    count_N1: torch.Tensor | None = None
    reward_N1: torch.Tensor | None = None
    set_N1: torch.Tensor | None = None
    slope_NK: torch.Tensor | None = None
    step_count: float | None = None
    step_tokens: int | None = None
    id_N2: torch.Tensor | None = None
    off_policy_N1: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens_NT)

    @property
    def count(self) -> float:
        """Denominator of the loss."""
        return float(self.weight_NT.sum() if self.count_N1 is None else self.count_N1.sum())

    def take(self, rows: torch.Tensor) -> Batch:
        """Return some rows, cut to their longest episode."""
        end = int(self.mask_NT[rows].sum(-1).max()) if len(rows) else 0
        taken: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            columns = slice(end) if field.name.endswith("_NT") else slice(None)  # only tokens are cut
            taken[field.name] = value[rows, columns] if isinstance(value, torch.Tensor) else value
        return Batch(**taken)

    def minibatches(self, size: int | None, whole_sets: bool = False) -> Iterator[Batch]:
        """Yield the rows in parts for one gradient step each.

        Args:
            size: Most episodes in a part, longest episodes together; None for all at once.
            whole_sets: Split no group: a part then holds as many groups, in their order, as fit, and at least one.
        """
        if size is None or size >= len(self):
            yield self
            return
        if whole_sets:
            assert self.set_N1 is not None, "whole_sets needs set_N1"
            yield from (self.take(rows) for rows in split_sets(self.set_N1[:, 0], size))
            return
        order = torch.argsort(self.mask_NT.sum(-1), descending=True, stable=True)
        for start in range(0, len(self), size):
            yield self.take(order[start : start + size])

    def microbatches(self, size: int | None = None, tokens: int | None = None) -> Iterator[Batch]:
        """Yield the rows in parts for one forward pass each, see :meth:`passes`."""
        yield from (part for part, _ in self.passes(size, tokens))

    def passes(self, size: int | None = None, tokens: int | None = None) -> Iterator[tuple[Batch, torch.Tensor]]:
        """Yield parts for one forward pass each, longest episodes together, with their row numbers, int64.

        The parts are those with the least padding, see :func:`split_lengths`.

        Args:
            size: Most episodes in a part; None for no limit.
            tokens: Most tokens in a part, padding included; None for no limit.
        """
        lengths = self.mask_NT.sum(-1)
        order = torch.argsort(lengths, descending=True, stable=True)
        extra = PASS if lengths.device.type == "cpu" else PASS_ON_GPU
        ends = split_lengths(lengths[order].tolist(), size, tokens, extra)
        if len(ends) == 1:
            yield self, torch.arange(len(self), device=lengths.device)
            return
        for start, end in zip([0, *ends], ends, strict=False):
            yield self.take(order[start:end]), order[start:end]

    def with_old_log_probs(self, log_probs_NT: torch.Tensor, role: int) -> Batch:
        """Return the batch with old log-probabilities filled in where the token has a role."""
        return replace(self, old_log_probs_NT=torch.where(self.role_NT == role, log_probs_NT, self.old_log_probs_NT))


def split_sets(set_N: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Yield row numbers in parts of at most ``size`` that split no set; a larger set is a part of its own.

    Args:
        set_N: int64, the set of each row; rows of a set stand one behind the other.
        size: Most rows in a part, >= 1.

    >>> [rows.tolist() for rows in split_sets(torch.tensor([0, 0, 1, 1, 1, 2]), 4)]
    [[0, 1], [2, 3, 4, 5]]
    """
    part: list[torch.Tensor] = []
    for number in torch.unique_consecutive(set_N):
        rows = torch.nonzero(set_N == number)[:, 0]
        if part and sum(map(len, part)) + len(rows) > size:
            yield torch.cat(part)
            part = []
        part.append(rows)
    if part:
        yield torch.cat(part)


PASS = 256
"""Cost of one more forward pass, in tokens: launches, and the addition of its gradients to those before."""
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
    episodes: Sequence[Episode],
    advantages: np.ndarray | Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    device: torch.device,
    *,
    counts: Sequence[float] | None = None,
    rewards: np.ndarray | None = None,
    sets: np.ndarray | None = None,
    reference_log_probs: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Return episodes as a batch.

    Args:
        episodes: N episodes; ``train_prefix`` replaces the tokens before the first sampled one where it is set.
        advantages: float (N,), one per episode, or N arrays (T,), one per token.
        weights: N arrays (T,), the loss weight of each token.
        device: Where the tensors go.
        counts: N numbers, what each episode adds to the denominator; None for the sum of its weights.
        rewards: float (N,), shaped rewards, or None.
        sets: int (N,), number of the selected group of each episode, or None.
        reference_log_probs: N arrays (T,), where they are known already; of episodes without ``train_prefix``.
    """
    per_token = len(advantages) > 0 and np.ndim(advantages[0]) == 1
    shares = advantages if per_token else [np.zeros(len(e.tokens_T)) for e in episodes]
    rows = [cut_context(*row) for row in zip(episodes, weights, shares, strict=True)]
    tokens, roles, log_probs, weight, share = zip(*rows, strict=True)
    lengths = np.array([len(tokens_T) for tokens_T in tokens])
    size, width = len(episodes), int(lengths.max())

    def pad(rows: Sequence[np.ndarray], dtype: type) -> torch.Tensor:
        out: np.ndarray = np.zeros((size, width), dtype)  # (N, T)
        for row, values in zip(out, rows, strict=True):
            row[: len(values)] = values
        return torch.from_numpy(out).to(device)

    def column(values: Any, dtype: type) -> torch.Tensor | None:
        return None if values is None else torch.from_numpy(np.asarray(values, dtype)).to(device)[:, None]  # (N, 1)

    mask = torch.from_numpy(np.arange(width) < lengths[:, None]).to(device)
    if per_token:
        advantage_NT = pad(share, np.float32)
    else:
        advantage_N1 = torch.from_numpy(np.asarray(advantages, np.float32)).to(device)[:, None]
        advantage_NT = advantage_N1.expand(size, width)  # a view: one number per episode
    return Batch(
        tokens_NT=pad(tokens, np.int64),
        mask_NT=mask,
        role_NT=pad(roles, np.int8),
        old_log_probs_NT=pad(log_probs, np.float32),
        advantage_NT=advantage_NT,
        weight_NT=pad(weight, np.float32),
        count_N1=column(counts, np.float32),
        reward_N1=column(rewards, np.float32),
        set_N1=column(sets, np.int64),
        reference_log_probs_NT=None if reference_log_probs is None else pad(reference_log_probs, np.float32),
        id_N2=torch.tensor([(e.group, e.member) for e in episodes], device=device),
        off_policy_N1=torch.tensor([[e.train_prefix is not None] for e in episodes], device=device),
    )


def cut_context(episode: Episode, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return tokens, roles, log-probabilities and values per token of an episode as it is trained on, (T,) each.

    ``train_prefix`` takes the place of all before the first sampled token, with 0 as its values.
    """
    row = (episode.tokens_T, episode.role_T, episode.logprob_T, *values)
    if episode.train_prefix is None:
        return row
    first = int(np.argmax(episode.sampled_T)) if episode.sampled_T.any() else len(episode.tokens_T)
    nothing = np.zeros(len(episode.train_prefix))
    prefix = (episode.train_prefix, nothing + Role.PROMPT, nothing, *(nothing for _ in values))
    return tuple(np.concatenate([new, old[first:]]) for new, old in zip(prefix, row, strict=True))
