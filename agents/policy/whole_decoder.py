"""WholeDecoder: next-token logits from whole contexts, without a cache, for models that no shared cache is right for.

Each step computes all tokens of all lanes anew, by the model's own forward and without padding, so it is right for
every model that reads a context from left to right, and slow: a token costs as much as its whole context.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.policy.loading import count_logits
from g2rpo_env.agents.policy.scoring import chunk_rows

TOKENS = 1 << 14
"""Tokens that go through the model together."""


class WholeDecoder:
    """Next-token logits for the lanes of a vector environment, as :class:`~g2rpo_env.agents.policy.decoder.Decoder`.

    Lanes that hold the same tokens are computed once.

    Args:
        model: A transformers causal LM. It is read as it is at each step.
        num_lanes: Number of lanes N.
        together: Whether contexts of equal length go through the model together; False takes one at a time.
    """

    def __init__(self, model: Any, num_lanes: int, *, together: bool = True) -> None:
        self.consumed = np.zeros(num_lanes, np.int64)
        """int64 (N,), how many tokens of each lane the last step that fed it has read."""
        self._model, self._together = model, together

    def restart(self, lanes: np.ndarray) -> None:
        """Forget the tokens of lanes that have begun another episode."""
        self.consumed[lanes] = 0

    @torch.inference_mode()
    def advance(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> torch.Tensor:
        """Read the contexts of some lanes and return the logits after each one's last token.

        Args:
            tokens_NL: int, contexts of all lanes.
            length_N: int (N,), their lengths.
            lanes: int (K,), the lanes to read.

        Returns:
            Raw logits (K, model vocabulary), in the order of ``lanes``.
        """
        contexts = [tuple(tokens_NL[lane, : length_N[lane]].tolist()) for lane in lanes]
        found: dict[tuple[int, ...], torch.Tensor] = {}
        for batch in self._batches(sorted(set(contexts), key=len)):
            found.update(zip(batch, last_logits(self._model, np.array(batch)), strict=True))
        self.consumed[lanes] = length_N[lanes]
        return torch.stack([found[context] for context in contexts])

    def _batches(self, contexts: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        """Give the contexts, sorted by length, in lists of equal length."""
        begin = 0
        while begin < len(contexts):
            width = len(contexts[begin])
            most = max(1, TOKENS // width) if self._together else 1
            end = begin
            while end < min(len(contexts), begin + most) and len(contexts[end]) == width:
                end += 1
            yield contexts[begin:end]
            begin = end


def last_logits(model: Any, ids_KT: np.ndarray) -> torch.Tensor:
    """Return the logits after K contexts of equal length, (K, V), by the model's own forward without a cache."""
    ids = torch.from_numpy(ids_KT.astype(np.int64)).to(model.device)  # (K, T)
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    rows = max(1, chunk_rows(count_logits(model), ids.device.type) // ids.shape[1])  # this one makes all the logits
    return torch.cat([model(input_ids=part, use_cache=False).logits[:, -1] for part in ids.split(rows)])
