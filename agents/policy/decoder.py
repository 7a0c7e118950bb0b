"""Decoder: a KV cache that follows the lanes of a vector environment, for any causal language model.

Each forward appends columns to the cache. A lane that has nothing to say in a column has it masked, so lanes of
unequal prompts, lanes that get several tokens at once and lanes that start again all share one rectangle. Positions
count a lane's own tokens, so what a lane computes does not depend on the columns it skipped.

The beginnings of lanes are computed apart, each different one once, and written into the first columns of their rows:
the members of a group share their prompt, and a lane that starts again does not hold up the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

COMPACT_BELOW = 0.75
"""A share of the cache. Finished lanes leave it when the lanes that still run are a smaller share of its rows; columns
that no lane reads leave it when the columns that are read are a smaller share of its columns.
"""


class Decoder:
    """Next-token logits for the lanes of a vector environment, each token computed once.

    Args:
        model: A transformers causal LM. It is read as it is at each step.
        num_lanes: Number of lanes N.
    """

    def __init__(self, model: Any, num_lanes: int) -> None:
        from g2rpo_env.agents.policy.kv_cache import GrowingLayer, growing_cache  # transformers takes seconds to import

        self.consumed = np.zeros(num_lanes, np.int64)
        """int64 (N,), how many tokens of each lane are in the cache."""
        self._model = model
        self._new_cache: Callable[[], Any] = functools.partial(growing_cache, model.config)
        self._cache: Any = self._new_cache()  # per layer, keys and values (R rows, heads, C columns, head size)
        self._writable = all(isinstance(layer, GrowingLayer) for layer in self._cache.layers)
        self._lanes = np.zeros(0, np.int64)  # (R,), lane of each row of the cache
        self._row: dict[int, int] = {}  # row of each lane that has one
        self._mask = torch.zeros((0, 0), dtype=torch.int64, device=model.device)  # (R, C), 1 where a row has a token

    def _clear(self, lanes: np.ndarray) -> None:
        """Begin with an empty cache that has a row for each of these lanes."""
        self._cache = self._new_cache()
        self._lanes = lanes
        self._row = {int(lane): row for row, lane in enumerate(lanes)}
        self._mask = torch.zeros((len(lanes), 0), dtype=torch.int64, device=self._model.device)  # (R, 0 columns)
        self.consumed[lanes] = 0

    @torch.inference_mode()
    def restart(self, lanes: np.ndarray) -> None:
        """Forget the tokens of lanes that have begun another episode."""
        self.consumed[lanes] = 0
        for lane in lanes:
            if int(lane) in self._row:
                # The keys stay where they are: a masked column is never read, and another lane may still need it.
                self._mask[self._row[int(lane)]] = 0

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
        self._arrange(lanes)
        if self._writable:
            self._begin(tokens_NL, length_N, lanes[(self.consumed[lanes] == 0) & (length_N[lanes] > 1)])
        new = length_N[lanes] - self.consumed[lanes]  # (K,), at least 1
        rows = np.array([self._row[int(lane)] for lane in lanes])  # (K,)
        width = int(new.max())
        # All rows of the cache take part, for a forward appends its columns to all of them. Rows of lanes that are not
        # fed, and columns that a lane does not fill, are masked: what is computed there is never read.
        ids = np.zeros((len(self._lanes), width), np.int64)  # (R, W)
        mask = np.zeros((len(self._lanes), width), np.int64)  # (R, W)
        positions = np.zeros((len(self._lanes), width), np.int64)  # (R, W)
        if width == 1:  # nearly every step of a rollout: no loop over lanes
            ids[rows, 0] = tokens_NL[lanes, length_N[lanes] - 1]
            mask[rows, 0] = 1
            positions[rows, 0] = self.consumed[lanes]
        else:
            for row, lane, count in zip(rows, lanes, new, strict=True):
                start = self.consumed[lane]
                ids[row, :count] = tokens_NL[lane, start : start + count]
                mask[row, :count] = 1
                # Masked columns repeat the last position, which stays within the positions that the model has.
                positions[row] = start + np.minimum(np.arange(width), count - 1)
        device = self._model.device
        self._mask = torch.cat([self._mask, torch.from_numpy(mask).to(device)], dim=1)  # (R, C + W)
        out = self._model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=self._mask,
            position_ids=torch.from_numpy(positions).to(device),
            past_key_values=self._cache,
            use_cache=True,
        )
        self.consumed[lanes] = length_N[lanes]
        return out.logits[torch.from_numpy(rows).to(device), torch.from_numpy(new - 1).to(device)]

    def _begin(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> None:
        """Fill the rows of lanes that hold nothing with all but the last of their tokens."""
        if not len(lanes):
            return
        width = int(length_N[lanes].max()) - 1
        real = np.arange(width) < length_N[lanes, None] - 1  # (K, W), where a lane has a token
        # Members of a group begin alike: the D different beginnings (D, W) are computed, each once.
        contexts, which = np.unique(np.where(real, tokens_NL[lanes, :width], -1), axis=0, return_inverse=True)
        device, mask = self._model.device, contexts >= 0
        cache = self._new_cache()
        self._model.base_model(  # without the head: nobody reads the logits
            input_ids=torch.from_numpy(np.where(mask, contexts, 0).astype(np.int64)).to(device),
            attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
            position_ids=torch.arange(width, device=device).expand(len(contexts), -1),
            past_key_values=cache,
            use_cache=True,
        )
        rows = torch.tensor([self._row[int(lane)] for lane in lanes], device=device)  # (K,)
        source = torch.from_numpy(which.reshape(-1)).to(device)  # (K,), which beginning each lane has
        for layer, begun in zip(self._cache.layers, cache.layers, strict=True):
            layer.overwrite(rows, begun.keys[source], begun.values[source], len(self._lanes))
        if self._mask.shape[1] < width:  # the layers have grown by as many columns
            self._mask = torch.nn.functional.pad(self._mask, (0, width - self._mask.shape[1]))
        self._mask[rows] = 0
        self._mask[rows, :width] = torch.from_numpy(real.astype(np.int64)).to(device)
        self.consumed[lanes] = length_N[lanes] - 1
        self._drop_unread_columns()

    def _drop_unread_columns(self) -> None:
        """Drop the columns that no lane reads, such as those of before all of them started again."""
        read = self._mask.any(0)  # (C,)
        if int(read.sum()) < COMPACT_BELOW * len(read):
            columns = torch.nonzero(read)[:, 0]  # the columns that stay, in their order
            for layer in self._cache.layers:
                layer.select_tokens(columns)
            self._mask = self._mask[:, columns]

    def _arrange(self, lanes: np.ndarray) -> None:
        """Make the rows of the cache hold these lanes: drop finished ones, begin anew where one is missing."""
        if any(int(lane) not in self._row for lane in lanes):
            running = set(lanes.tolist()) | {int(lane) for lane in self._lanes if self.consumed[lane] > 0}
            # Lanes that are in the cache but not fed now lose their tokens too: they are fed anew when next due.
            self._clear(np.array(sorted(running)))
            return
        if len(lanes) < COMPACT_BELOW * len(self._lanes) and self._mask.shape[1]:
            # A copy of the cache: worth it only where it saves a good part of every later step.
            keep = torch.tensor([self._row[int(lane)] for lane in lanes], device=self._model.device)  # (K,)
            self._cache.batch_select_indices(keep)
            self._mask = self._mask[keep]
            dropped = set(self._lanes.tolist()) - set(lanes.tolist())
            self.consumed[sorted(dropped)] = 0
            self._lanes = lanes.copy()
            self._row = {int(lane): row for row, lane in enumerate(lanes)}
