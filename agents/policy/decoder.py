"""Decoder: a KV cache that follows the lanes of a vector environment, for any causal language model.

Each forward appends columns to the cache. A lane that has nothing to say in a column has it masked, so lanes of
unequal prompts, lanes that get several tokens at once and lanes that start again all share one rectangle. Positions
count a lane's own tokens, so what a lane computes does not depend on the columns it skipped.

What lanes begin with is computed apart, each different beginning once, and written into the first columns of their
rows: the members of a group share their prompt, and a lane that starts again does not hold up the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy

COMPACT_BELOW = 0.75
"""Drop finished lanes from the cache when the share that still runs falls below this, and so columns nobody reads."""


class Decoder:
    """Next-token logits for the lanes of a vector environment, each token computed once.

    Args:
        policy: The policy whose model is used.
        num_lanes: Number of lanes N.
    """

    def __init__(self, policy: CausalLMPolicy, num_lanes: int) -> None:
        self.policy = policy
        self.consumed = np.zeros(num_lanes, np.int64)
        """int64 (N,), how many tokens of each lane are in the cache."""
        self._clear(np.zeros(0, np.int64))

    def _clear(self, lanes: np.ndarray) -> None:
        from g2rpo_env.agents.policy.kv_cache import GrowingLayer  # imports transformers, which takes seconds

        self._cache = self._empty_cache()
        self._writable = all(isinstance(layer, GrowingLayer) for layer in self._cache.layers)
        self._lanes = lanes  # lane of each row of the cache
        self._row = {int(lane): row for row, lane in enumerate(lanes)}
        self._mask = torch.zeros((len(lanes), 0), dtype=torch.int64, device=self.policy.device)
        self.consumed[lanes] = 0

    def _empty_cache(self) -> Any:
        from g2rpo_env.agents.policy.kv_cache import growing_cache

        return growing_cache(self.policy.model.config)

    @torch.inference_mode()
    def restart(self, lanes: np.ndarray) -> None:
        """Forget the tokens of lanes that have begun another episode."""
        self.consumed[lanes] = 0
        for lane in lanes:
            if int(lane) in self._row:
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
        new = length_N[lanes] - self.consumed[lanes]
        rows = np.array([self._row[int(lane)] for lane in lanes])
        width = int(new.max())
        ids = np.zeros((len(self._lanes), width), np.int64)
        mask = np.zeros((len(self._lanes), width), np.int64)
        positions = np.zeros((len(self._lanes), width), np.int64)
        if width == 1:
            ids[rows, 0] = tokens_NL[lanes, length_N[lanes] - 1]
            mask[rows, 0] = 1
            positions[rows, 0] = self.consumed[lanes]
        else:
            for row, lane, count in zip(rows, lanes, new, strict=True):
                start = self.consumed[lane]
                ids[row, :count] = tokens_NL[lane, start : start + count]
                mask[row, :count] = 1
                positions[row] = start + np.minimum(np.arange(width), count - 1)
        device = self.policy.device
        self._mask = torch.cat([self._mask, torch.from_numpy(mask).to(device)], dim=1)
        out = self.policy.model(
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
        real = np.arange(width) < length_N[lanes, None] - 1
        contexts, which = np.unique(np.where(real, tokens_NL[lanes, :width], -1), axis=0, return_inverse=True)
        device, mask = self.policy.device, contexts >= 0
        cache = self._empty_cache()
        self.policy.model.base_model(  # without the head: nobody reads the logits
            input_ids=torch.from_numpy(np.where(mask, contexts, 0).astype(np.int64)).to(device),
            attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
            position_ids=torch.arange(width, device=device).expand(len(contexts), -1),
            past_key_values=cache,
            use_cache=True,
        )
        rows = torch.tensor([self._row[int(lane)] for lane in lanes], device=device)
        source = torch.from_numpy(which.reshape(-1)).to(device)
        for layer, begun in zip(self._cache.layers, cache.layers, strict=True):
            layer.overwrite(rows, begun.keys[source], begun.values[source], len(self._lanes))
        if self._mask.shape[1] < width:
            self._mask = torch.nn.functional.pad(self._mask, (0, width - self._mask.shape[1]))
        self._mask[rows] = 0
        self._mask[rows, :width] = torch.from_numpy(real.astype(np.int64)).to(device)
        self.consumed[lanes] = length_N[lanes] - 1
        self._drop_unread_columns()

    def _drop_unread_columns(self) -> None:
        """Drop the columns that no lane reads, such as those of before all of them started again."""
        read = self._mask.any(0)
        if int(read.sum()) < COMPACT_BELOW * len(read):
            columns = torch.nonzero(read)[:, 0]
            for layer in self._cache.layers:
                layer.select_tokens(columns)
            self._mask = self._mask[:, columns]

    def _arrange(self, lanes: np.ndarray) -> None:
        """Make the rows of the cache hold these lanes: drop finished ones, begin anew where one is missing."""
        if any(int(lane) not in self._row for lane in lanes):
            running = set(lanes.tolist()) | {int(lane) for lane in self._lanes if self.consumed[lane] > 0}
            # Lanes that are in the cache but not fed now would need their tokens again, so they are fed when next due.
            self._clear(np.array(sorted(running)))
            return
        if len(lanes) < COMPACT_BELOW * len(self._lanes) and self._mask.shape[1]:
            keep = torch.tensor([self._row[int(lane)] for lane in lanes], device=self.policy.device)
            self._cache.batch_select_indices(keep)
            self._mask = self._mask[keep]
            dropped = set(self._lanes.tolist()) - set(lanes.tolist())
            self.consumed[sorted(dropped)] = 0
            self._lanes = lanes.copy()
            self._row = {int(lane): row for row, lane in enumerate(lanes)}
