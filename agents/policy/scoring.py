"""Scoring: log-probabilities of given tokens from hidden states, a chunk of tokens at a time.

A model's own forward pass ends in logits of all positions, (tokens x vocabulary), and training keeps them several times
over: at 151,936 words that is most of the memory of an update. Here the backbone runs as it is, only the positions that
count go through the head, and no more logits exist at once than :data:`LOGITS` or, on a GPU, :data:`LOGITS_ON_GPU`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from g2rpo_env.agents.policy.loading import count_logits
from g2rpo_env.errors import ConfigurationError

LOGITS = 1 << 24
"""Logits in memory at once; 64 MiB in float32."""
LOGITS_ON_GPU = 1 << 27
"""The same on a GPU, which has more to do before a launch is worth it; 512 MiB in float32."""

_EXACT: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def chunk_rows(vocab_size: int, device: str = "cpu") -> int:
    """Return how many tokens go through the head at once on a type of device.

    >>> chunk_rows(151_936), chunk_rows(151_936, "cuda")
    (110, 883)
    """
    return max(1, (LOGITS if device == "cpu" else LOGITS_ON_GPU) // vocab_size)


def score(
    model: Any,
    tokens_NT: torch.Tensor,
    mask_NT: torch.Tensor,
    where_NT: torch.Tensor,
    *,
    temperature: float,
    vocab_size: int,
    chunk: int | None = None,
) -> torch.Tensor:
    """Return the log-probability of each token given those before it, (N, T), float32 or the model's wider type.

    Args:
        model: A transformers causal LM.
        tokens_NT: int64, right-padded.
        mask_NT: bool, True where there is a token.
        where_NT: bool, the tokens that are asked for, no padding; the first of a row has no log-probability. The rest
            gets 0.
        temperature: Of the distribution, > 0.
        vocab_size: Logits beyond have no share in the distribution.
        chunk: Tokens through the head at once; None for as many as the device allows.
    """
    inputs = {"input_ids": tokens_NT, "use_cache": False}
    if tokens_NT.device.type == "cpu":
        # Padding stands where no token before it can attend to it, so no mask is needed, and on a GPU attention has
        # faster kernels without one. On a processor it stays: runs repeat those of earlier versions bit for bit.
        inputs["attention_mask"] = mask_NT.long()
    # A token's distribution comes from the position before it: (N, T - 1), of which M are asked for.
    asked, targets = where_NT[:, 1:], tokens_NT[:, 1:]
    if is_plain(model):
        hidden_MD = model.base_model(**inputs).last_hidden_state[:, :-1][asked]
        weight_VD = model.get_output_embeddings().weight
        picked_M = head_log_probs(hidden_MD, weight_VD, targets[asked], temperature, vocab_size, chunk)
    else:
        logits = model(**inputs).logits[:, :-1][asked][:, :vocab_size]
        scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        picked_M = torch.log_softmax(scaled, -1).gather(-1, targets[asked][:, None])[:, 0]
    empty = torch.zeros(asked.shape, dtype=picked_M.dtype, device=picked_M.device)  # (N, T - 1)
    return torch.nn.functional.pad(empty.masked_scatter(asked, picked_M), (1, 0))


def is_plain(model: Any) -> bool:
    """Whether the model's logits are its last hidden states times the weight of its head, and nothing else.

    Soft caps, scales, biases and layers in between come under many names, so the model is asked: three tokens go
    through it both ways, and the results must agree bit for bit. Asked once per model.
    """
    if model not in _EXACT:
        _EXACT[model] = _agrees(model)
    return _EXACT[model]


@torch.no_grad()
def _agrees(model: Any) -> bool:
    """Whether head(backbone(tokens)) is model(tokens), bit for bit, on three tokens."""
    head = model.get_output_embeddings()
    backbone = getattr(model, "base_model", model)
    if type(head) is not torch.nn.Linear or head.bias is not None or backbone is model:
        return False
    tokens = torch.arange(3, device=model.device)[None] % count_logits(model)  # (1, 3)
    hidden = getattr(backbone(input_ids=tokens, use_cache=False), "last_hidden_state", None)
    if hidden is None or hidden.dtype != head.weight.dtype:  # Mamba has states of 32 bits before a head of 16
        return False
    logits, ours = model(input_ids=tokens, use_cache=False).logits, head(hidden)
    # Logits that are all the same, such as those of a head of zeros, or NaN, would not show a scale.
    return torch.equal(logits, ours) and bool((logits != logits[..., :1]).any())


def head_log_probs(
    hidden_MD: torch.Tensor,
    weight_VD: torch.Tensor,
    target_M: torch.Tensor,
    temperature: float = 1.0,
    vocab_size: int | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """Return log softmax(hidden @ weight.T / temperature)[target], (M,), with gradients for hidden and weight.

    Args:
        hidden_MD: Hidden states.
        weight_VD: Weight of the head, at least ``vocab_size`` rows.
        target_M: int64, below ``vocab_size``.
        temperature: > 0.
        vocab_size: Rows of the weight that take part; None for all.
        chunk: Rows of ``hidden_MD`` at once, >= 1; None for as many as the device allows.
    """
    size = weight_VD.shape[0] if vocab_size is None else vocab_size
    rows = chunk_rows(size, hidden_MD.device.type)
    return _HeadLogProbs.apply(hidden_MD, weight_VD, target_M, temperature, size, chunk or rows)


class _HeadLogProbs(torch.autograd.Function):
    """Backward makes the logits of each chunk again, unless there is one chunk alone: what it needs of them is kept.

    In 32 bits and more that is the probabilities p. In 16 it is the slopes p - one-hot(target), and the factor of a
    token's gradient goes to rows as wide as a hidden state, not to rows as wide as the vocabulary.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        target: torch.Tensor,
        temperature: float,
        size: int,
        chunk: int,
    ) -> torch.Tensor:
        keep = len(hidden) <= chunk and any(ctx.needs_input_grad)
        picked, kept = [], []
        for part, wanted in zip(hidden.split(chunk), target.split(chunk), strict=True):
            log_prob, needed = _log_probs(_logits(part, weight[:size], temperature), wanted, keep)
            picked.append(log_prob)
            kept += [] if needed is None else [needed]
        found = torch.cat(picked)  # (M,)
        ctx.save_for_backward(hidden, weight, target, found, *kept)
        ctx.options = temperature, size, chunk
        return found

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, target, found, *kept = ctx.saved_tensors
        temperature, size, chunk = ctx.options
        # (V, D), float32 or wider: a sum over all tokens, of which 16 bits would lose the later ones.
        wide = torch.promote_types(weight.dtype, torch.float32)
        for_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device) if ctx.needs_input_grad[1] else None
        for_hidden, factors = torch.empty_like(hidden), gradient[:, None] / temperature  # (M, D), (M, 1)
        rows = hidden, target, found, factors, for_hidden
        into = None if for_weight is None else for_weight[:size]
        for part, wanted, log_prob, factor, out in zip(*(values.split(chunk) for values in rows), strict=True):
            if _is_wide(weight):
                # A copy, for backward may run twice (retain_graph) and the next line writes in place.
                probability = kept[0].clone() if kept else _probabilities(_logits(part, weight[:size], temperature))
                share = probability.mul_(-factor).scatter_add_(-1, wanted[:, None], factor)
                out.copy_(share @ weight[:size])
                if into is not None:
                    into.addmm_(share.T, part)
            else:
                slopes = kept[0] if kept else _slopes(_logits(part, weight[:size], temperature), wanted, log_prob)
                out.copy_(slopes @ weight[:size] * -factor)
                if into is not None:
                    _add_product(into, slopes.T, (part * -factor).to(part.dtype))
        to_weight = None if for_weight is None else for_weight.to(weight.dtype)
        return for_hidden, to_weight, None, None, None, None


def _add_product(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add left @ right, of 16 bits, to numbers of 32; on a GPU by one kernel, with no product of 16 bits in between."""
    if into.is_cuda and torch.version.hip is None:
        torch.addmm(into, left, right, out_dtype=into.dtype, out=into)
    else:
        into.add_(left @ right)


def _is_wide(values: torch.Tensor) -> bool:
    """Whether the numbers have at least 32 bits."""
    return values.dtype.itemsize >= 4


def _logits(hidden: torch.Tensor, weight: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return logits / temperature, (c, V), in a buffer of their own."""
    if _is_wide(weight) or temperature == 1:
        logits = hidden @ weight.T
        return logits if temperature == 1 else logits.div_(temperature)
    # Divided before they are rounded to 16 bits.
    return torch.addmm(hidden.new_zeros(()), hidden, weight.T, beta=0, alpha=1 / temperature)


def _log_probs(scaled: torch.Tensor, target: torch.Tensor, keep: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return log softmax(scaled)[target], (c,), float32 or wider, and what backward needs if it is to be kept."""
    if not _is_wide(scaled):
        log_prob = torch.log_softmax(scaled, -1, dtype=torch.float32).gather(-1, target[:, None])[:, 0]
        return log_prob, _slopes(scaled, target, log_prob) if keep else None
    highest, chosen = scaled.amax(-1, keepdim=True), scaled.gather(-1, target[:, None])
    total = scaled.sub_(highest).exp_().sum(-1, keepdim=True)
    return (chosen - highest - total.log())[:, 0], scaled.div_(total) if keep else None


def _probabilities(scaled: torch.Tensor) -> torch.Tensor:
    """Return softmax(scaled), (c, V), in place."""
    scaled.sub_(scaled.amax(-1, keepdim=True)).exp_()
    return scaled.div_(scaled.sum(-1, keepdim=True))


def _slopes(scaled: torch.Tensor, target: torch.Tensor, log_prob: torch.Tensor) -> torch.Tensor:
    """Return softmax(scaled) - one-hot(target), (c, V), of 16 bits, given log softmax(scaled)[target].

    The target's p - 1 is not the difference of rounded numbers, which would be 0 near p = 1.
    """
    probability = torch.softmax(scaled, -1)  # summed in float32
    return probability.scatter_(-1, target[:, None], torch.expm1(log_prob)[:, None].to(probability.dtype))


# -- states of sampled tokens -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenStates:
    """How a model came to the sampled tokens of one episode; M of them, no gradients.

    Attributes:
        position_M: int64, where they stand in the episode.
        hidden_MD: float32, the last hidden state before each, D wide.
        residual_MV: float32, one-hot(token) - softmax(logits), in the columns that were asked for.
        column_V: int64, the token that each column is about, rising.
    """

    position_M: torch.Tensor
    hidden_MD: torch.Tensor
    residual_MV: torch.Tensor
    column_V: torch.Tensor


@torch.no_grad()
def states(
    model: Any,
    tokens: Sequence[np.ndarray],
    sampled: Sequence[np.ndarray],
    *,
    temperature: float,
    vocab_size: int,
    every_column: bool = False,
    rows: int | None = None,
) -> list[TokenStates]:
    """Return the states at the sampled tokens of some episodes.

    The residual of a token has a column for each token that any of the episodes sampled, without a normalisation over
    them; with all columns, hidden states times residuals are the gradients of the head exactly.

    Args:
        model: A transformers causal LM whose logits are its last hidden states times the weight of its head.
        tokens: One int array (T,) per episode.
        sampled: One bool array (T,) per episode, the tokens that are asked for; never the first one.
        temperature: Of the distribution, > 0.
        vocab_size: Logits beyond have no share in the distribution.
        every_column: Whether residuals have a column for every token of the vocabulary.
        rows: Most episodes that go through the model together, >= 1; None for all.

    Raises:
        ConfigurationError: the model's logits are something else.
    """
    if not is_plain(model):
        raise ConfigurationError(
            f"{type(model).__name__} computes its logits otherwise than as last hidden states times the weight of its "
            "head: its states cannot be asked for"
        )
    written = np.concatenate([np.asarray(t)[np.asarray(s)] for t, s in zip(tokens, sampled, strict=True)])
    column_V = torch.arange(vocab_size) if every_column else torch.from_numpy(np.unique(written).astype(np.int64))
    found = []
    for start in range(0, len(tokens), rows or len(tokens)):
        end = start + (rows or len(tokens))
        hidden_RTD = _hidden(model, tokens[start:end])
        for row, (tokens_T, sampled_T) in enumerate(zip(tokens[start:end], sampled[start:end], strict=True)):
            position_M = torch.from_numpy(np.flatnonzero(sampled_T))
            hidden_MD = hidden_RTD[row, (position_M - 1).to(model.device)]
            target_M = torch.from_numpy(np.asarray(tokens_T, np.int64))[position_M]
            residual_MV = _residuals(model, hidden_MD, target_M, column_V, temperature, vocab_size)
            found.append(TokenStates(position_M, hidden_MD.float().cpu(), residual_MV.cpu(), column_V))
    return found


def _hidden(model: Any, tokens: Sequence[np.ndarray]) -> torch.Tensor:
    """Return the last hidden states of R episodes, (R, T, D), after one forward pass."""
    tokens_RT = torch.zeros((len(tokens), max(map(len, tokens))), dtype=torch.int64)
    mask_RT = torch.zeros_like(tokens_RT)
    for row, tokens_T in enumerate(tokens):
        tokens_RT[row, : len(tokens_T)] = torch.from_numpy(np.asarray(tokens_T, np.int64))
        mask_RT[row, : len(tokens_T)] = 1
    inputs = {"input_ids": tokens_RT.to(model.device), "attention_mask": mask_RT.to(model.device), "use_cache": False}
    return model.base_model(**inputs).last_hidden_state


def _residuals(
    model: Any,
    hidden_MD: torch.Tensor,
    target_M: torch.Tensor,
    column_V: torch.Tensor,
    temperature: float,
    vocab_size: int,
) -> torch.Tensor:
    """Return one-hot(target) - softmax(logits) in some columns, float32 (M, V), a chunk of tokens at a time."""
    head, columns = model.get_output_embeddings(), column_V.to(hidden_MD.device)
    parts = [hidden_MD.new_zeros((0, len(columns)), dtype=torch.float32)]
    size = chunk_rows(vocab_size, hidden_MD.device.type)
    for hidden, target in zip(hidden_MD.split(size), target_M.to(hidden_MD.device).split(size), strict=True):
        probability = torch.softmax(head(hidden)[:, :vocab_size].float() / temperature, -1)[:, columns]
        parts.append((target[:, None] == columns).float() - probability)
    return torch.cat(parts)


# -- log-probabilities and entropies with gradients -------------------------------------------------------------------


def score_with_entropy(
    model: Any,
    tokens_NT: torch.Tensor,
    mask_NT: torch.Tensor,
    where_NT: torch.Tensor,
    *,
    temperature: float,
    vocab_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities and entropies in nats, (N, T) each, both with gradients; 0 where not asked for.

    Arguments as of :func:`score`. The logits of a chunk of tokens are made again in the backward pass.
    """
    inputs = {"input_ids": tokens_NT, "attention_mask": mask_NT.long(), "use_cache": False}
    asked, target_M = where_NT[:, 1:], tokens_NT[:, 1:][where_NT[:, 1:]]
    head: Any = torch.nn.Identity()
    if is_plain(model):
        state_MD = model.base_model(**inputs).last_hidden_state[:, :-1][asked]
        head = model.get_output_embeddings()
    else:
        state_MD = model(**inputs).logits[:, :-1][asked]

    def both(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits = head(states)[:, :vocab_size]
        log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature, -1)
        return torch.stack([log_p.gather(-1, target[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)])  # (2, c)

    size = chunk_rows(vocab_size, state_MD.device.type)
    chunks = zip(state_MD.split(size), target_M.split(size), strict=True)
    found_2M = torch.cat([checkpoint(both, *chunk, use_reentrant=False) for chunk in chunks], -1)
    empty_NT = torch.zeros(asked.shape, dtype=found_2M.dtype, device=asked.device)
    log_probs_NT, entropy_NT = (
        torch.nn.functional.pad(empty_NT.masked_scatter(asked, found_M), (1, 0)) for found_M in found_2M
    )
    return log_probs_NT, entropy_NT
