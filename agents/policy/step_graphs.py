"""StepGraphs: decode steps as CUDA graphs.

A decode step is many small kernels. The processor needs longer to launch them one by one than the GPU needs to run
them, so the GPU waits. A CUDA graph launches them all at once.

A graph repeats the same kernels at the same addresses. A step is therefore widened to one of a few sizes, its tokens
and places go through one buffer that stays where it is, and what it reads besides (weights, keys and values) must stay
in place too: whoever moves one of them calls :meth:`StepGraphs.clear`. The rows that widen a step write into rows of
the cache that no lane has, at their first place, and the columns that widen it are masked.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np
import torch

MOST = 64
"""Graphs at a time; a further size runs as it is, kernel by kernel."""

Run = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""A step: (tokens int64 (K,), their places int64 (K,), columns) -> logits (K, V)."""


def widen(number: int, unit: int, most: int) -> int:
    """Return the least of unit * (1, 2, 3, 4, 6, 8, 12, 16, ...) that is not below ``number``, cut at ``most``.

    Two sizes per power of two: the units grow by less than half, and few sizes need few graphs.

    >>> [widen(n, 1, 100) for n in (1, 3, 5, 7, 9, 13, 97)], widen(70, 64, 1000)
    ([1, 3, 6, 8, 12, 16, 100], 128)
    """
    factors = itertools.chain((1,), (factor << power for power in itertools.count() for factor in (2, 3)))
    return min(most, next(unit * factor for factor in factors if unit * factor >= number))


class StepGraphs:
    """Runs steps, each size as a graph from its second time on: a size that comes once is not worth a capture.

    Args:
        device: A CUDA device.
        num_lanes: Most rows of a step.
        unit: Columns come in multiples of this.
    """

    def __init__(self, device: torch.device, num_lanes: int, unit: int) -> None:
        self._device, self._lanes, self._unit = device, num_lanes, unit
        self._inputs = torch.zeros(2 * num_lanes, dtype=torch.int64, device=device)  # (2 * rows,), tokens, then places
        self._stream = torch.cuda.Stream(device)
        # By size, (rows, columns); the logits of a graph, (rows, V), are where it writes them.
        self._seen: set[tuple[int, int]] = set()
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self.broken = False
        """Whether a capture has failed; steps are then run kernel by kernel."""

    def __len__(self) -> int:
        return len(self._graphs)

    def clear(self) -> None:
        """Forget all graphs: something that they read is somewhere else now."""
        self._graphs.clear()
        self._seen.clear()

    def __call__(self, run: Run, ids: np.ndarray, position: np.ndarray, room: int) -> torch.Tensor:
        """Return the logits after one token in each of the first rows.

        Args:
            run: The step, of any size.
            ids: int64 (K,), the tokens.
            position: int64 (K,), their places.
            room: Columns that there are.

        Returns:
            Logits (K, V), overwritten by a later step.
        """
        count = len(ids)
        key = widen(count, 1, self._lanes), widen(int(position.max()) + 1, self._unit, room)
        rows, columns = key
        inputs = np.zeros(2 * rows, np.int64)  # one buffer, so one copy to the device
        inputs[:count], inputs[rows : rows + count] = ids, position
        # From memory that is not pinned: it may be written again before the copy has been made.
        self._inputs[: 2 * rows].copy_(torch.from_numpy(inputs), non_blocking=True)
        if key in self._seen and key not in self._graphs and len(self._graphs) < MOST and not self.broken:
            self._capture(run, key)
        self._seen.add(key)
        if key not in self._graphs:
            # The first run of a size also loads the kernels and work spaces that a capture must find ready.
            return self._step(run, key)[:count]
        graph, logits = self._graphs[key]
        graph.replay()
        return logits[:count]

    def _step(self, run: Run, key: tuple[int, int]) -> torch.Tensor:
        rows, columns = key
        return run(self._inputs[:rows], self._inputs[rows : 2 * rows], columns)

    def _capture(self, run: Run, key: tuple[int, int]) -> None:
        """Capture a size, or note that it cannot be done."""
        # Graphs share their memory: none runs beside another, and the logits of each are kept.
        pool = next(iter(self._graphs.values()))[0].pool() if self._graphs else None
        graph = torch.cuda.CUDAGraph()
        try:
            # The inner stream is left even if a capture that failed does not leave its own.
            with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream(self._device)):
                # Another thread may use the GPU meanwhile.
                with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
                    logits = self._step(run, key)
        except RuntimeError as error:  # torch's OutOfMemoryError is one
            self.broken = True
            self._graphs.clear()
            print(f"g2rpo-env: no CUDA graphs, decoding goes on without them: {error}", file=sys.stderr)
            return
        self._graphs[key] = graph, logits
