"""pass@k by counting subsets, and what is refused."""

from itertools import combinations

import pytest

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.estimators import pass_at_k


def test_it_is_the_share_of_subsets_that_hold_a_correct_sample() -> None:
    subsets = list(combinations([True, True, False, False, False], 2))
    assert pass_at_k(5, 2, 2) == pytest.approx(sum(map(any, subsets)) / len(subsets))  # 1 - 3/10
    assert (pass_at_k(5, 0, 5), pass_at_k(5, 1, 5)) == (0.0, 1.0)


@pytest.mark.parametrize("k", [0, 6])
def test_k_outside_the_samples_is_named(k: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"k={k} must lie in \[1, samples=5\]"):
        pass_at_k(5, 2, k)
