"""Learning rates of the tables of recipes, as ``study recipe-rates`` and ``contest-rates`` chose them.

Written by ``python docs/write_rates.py`` from docs/results.
"""

from __future__ import annotations

from collections.abc import Mapping

RATES: Mapping[str, Mapping[str, float]] = {
    "Addition, one step per rollout": {
        "grpo": 3e-05,
        "raft": 0.0001,
        "reinforce": 3e-05,
        "dr-grpo": 3e-05,
        "rloo": 0.0001,
        "opo": 3e-05,
        "max-rl": 3e-05,
        "reinforce++": 3e-05,
        "reinforce++-baseline": 3e-05,
        "gpg": 0.0001,
        "raft++": 0.0001,
        "reinforce-rej": 3e-05,
        "pods": 3e-05,
        "dapo": 0.0001,
        "bnpo": 0.0001,
        "cispo": 0.0001,
        "sapo": 3e-05,
        "gspo": 3e-05,
        "luspo": 3e-05,
        "vespo": 0.0001,
        "gmpo": 3e-05,
        "two-sided": 3e-05,
        "dppo": 0.0001,
        "entropy-tokens": 3e-05,
        "disco": 3e-05,
        "disco-b": 3e-05,
        "disco-ratio": 3e-05,
        "disco-b-ratio": 3e-05,
        "dpo": 3e-05,
        "care": 3e-05,
        "sgpo": 3e-05,
        "lambda-grpo": 3e-05,
        "tr-grpo": 3e-05,
        "ar-grpo": 3e-05,
        "thr": 3e-05,
        "nthr": 3e-05,
        "grpo-lambda": 3e-05,
        "grpo-lambda-both": 3e-05,
        "mcts-dpo": 3e-05,
        "guided-grpo": 3e-05,
        "g2rpo-a": 0.0003,
        "g2rpo-a-masked": 3e-05,
        "guide": 3e-05,
        "ghpo": 3e-05,
        "scaf-grpo": 3e-05,
        "bread": 3e-05,
        "pope": 3e-05,
    },
    "Addition, guided": {
        "grpo": 3e-05,
    },
    "Addition, in another context": {
        "gac": 3e-05,
    },
}
"""Part of a table -> label of a row -> learning rate."""
