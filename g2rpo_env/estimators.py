"""Estimators that need no model: unbiased pass@k."""

from __future__ import annotations

import math

from g2rpo_env.errors import ConfigurationError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the unbiased estimate 1 - C(n-c, k) / C(n, k) of pass@k (arXiv 2107.03374, equation 1).

    Args:
        samples: n, number of samples, >= k.
        correct: c, how many of them are correct.
        k: Number of tries.

    Raises:
        ConfigurationError: ``k`` is below 1 or above ``samples``.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 1 <= k <= samples:
        raise ConfigurationError(f"k={k} must lie in [1, samples={samples}]")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)
