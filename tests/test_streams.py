"""Random streams: found by their key alone, and different for different keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import Seed, bound_raw, fresh_seed, raw_numbers, stream, streams

KEYS = st.tuples(
    st.integers(0, 2**32 - 1),
    st.text(max_size=8),
    st.lists(st.integers(0, 1000), max_size=3).map(tuple),
)


@settings(deadline=None, max_examples=60)
@given(one=KEYS, other=KEYS)
def test_equal_keys_give_equal_numbers_and_other_keys_others(one: tuple, other: tuple) -> None:
    def draw(key: tuple) -> list[int]:
        return stream(key[0], key[1], *key[2]).integers(0, 2**62, 3).tolist()

    assert draw(one) == draw(one)
    assert (draw(one) == draw(other)) == (one == other)


@pytest.mark.parametrize(
    "one,other",
    [
        ((0, "guided", 1, 2), (0, "guided", 2, 1)),
        ((0, "guided", 1), (0, "guided", 1, 0)),
        ((0, "guided", 1), (1, "guided", 1)),
        ((0, "guided", 1), (0, "sample", 1)),
        (([0, 1], "guided", 1), ([1, 0], "guided", 1)),
    ],
)
def test_order_number_and_purpose_of_the_key_all_matter(one: tuple, other: tuple) -> None:
    assert stream(*one).random() != stream(*other).random()


def test_streams_of_neighbouring_keys_are_uncorrelated() -> None:
    draws = np.array([stream(0, "guided", group).random(200) for group in range(50)])
    off_diagonal = np.corrcoef(draws)[~np.eye(50, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(200)  # five standard errors
    assert abs(draws[:, 0].mean() - 0.5) < 5 * np.sqrt(1 / 12 / 50)


def test_a_stream_is_pinned_so_that_old_runs_can_be_repeated() -> None:
    assert stream(0, "order", 3).integers(0, 1000, 4).tolist() == [358, 533, 52, 21]


ROOTS = st.one_of(st.integers(0, 2**200), st.lists(st.integers(0, 2**70), min_size=1, max_size=6))
INDICES = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5)


@settings(deadline=None, max_examples=200)
@given(root=ROOTS, purpose=st.text(max_size=8), indices=INDICES)
def test_many_streams_at_once_are_those_found_one_by_one(root: Seed, purpose: str, indices: list[int]) -> None:
    def draw(random: np.random.Generator) -> list[float]:
        # an odd number of small draws leaves half a word behind, which the next stream must not see
        return [*random.integers(0, 2**62, 3).tolist(), int(random.integers(10)), random.random()]

    one_by_one = [stream(root, purpose, index) for index in indices]
    assert [draw(random) for random in streams(root, purpose, indices)] == [draw(random) for random in one_by_one]
    raw = raw_numbers(root, purpose, indices, 6)
    assert raw.tolist() == [stream(root, purpose, i).integers(0, 2**32, 6, np.uint32).tolist() for i in indices]


@settings(deadline=None, max_examples=200)
@given(index=st.integers(0, 10**6), span=st.one_of(st.integers(2, 1000), st.integers(2, 2**32 - 1)))
def test_bounded_numbers_are_what_a_generator_makes_of_its_raw_ones(index: int, span: int) -> None:
    values, used = bound_raw(raw_numbers(0, "spans", [index], 64), np.array(span))
    kept = values[used].tolist()
    assert stream(0, "spans", index).integers(0, span, len(kept)).tolist() == kept
    # Lemire passes over (2^32 mod span) of 2^32 numbers; five standard errors of a share of 64
    share = 2**32 % span / 2**32
    assert abs((~used).mean() - share) <= 5 * (share * (1 - share) / 64) ** 0.5 + 1 / 64


def test_fresh_seeds_differ_and_can_be_used() -> None:
    seeds = {fresh_seed() for _ in range(5)}
    assert len(seeds) == 5 and all(0 <= stream(seed, "x").random() < 1 for seed in seeds)


@pytest.mark.parametrize("seed", [-1, (3, -2)])
def test_a_negative_seed_is_refused_by_its_name(seed: Seed) -> None:
    with pytest.raises(ConfigurationError, match=r"seed=.*-\d.* must be at least 0"):
        stream(seed, "order")
    with pytest.raises(ConfigurationError, match="must be at least 0"):
        list(streams(seed, "order", [0]))
    with pytest.raises(ValueError, match="non-negative"):
        stream(0, "order", -1)
