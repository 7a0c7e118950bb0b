"""demo-seeds: the accuracy of one rate and seed is found among all results and the best rate is named."""

import numpy as np

from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.cli import demo_seeds
from g2rpo_env.cli.demo_seeds import get_grpo_accuracy
from g2rpo_env.experiments.arms import Arm, Result


def test_the_accuracy_of_a_rate_and_a_seed_is_that_of_plain_grpo():
    def result(algorithm, rate, seed, correct):
        solved = (np.arange(4) < correct)[:, None]
        found = summarise(solved, np.ones_like(solved), (1,), "test", "greedy", ("a", "b", "c", "d"))
        return Result(Arm("x", algorithm, rate), seed, found)

    results = [result("sft", 0.1, 0, 4), result("grpo", 0.1, 1, 3)]
    results += [result("grpo", 0.1, 0, 1), result("grpo", 0.2, 0, 2)]
    assert get_grpo_accuracy(results, 0.1, 0) == 0.25
    assert get_grpo_accuracy(results, 0.2, 0) == 0.5


def test_the_grid_names_the_best_rate_on_average(capsys):
    demo_seeds.show_grid({1e-5: [0.2, 0.4], 1e-4: [0.5, 0.0]}, (0, 1))
    text = capsys.readouterr().out
    assert "0.300" in text and "0.250" in text and "Best on average: 1e-05" in text
