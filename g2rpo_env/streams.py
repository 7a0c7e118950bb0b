"""Independent random streams, each found by its key alone.

Nothing in the library draws from a shared generator. Every random decision has a stream keyed by the root seed, a
purpose and integers (group, member, update, ...), so a result does not depend on the order of the lanes, on the size
of a batch or on how many numbers something else has drawn before; resuming needs no generator state.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from g2rpo_env.errors import ConfigurationError

Seed = int | Sequence[int]

# Of numpy.random.SeedSequence, whose numbers numpy keeps; the algorithm is O'Neill's seed_seq_fe128.
WORDS, SHIFT = 4, 16
INIT_A, MULTIPLY_A = 0x43B0D7E5, 0x931E8875
INIT_B, MULTIPLY_B = 0x8B51F9DD, 0x58F38DED
MIX_LEFT, MIX_RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)


def stream(root: Seed, purpose: str, *key: int) -> np.random.Generator:
    """Return the generator of one key.

    Args:
        root: Root seed, a non-negative int or a sequence of them.
        purpose: Purpose of the numbers; two purposes never share a stream.
        *key: Non-negative ints, such as (group, member).

    Raises:
        ConfigurationError: the root seed is negative.

    >>> bool(stream(0, "order", 3).random() == stream(0, "order", 3).random())
    True
    >>> bool(stream(0, "order", 3).random() == stream(0, "sample", 3).random())
    False
    """
    entropy = root if isinstance(root, int) else list(root)
    seeds = _seed_sequence(entropy, (zlib.crc32(purpose.encode()), *key))
    return np.random.Generator(np.random.Philox(seeds))


def _seed_sequence(entropy: Seed, key: tuple[int, ...]) -> np.random.SeedSequence:
    try:
        return np.random.SeedSequence(entropy, spawn_key=key)
    except ValueError:
        if min([entropy] if isinstance(entropy, int) else entropy, default=0) >= 0:
            raise
        raise ConfigurationError(f"seed={entropy} must be at least 0") from None


def streams(root: Seed, purpose: str, indices: Sequence[int]) -> Iterator[np.random.Generator]:
    """Yield ``stream(root, purpose, index)`` for each index: the same numbers in a fraction of the time.

    It is one generator that moves from stream to stream: draw from it before the next one is asked for.

    Args:
        root: Root seed, as for :func:`stream`.
        purpose: Purpose of the numbers.
        indices: Ints in [0, 2^32).

    >>> [int(random.integers(1000)) for random in streams(0, "order", [3, 4])]
    [358, 63]
    >>> [int(stream(0, "order", index).integers(1000)) for index in (3, 4)]
    [358, 63]
    """
    for philox in _bit_streams(root, purpose, indices):
        yield np.random.Generator(philox)


def raw_numbers(root: Seed, purpose: str, indices: Sequence[int], count: int) -> np.ndarray:
    """Return the first 32-bit numbers of ``stream(root, purpose, index)`` for each index, uint32 (N, count).

    Args:
        root: Root seed, as for :func:`stream`.
        purpose: Purpose of the numbers.
        indices: Ints in [0, 2^32).
        count: Numbers of each stream, even.
    """
    words = np.array([philox.random_raw(count // 2) for philox in _bit_streams(root, purpose, indices)], np.uint64)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=-1)  # the low half comes first
    return halves.astype(np.uint32).reshape(len(words), count)


def bound_raw(raw: np.ndarray, span: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Bound 32-bit numbers as ``Generator.integers(span)`` does (Lemire, arXiv 1805.10941).

    Args:
        raw: uint32, any shape.
        span: Number of integers to choose from, in [1, 2^32), a shape that broadcasts with ``raw``.

    Returns:
        values: int64, in [0, span), of the shape of ``raw``.
        used: bool; False where the generator passes over the number and takes the next one.
    """
    span = np.asarray(span, np.uint64)
    scaled = raw * span
    used = (scaled & np.uint64(0xFFFFFFFF)) >= (np.uint64(2**32) - span) % span
    return (scaled >> np.uint64(32)).astype(np.int64), used


def _bit_streams(root: Seed, purpose: str, indices: Sequence[int]) -> Iterator[np.random.Philox]:
    """Yield the bit generator of each stream: one and the same object, moved on."""
    philox = np.random.Philox(0)
    state = philox.state  # of a generator that gave no number yet; streams differ in their keys alone
    for key in _philox_keys(root, purpose, np.asarray(indices, np.uint32)):
        state["state"]["key"] = key
        philox.state = state
        yield philox


def _philox_keys(root: Seed, purpose: str, indices: np.ndarray) -> np.ndarray:
    """Return the Philox key that the seed sequence of each index gives, uint64 (N, 2).

    A SeedSequence stirs the words of its entropy into a pool, one after the other, and the index is the last: the pool
    before it is the same for all.
    """
    entropy = [root] if isinstance(root, int) else list(root)
    pool = _seed_sequence(entropy, (zlib.crc32(purpose.encode()),)).pool
    words = max(WORDS, sum(max(1, -(-number.bit_length() // 32)) for number in entropy)) + 1
    first = INIT_A * pow(MULTIPLY_A, WORDS * words, 2**32)
    hash_N4 = _hash(indices[:, None], first, MULTIPLY_A)
    mixed: np.ndarray = MIX_LEFT * pool - MIX_RIGHT * hash_N4
    return _hash(mixed ^ (mixed >> SHIFT), INIT_B, MULTIPLY_B).view(np.uint64)


def _hash(values: np.ndarray, first: int, multiply: int) -> np.ndarray:
    """Return the hash of values, uint32 (N, 4); each column has a multiplier of its own."""
    constants = np.array([first * multiply**i % 2**32 for i in range(WORDS + 1)], np.uint32)
    values = (values ^ constants[:-1]) * constants[1:]
    return values ^ (values >> SHIFT)


def fresh_seed() -> int:
    """Return a root seed from the operating system, for callers who gave none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
