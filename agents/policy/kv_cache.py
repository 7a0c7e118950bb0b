"""A key-value cache that grows in place: appending a token does not copy the tokens before it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

GROWTH = 1.5
"""Factor by which a full buffer grows: each token is then copied about twice in all, however long the episode.

Growth by a fixed number of tokens would copy the first tokens once per growth, the more often the longer the episode.
"""


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer (rows, heads, tokens, head size) in buffers with room to spare.

    ``keys`` and ``values``, which transformers reads, are views of the buffers up to the last token.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None  # keys, values (rows, heads, room, head size)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Start without a token."""
        super().lazy_initialization(key_states, value_states)
        self._buffers = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens (rows, heads, new tokens, head size); return all keys and values, as views of the buffers."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            room = int(end * GROWTH) + 16  # a short cache does not grow at every token either
            self._buffers = (
                _copy_into_room(self.keys, key_states, begin, room),
                _copy_into_room(self.values, value_states, begin, room),
            )
        keys, values = self._buffers
        keys[..., begin:end, :] = key_states
        values[..., begin:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows; the buffers are made anew at the next token."""
        super().batch_select_indices(indices)
        self._buffers = None

    def reorder_cache(self, beam_idx: Any) -> None:
        """Keep some rows, some of them perhaps several times; the buffers are made anew at the next token."""
        super().reorder_cache(beam_idx)
        self._buffers = None

    def select_tokens(self, indices: torch.Tensor) -> None:
        """Keep some columns, that is tokens, of all rows; the buffers are made anew at the next token."""
        keys, values = self.states()
        self.keys, self.values = keys[..., indices, :], values[..., indices, :]
        self._buffers = None

    def overwrite(self, row_K: torch.Tensor, key_states: torch.Tensor, value_states: torch.Tensor, rows: int) -> None:
        """Write the first tokens of some rows; where rows are shorter than that, all get zeros to hide by a mask.

        Args:
            row_K: int64, which rows.
            key_states: (K, heads, tokens, head size), and so ``value_states``.
            rows: Rows of the layer, in case it holds nothing yet.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held, width = self.get_seq_length(), key_states.shape[-2]
        if held < width:
            missing = width - held
            self.update(_make_zeros(key_states, rows, missing), _make_zeros(value_states, rows, missing))
        keys, values = self.states()
        keys[row_K, :, :width] = key_states
        values[row_K, :, :width] = value_states

    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of a layer that holds tokens."""
        assert self.keys is not None and self.values is not None
        return self.keys, self.values


def _make_zeros(like: torch.Tensor, rows: int, tokens: int) -> torch.Tensor:
    """Return zeros (rows, heads, tokens, head size), heads and head size as those of ``like``."""
    return like.new_zeros((rows, like.shape[1], tokens, like.shape[-1]))


def _copy_into_room(old: torch.Tensor | None, like: torch.Tensor, begin: int, room: int) -> torch.Tensor:
    """Return a buffer with room for more tokens that holds the first ``begin`` tokens of an old one."""
    buffer = like.new_empty((*like.shape[:-2], room, like.shape[-1]))  # (rows, heads, room, head size)
    if old is not None and begin:
        buffer[..., :begin, :] = old
    return buffer


def growing_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a model, its plain layers replaced by growing ones."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
