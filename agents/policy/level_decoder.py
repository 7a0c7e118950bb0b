"""LevelDecoder: lanes whose contexts are equally long step together, each such batch with a cache of its own.

A batch has no padding and no masked columns, so the model sees what it sees in any generation: windows count the lane's
own tokens, recurrent states run over nothing else, and positions follow from the cache. Lanes that begin together with
contexts of one length make a batch, such as the members of a group. One that ends leaves its batch; one that starts
again, or takes several tokens at once, begins another. The more batches, the more calls of the model per step.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

CACHES = ("past_key_values", "cache_params")
"""Names under which models take and give what they keep of the tokens so far."""


@dataclass
class _Batch:
    """Lanes with contexts of one length.

    Attributes:
        lanes: int64 (R,), the lane of each row.
        cache: What the model keeps of the rows, as it gave it.
    """

    lanes: np.ndarray
    cache: Any


class LevelDecoder:
    """Next-token logits for the lanes of a vector environment, as :class:`~g2rpo_env.agents.policy.decoder.Decoder`.

    Args:
        model: A transformers causal LM with a cache. It is read as it is at each step.
        num_lanes: Number of lanes N.

    Raises:
        TypeError: the model takes no cache.
    """

    def __init__(self, model: Any, num_lanes: int) -> None:
        self.consumed = np.zeros(num_lanes, np.int64)
        """int64 (N,), how many tokens of each lane are in a cache."""
        self._model = model
        taken = inspect.signature(model.forward).parameters
        self._name = next((name for name in CACHES if name in taken), None)
        if self._name is None:
            raise TypeError(f"{type(model).__name__}.forward takes no cache")
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._batches: list[_Batch] = []

    def restart(self, lanes: np.ndarray) -> None:
        """Forget the tokens of lanes that have begun another episode."""
        self.consumed[lanes] = 0

    @torch.inference_mode()
    def advance(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> torch.Tensor:
        """Feed the new tokens of some lanes and return the logits after each one's last token.

        Args:
            tokens_NL: int, contexts of all lanes.
            length_N: int (N,), their lengths.
            lanes: int (K,), the lanes to feed, each with at least one new token.

        Returns:
            Raw logits (K, model vocabulary), in the order of ``lanes``.
        """
        fed = np.zeros(len(self.consumed), np.bool_)  # (N,)
        fed[lanes] = True
        follows = fed & (self.consumed > 0) & (length_N == self.consumed + 1)  # (N,), one more token in a batch
        logits: dict[int, torch.Tensor] = {}
        self._drop(follows)
        for batch in self._batches:
            ids = tokens_NL[batch.lanes, self.consumed[batch.lanes]][:, None]  # (R, 1)
            logits.update(zip(batch.lanes.tolist(), self._forward(batch, ids), strict=True))
        begin = lanes[~follows[lanes]]
        for length in np.unique(length_N[begin]):
            level = begin[length_N[begin] == length]
            # Members of a group begin alike: each different context is computed once.
            contexts, which = np.unique(tokens_NL[level, :length], axis=0, return_inverse=True)
            batch = _Batch(level, None)
            last = self._forward(batch, contexts)
            which = which.reshape(-1)  # the row of each lane: different contexts come in an order of their own
            if not np.array_equal(which, np.arange(len(contexts))):
                self._take(batch, which)
            logits.update(zip(level.tolist(), last[torch.from_numpy(which).to(last.device)], strict=True))
            self._batches.append(batch)
        self.consumed[lanes] = length_N[lanes]
        return torch.stack([logits[int(lane)] for lane in lanes])

    def _drop(self, stay_N: np.ndarray) -> None:
        """Take lanes that do not stay out of their batches."""
        for batch in self._batches:
            rows = np.flatnonzero(stay_N[batch.lanes])
            self.consumed[np.delete(batch.lanes, rows)] = 0
            if 0 < len(rows) < len(batch.lanes):
                self._take(batch, rows)
            batch.lanes = batch.lanes[rows]
        self._batches = [batch for batch in self._batches if len(batch.lanes)]

    def _take(self, batch: _Batch, rows: np.ndarray) -> None:
        """Make the cache of a batch consist of these of its rows, some of them perhaps several times."""
        batch.cache.reorder_cache(torch.from_numpy(rows).to(self._model.device))

    def _forward(self, batch: _Batch, ids_RW: np.ndarray) -> torch.Tensor:
        """Feed tokens of one batch, and return the logits after the last of each row, (R, V)."""
        from g2rpo_env.agents.policy.kv_cache import growing_cache  # transformers takes seconds to import

        assert self._name is not None
        if batch.cache is None and self._name == CACHES[0]:
            batch.cache = growing_cache(self._model.config)
        given = {} if batch.cache is None else {self._name: batch.cache}
        ids = torch.from_numpy(ids_RW.astype(np.int64)).to(self._model.device)
        out = self._model(input_ids=ids, use_cache=True, **given, **self._last)
        batch.cache = out[self._name]
        return out.logits[:, -1]
