"""Outcomes of a demo that no training made."""

import numpy as np

from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.experiments.arms import Result
from g2rpo_env.experiments.comparison import Comparison
from g2rpo_env.experiments.demo import GRPO, GUIDED, IMITATION, MASKED, Outcome
from g2rpo_env.report.plots import Curves

PROBLEMS = 200


def evaluation(correct):
    """The first ``correct`` of 200 problems are solved."""
    solved = (np.arange(PROBLEMS) < correct)[:, None]
    ids = tuple(str(n) for n in range(PROBLEMS))
    return summarise(solved, np.ones_like(solved), (1,), "test", "greedy", ids)


def outcome(guided, imitation=100):
    """Return the outcome of a demo with these numbers of right answers."""
    metrics = [{"update": 1, "sampled_tokens": 640, "reveal_length": 45.0, "reward": 0.1, "groups_with_signal": 0.5}]
    correct = ((GRPO, 40), (IMITATION, imitation), (GUIDED, guided), (MASKED, 30))
    results = tuple(Result(arm, 0, evaluation(n), 640, Curves(metrics), 1.0) for arm, n in correct)
    return Outcome(0, 0.0166, Comparison({0: evaluation(20)}, results))
