"""compare: arms from names, one base per seed, paired differences on the same problems."""

import json

import numpy as np
import pytest

from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.agents.parts.strategies import Conditioned, Refine
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.cli.compare import Budget, describe, find_budget, main, parse_options, split_names
from g2rpo_env.cli.options import values
from g2rpo_env.errors import ComparisonError
from g2rpo_env.experiments.arms import Arm, Result
from g2rpo_env.experiments.comparison import Comparison
from g2rpo_env.experiments.families import ARMS, FAMILIES
from g2rpo_env.report.plots import Curves
from g2rpo_env.report.tables import ONE_SEED

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
    assert options.decay and find_budget(options, family) == (Budget(family.updates, None), False)
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
    assert (options.learning_rates, options.decay) == ((), False) and options.task.running
    assert find_budget(options, FAMILIES[ADDITION]) == (Budget(100, 200_000), False)
    options, family = parse_options(["--env", "g2rpo_env/LinearEquation-v0"])
    assert family is None and find_budget(options, family) == (Budget(100, 200_000), False)


@pytest.mark.parametrize("algorithms", [None, "grpo,ppo", "grpo,g2rpo-a"])
@pytest.mark.parametrize(
    ("asked", "budget"),
    [
        (["--updates", "3"], Budget(3, None)),
        (["--sampled-tokens", "50"], Budget(100, 50)),
        (["--updates", "3", "--sampled_tokens=50"], Budget(3, 50)),
    ],
)
def test_the_budget_that_is_asked_for_decides_for_every_list_of_algorithms(algorithms, asked, budget):
    options, family = parse_options([*asked, *([] if algorithms is None else ["--algorithms", algorithms])])
    assert find_budget(options, family) == (budget, True)


def stub_comparison(monkeypatch, found, seen):
    def run(algorithms, setting, out, *, on_result, **options):
        seen.append(setting)
        out.mkdir()
        on_result(found)
        return found

    monkeypatch.setattr("g2rpo_env.cli.compare.compare", run)


def test_a_default_budget_is_said_in_one_line_and_one_that_was_asked_for_is_not(command, tmp_path, monkeypatch):
    seen, found = [], Comparison({0: solved(20)}, (result("grpo", 40, 0),))
    stub_comparison(monkeypatch, found, seen)
    _, text, _ = command("compare", "--algorithms", "grpo", "--out", tmp_path / "a")
    assert "Budget of each algorithm: 200,000 sampled tokens (a default; --updates or --sampled-tokens" in text
    _, text, _ = command("compare", "--out", tmp_path / "b")
    assert f"Budget of each algorithm: {FAMILIES[ADDITION].updates} updates (a default" in text
    _, text, _ = command("compare", "--algorithms", "grpo", "--updates", 3, "--out", tmp_path / "c")
    assert "Budget" not in text
    assert [(one.updates, one.sampled_tokens) for one in seen] == [
        (100, 200_000), (FAMILIES[ADDITION].updates, None), (3, None)
    ]  # fmt: skip


def test_what_is_done_is_kept_where_an_algorithm_crashes_or_someone_stops_it(command, tmp_path, monkeypatch):
    found = Comparison({0: solved(20)}, (result("grpo", 40, 0),))

    def fail(error):
        def run(*arguments, on_result, **options):
            (tmp_path / type(error).__name__).mkdir()
            on_result(found)
            raise error

        monkeypatch.setattr("g2rpo_env.cli.compare.compare", run)
        return command("compare", "--out", tmp_path / type(error).__name__)

    status, text, error = fail(ComparisonError("1 of 2 runs failed: mine, seed 0: ValueError: boom", found))
    assert status == 1 and "mine, seed 0: ValueError: boom" in error and "grpo" in text
    status, text, error = fail(KeyboardInterrupt())
    assert status == 130 and "those that were done are kept" in error
    for name in ("ComparisonError", "KeyboardInterrupt"):
        assert [r["algorithm"] for r in json.loads((tmp_path / name / "results.json").read_text())] == ["grpo", "base"]


def solved(correct, problems=200):
    correct_PS = (np.arange(problems) < correct)[:, None]
    ids = tuple(str(n) for n in range(problems))
    return summarise(correct_PS, np.ones_like(correct_PS), (1,), "test", "greedy", ids)


def result(label, correct, seed, problems=200):
    rows = [{"update": 0, "accuracy": 0.1, "interval": [0.0, 0.2]}]
    return Result(Arm(label, label), seed, solved(correct, problems), 7, Curves([], rows))


def test_the_standing_against_imitation_is_said_for_each_seed():
    counts = [
        ("grpo", 40, 0),
        ("sft", 60, 0),
        ("g2rpo-a", 100, 0),
        ("grpo", 40, 1),
        ("sft", 100, 1),
        ("g2rpo-a", 60, 1),
    ]
    lines = describe(Comparison({0: solved(20), 1: solved(20)}, tuple(result(*count) for count in counts)))
    assert len(lines) == 4
    assert "Seed 0: g2rpo-a is +0.300 against grpo" in lines[0] and "above imitation alone" in lines[1]
    assert "Seed 1: g2rpo-a is +0.100 against grpo" in lines[2] and "-0.200" in lines[3] and "below" in lines[3]
    assert describe(Comparison({0: solved(20)}, (result("grpo", 40, 0), result("sft", 40, 0)))) == [ONE_SEED]


def test_nothing_is_concluded_where_nothing_was_learnt_or_problems_are_few():
    names = ("grpo", "sft", "g2rpo-a")
    nothing = Comparison({0: solved(0), 1: solved(20)}, tuple(result(n, 20 * s, s) for s in (0, 1) for n in names))
    assert describe(nothing) == [
        "Seed 0: no algorithm is told apart from its base: nothing was learnt.",
        "Seed 1: no algorithm is told apart from its base: nothing was learnt.",
    ]
    few = Comparison({0: solved(0, 4)}, tuple(result(name, 4, 0, 4) for name in names))
    assert describe(few) == ["Seed 0: 4 test problems are too few for a conclusion, which takes at least 30.", ONE_SEED]


def test_the_context_of_bases_is_that_of_a_recipe(command, tmp_path, monkeypatch):
    given = []

    def stop(algorithms, *arguments, **options):
        given.append((algorithms, options["strategy"]))
        raise StopIteration

    monkeypatch.setattr("g2rpo_env.cli.compare.compare", stop)
    for argv in ([], ["--context", "igrpo"], ["--context", "gac-critic"]):
        with pytest.raises(StopIteration):
            main([*argv, "--algorithms", "grpo@guided,all", "--out", str(tmp_path / "x")])
    assert [strategy for _, strategy in given] == [None, Refine(), Conditioned()]
    assert given[0][0] == ["grpo@guided", "all"]
    assert split_names(" grpo@guided , all")[:2] == ["grpo@guided", "grpo@unguided"]
    assert len(split_names("all,sft,")) == len(RECIPES)
    for argv, words in (
        (["--context", "grpo"], "context='grpo' must be a recipe such as igrpo or gac"),
        (["--context", "igrpo", "--policy", "mine"], "context='igrpo' must be left away with policy='mine'"),
    ):
        status, _, error = command("compare", *argv, "--out", tmp_path / "x")
        assert status == 1 and words in error
