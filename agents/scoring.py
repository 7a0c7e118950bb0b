"""Scoring: log-probabilities of given tokens from hidden states, a chunk of tokens at a time.

A model's own forward pass ends in logits of all positions, (tokens x vocabulary), and training keeps them several times
over: at 151,936 words that is most of the memory of an update. Here the backbone runs as it is, only the positions that
count go through the head, and no more logits exist at once than :data:`LOGITS` or, on a GPU, :data:`LOGITS_ON_GPU`.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch

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
        where_NT: bool, the tokens that are asked for; the first of a row has no log-probability. The rest gets 0.
        temperature: Of the distribution, > 0.
        vocab_size: Logits beyond have no share in the distribution.
        chunk: Tokens through the head at once; None for as many as the device allows.
    """
    inputs = {"input_ids": tokens_NT, "attention_mask": mask_NT.long(), "use_cache": False}
    asked, targets = where_NT[:, 1:], tokens_NT[:, 1:]
    if is_plain(model):
        hidden_MD = model.base_model(**inputs).last_hidden_state[:, :-1][asked]
        weight_VD = model.get_output_embeddings().weight
        picked_M = head_log_probs(hidden_MD, weight_VD, targets[asked], temperature, vocab_size, chunk)
    else:
        logits = model(**inputs).logits[:, :-1][asked][:, :vocab_size]
        scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        picked_M = torch.log_softmax(scaled, -1).gather(-1, targets[asked][:, None])[:, 0]
    empty = torch.zeros(asked.shape, dtype=picked_M.dtype, device=picked_M.device)
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
    head = model.get_output_embeddings()
    backbone = getattr(model, "base_model", model)
    if type(head) is not torch.nn.Linear or head.bias is not None or backbone is model:
        return False
    tokens = torch.arange(3, device=model.device)[None] % model.config.vocab_size
    hidden = getattr(backbone(input_ids=tokens, use_cache=False), "last_hidden_state", None)
    if hidden is None:
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
    """Backward makes the logits of each chunk again, unless there is one chunk alone: its probabilities are kept."""

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
        picked, kept = [], []
        for part, wanted in zip(hidden.split(chunk), target.split(chunk), strict=True):
            scaled = _scaled(part, weight[:size], temperature)
            highest, chosen = scaled.amax(-1, keepdim=True), scaled.gather(-1, wanted[:, None])
            total = scaled.sub_(highest).exp_().sum(-1, keepdim=True)
            picked.append((chosen - highest - total.log())[:, 0])
            kept = [scaled.div_(total)] if len(hidden) <= chunk and any(ctx.needs_input_grad) else []
        ctx.save_for_backward(hidden, weight, target, *kept)
        ctx.options = temperature, size, chunk
        return torch.cat(picked)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, target, *kept = ctx.saved_tensors
        temperature, size, chunk = ctx.options
        wide = torch.promote_types(weight.dtype, torch.float32)
        for_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device) if ctx.needs_input_grad[1] else None
        for_hidden, slopes = torch.empty_like(hidden), gradient / temperature
        parts = zip(*(rows.split(chunk) for rows in (hidden, target, slopes, for_hidden)), strict=True)
        for part, wanted, slope, out in parts:
            # d log p(target) / d logits = (one-hot(target) - p) / temperature
            share = kept[0] * -slope[:, None] if kept else _probabilities(part, weight[:size], temperature)
            share = (share if kept else share.mul_(-slope[:, None])).scatter_add_(-1, wanted[:, None], slope[:, None])
            share = share.to(weight.dtype)
            out.copy_(share @ weight[:size])
            if for_weight is not None and weight.dtype == wide:
                for_weight[:size].addmm_(share.T, part)
            elif for_weight is not None:
                for_weight[:size].add_(share.T @ part)
        to_weight = None if for_weight is None else for_weight.to(weight.dtype)
        return for_hidden, to_weight, None, None, None, None


def _scaled(hidden: torch.Tensor, weight: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return logits / temperature, (c, V), float32 or wider, in a buffer of their own."""
    logits = hidden @ weight.T
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide if temperature == 1 else wide.div_(temperature)


def _probabilities(hidden: torch.Tensor, weight: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return softmax(hidden @ weight.T / temperature), (c, V)."""
    scaled = _scaled(hidden, weight, temperature)
    scaled.sub_(scaled.amax(-1, keepdim=True)).exp_()
    return scaled.div_(scaled.sum(-1, keepdim=True))
