"""compare: arms from names, one base per seed, paired differences on the same problems."""

import json

import numpy as np
import pytest

from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.cli.compare import describe, main, parse_options
from g2rpo_env.cli.options import values
from g2rpo_env.experiments.arms import Arm, Result
from g2rpo_env.experiments.comparison import Comparison
from g2rpo_env.experiments.families import ARMS, FAMILIES

ADDITION = "g2rpo_env/Addition-v0"


def test_a_budget_must_be_at_least_1(command, tmp_path):
    status, _, error = command("compare", "--sampled-tokens", 0, "--out", tmp_path / "x")
    assert status == 1 and "sampled_tokens=0" in error and not (tmp_path / "x").exists()


@pytest.mark.long
def test_two_algorithms_on_two_seeds_from_a_given_base(command, trained, tmp_path):
    from g2rpo_env.report.run_folder import RunFolder

    base = RunFolder(trained).checkpoints()[-1]
    options = ["--digits", 1, "--problems", 2, "--group-size", 2, "--sampled-tokens", 40, "--evaluation-problems", 6]
    options += ["--algorithms", "grpo,a2c", "--seeds", 2, "--policy", base, "--guidance.length", 4]
    status, text, error = command("compare", *options, "--out", tmp_path / "compare")
    assert status == 0, error
    rows = json.loads((tmp_path / "compare/results.json").read_text())
    assert [(row["algorithm"], row["seed"]) for row in rows] == [
        ("grpo", 0), ("a2c", 0), ("grpo", 1), ("a2c", 1), ("base", 0), ("base", 1)
    ]  # fmt: skip
    assert all(row["sampled_tokens"] >= 40 for row in rows[:4])
    assert "above grpo" in text and "all" in text
    assert (tmp_path / "compare/comparison.png").stat().st_size > 10_000
    assert command("compare", *options, "--out", tmp_path / "compare")[0] == 1


def test_a_family_gives_what_the_user_did_not():
    options, family = parse_options(["--env", ADDITION])
    assert family is FAMILIES[ADDITION]
    assert options.learning_rates == tuple(family.rates[name] for name in ARMS)
    assert (options.sampled_tokens, options.updates, options.decay) == (None, family.updates, True)
    assert (options.problems, options.group_size) == (family.problems, family.group_size)
    assert (options.task.digits, options.task.running, options.warm) == (4, True, family.warm)
    assert family.guidance.items() <= values(options.guidance).items()
    mine = ["--env", ADDITION, "--digits", "2", "--updates", "7", "--guidance.ratio", "0.25", "--warm.problems", "9"]
    options, _ = parse_options(mine)
    assert (options.task.digits, options.updates, options.guidance.ratio, options.warm.problems) == (2, 7, 0.25, 9)
    assert options.guidance.length == 51.0 and options.warm.batch_size == 32


def test_minibatch_and_epochs_reach_the_comparison_if_they_are_given(monkeypatch, tmp_path):
    given = []

    def stop(*arguments, **options):
        given.append(options["optimizer"])
        raise StopIteration

    monkeypatch.setattr("g2rpo_env.cli.compare.compare", stop)
    for argv in ([], ["--minibatch", "16"], ["--minibatch", "16", "--epochs", "2"]):
        with pytest.raises(StopIteration):
            main([*argv, "--out", str(tmp_path / "x")])
    assert given == [{}, {"minibatch": 16}, {"minibatch": 16, "epochs": 2}]


def test_a_minibatch_below_1_is_named_before_anything_is_made(command, tmp_path):
    status, _, error = command("compare", "--minibatch", 0, "--out", tmp_path / "x")
    assert status == 1 and "minibatch=0 must be at least 1" in error and not (tmp_path / "x").exists()


def test_algorithms_that_a_family_does_not_know_share_a_budget_of_tokens():
    options, _ = parse_options(["--algorithms", "grpo,a2c"])
    assert (options.learning_rates, options.sampled_tokens, options.decay) == ((), 200_000, False)
    assert options.task.running
    options, family = parse_options(["--env", "g2rpo_env/LinearEquation-v0"])
    assert family is None and options.sampled_tokens == 200_000


def test_the_standing_against_imitation_is_said_for_each_seed():
    def result(label, correct, seed):
        solved = (np.arange(200) < correct)[:, None]
        ids = tuple(str(n) for n in range(200))
        return Result(Arm(label, label), seed, summarise(solved, np.ones_like(solved), (1,), "test", "greedy", ids))

    counts = [
        ("grpo", 40, 0),
        ("sft", 60, 0),
        ("g2rpo-a", 100, 0),
        ("grpo", 40, 1),
        ("sft", 100, 1),
        ("g2rpo-a", 60, 1),
    ]
    lines = describe(Comparison({}, tuple(result(*count) for count in counts)))
    assert len(lines) == 4
    assert "Seed 0: g2rpo-a is +0.300 against grpo" in lines[0] and "above imitation alone" in lines[1]
    assert "Seed 1: g2rpo-a is +0.100 against grpo" in lines[2] and "-0.200" in lines[3] and "below" in lines[3]
    assert describe(Comparison({}, (result("grpo", 40, 0), result("sft", 40, 0)))) == []
