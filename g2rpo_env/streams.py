"""Independent random streams, each found by its key alone.

Nothing in the library draws from a shared generator. Every random decision has a stream keyed by the root seed, a
purpose and integers (group, member, update, ...), so a result does not depend on the order of the lanes, on the size
of a batch or on how many numbers something else has drawn before; resuming needs no generator state.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

Seed = int | Sequence[int]


def stream(root: Seed, purpose: str, *key: int) -> np.random.Generator:
    """Return the generator of one key.

    Args:
        root: Root seed, a non-negative int or a sequence of them.
        purpose: What the numbers are for; two purposes never share a stream.
        *key: Non-negative ints, such as (group, member).

    >>> bool(stream(0, "order", 3).random() == stream(0, "order", 3).random())
    True
    >>> bool(stream(0, "order", 3).random() == stream(0, "sample", 3).random())
    False
    """
    entropy = root if isinstance(root, int) else list(root)
    seeds = np.random.SeedSequence(entropy, spawn_key=(zlib.crc32(purpose.encode()), *key))
    return np.random.Generator(np.random.Philox(seeds))


def fresh_seed() -> int:
    """Return a root seed from the operating system, for callers who gave none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
