"""Results that no training made, so that what is read from results can be computed by hand."""

import numpy as np

from g2rpo_env.study.runs import BINS, CURVES

PROBLEMS = 64


def result(run, accuracy, **changes):
    """Return the result of a run of a given accuracy: the first problems are right."""
    right = np.arange(PROBLEMS) < round(accuracy * PROBLEMS)
    tokens = run.setting.sampled_tokens or 1000
    return {
        "label": run.label,
        "config": run.config,
        "accuracy": float(right.mean()),
        "problems": PROBLEMS,
        "answers": np.packbits(right).tobytes().hex(),
        "sampled_tokens": tokens,
        "forward_tokens": 2 * tokens,
        "revealed_tokens": 10,
        "updates": 40,
        "curve": [[0, 0, 0.0], [10, tokens // 4, accuracy / 2], [20, tokens // 2, accuracy], [40, tokens, accuracy]],
        "curves": {name: [0.25] * BINS for name in CURVES},
        "lengths": [4.0] * 40,
        "solved": [[0, 4, 8]] * BINS,
        "seconds": 6.0,
        "device": "cpu",
        "versions": {"python": "3.11.0", "torch": "2.6.0"},
        "code": "0",
        **changes,
    }


def results(parts, accuracy, **changes):
    """Return key -> result of all runs of some parts; ``accuracy`` is label -> accuracy."""
    made = {}
    for part in parts:
        for row in part.rows:
            for number, run in enumerate(row.runs):
                more = {name: change(row.label) for name, change in changes.items()}
                made[run.key] = result(run, accuracy(row.label) + number / PROBLEMS, **more)
    return made
