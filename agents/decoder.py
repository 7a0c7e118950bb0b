"""Decoder: a KV cache that follows the lanes of a vector environment.

Each forward appends columns to the cache. A lane that has nothing to say in a column has it masked, so lanes of
unequal prompts, lanes that get several tokens at once and lanes that start again all share one rectangle. Positions
count a lane's own tokens, so what a lane computes does not depend on the columns it skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from g2rpo_env.agents.policy import CausalLMPolicy

COMPACT_BELOW = 0.75
"""Drop finished lanes from the cache when the share that still runs falls below this."""


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
        from g2rpo_env.agents.kv_cache import growing_cache  # imports transformers, which takes seconds

        self._cache = growing_cache(self.policy.model.config)
        self._lanes = lanes  # lane of each row of the cache
        self._row = {int(lane): row for row, lane in enumerate(lanes)}
        self._mask = torch.zeros((len(lanes), 0), dtype=torch.int64, device=self.policy.device)
        self.consumed[lanes] = 0

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
