"""Random streams: found by their key alone, and different for different keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.streams import fresh_seed, stream

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


def test_fresh_seeds_differ_and_can_be_used() -> None:
    seeds = {fresh_seed() for _ in range(5)}
    assert len(seeds) == 5 and all(0 <= stream(seed, "x").random() < 1 for seed in seeds)
