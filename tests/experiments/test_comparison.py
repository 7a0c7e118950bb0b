"""Comparisons: two algorithms from Python, one base per seed, the same problems; the table by hand."""

from dataclasses import replace

import numpy as np
import pytest

from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.agents.parts.strategies import Conditioned, Refine, Rollout
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.errors import ConfigurationError, RunExistsError
from g2rpo_env.experiments import Arm, Comparison, Entry, Result, Setting, compare
from g2rpo_env.experiments.arms import evaluate_base
from g2rpo_env.experiments.comparison import describe_unprepared
from g2rpo_env.report.plots import Curves


def test_two_algorithms_from_python(setting, base, tmp_path):
    lines = []
    setting = replace(setting, updates=2)
    found = compare(
        ["grpo@unguided", "g2rpo-a"], setting, tmp_path / "out", seeds=(4, 3), learning_rates=(1e-3,), base=base,
        workers=1, report=lines.append,
    )  # fmt: skip
    assert found.labels == ["grpo@unguided", "g2rpo-a"] and list(found.bases) == [4, 3]
    assert [(r.seed, r.arm.label) for r in found.results] == [
        (4, "grpo@unguided"), (4, "g2rpo-a"), (3, "grpo@unguided"), (3, "g2rpo-a")
    ]  # fmt: skip
    ids = evaluate_base(setting, base).problem_ids
    for result in found.results:
        assert result.evaluation.problem_ids == ids and len(result.curves.metrics) == 2
        assert result.sampled_tokens == sum(row["sampled_tokens"] for row in result.curves.metrics) > 0
        assert result.arm.learning_rate == 1e-3
    assert [len(result.reveal_lengths) for result in found.get_results(3).values()] == [2, 2]
    assert found.get_curves("g2rpo-a") == [found.results[1].curves, found.results[3].curves]
    assert len(lines) == 4 and (tmp_path / "out/seed-4/g2rpo-a/metrics.jsonl").is_file()
    with pytest.raises(RunExistsError, match="must be a new or empty folder"):
        compare(["grpo"], setting, tmp_path / "out", base=base)


def test_an_unknown_algorithm_leaves_no_folder(setting, tmp_path):
    with pytest.raises(ConfigurationError, match="'pppo' must be one of"):
        compare(["grpo", "pppo"], setting, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_seed_gets_its_base_its_folder_and_the_controller_of_the_family(tmp_path, monkeypatch):
    """Nothing is trained: what the runner would do is looked at."""
    jobs, made, contexts = [], [], []

    def make(setting, policy, warm, folder, report, context):
        made.append((setting.seed, policy, warm, folder, context))
        return folder if policy is None else policy

    def run(given, report, workers, keep, place, recording):
        jobs.extend(given)
        return [Result(arm, one.seed, measure(1)) for one, _, arms, _ in reversed(given) for arm in arms]

    monkeypatch.setattr("g2rpo_env.experiments.comparison.make_base", make)
    monkeypatch.setattr(
        "g2rpo_env.experiments.comparison.evaluate_base",
        lambda setting, folder, *given: contexts.append(given[-1]) or measure(0),
    )
    monkeypatch.setattr("g2rpo_env.experiments.comparison.run_chains", run)
    from g2rpo_env.experiments.families import FAMILIES, make_setting

    env = "g2rpo_env/Addition-v0"
    setting, warm = make_setting(env), WarmStart(max_steps=1)
    found = compare(["sft", "g2rpo-a", "grpo"], setting, tmp_path, seeds=(0, 1), warm=warm)
    assert made == [(seed, None, warm, tmp_path / f"seed-{seed}/base", None) for seed in (0, 1)]
    assert [(one.seed, base, out) for one, base, _, out in jobs[::2]] == [
        (seed, tmp_path / f"seed-{seed}/base", tmp_path / f"seed-{seed}") for seed in (0, 1)
    ]
    assert [[arm.label for arm in arms] for _, _, arms, _ in jobs] == [["g2rpo-a", "sft"], ["grpo"]] * 2
    assert jobs[0][2][0].controller == FAMILIES[env].controller
    assert [(r.seed, r.arm.label) for r in found.results] == [
        (seed, label) for seed in (0, 1) for label in ("sft", "g2rpo-a", "grpo")
    ]
    jobs.clear()
    folders = {0: tmp_path / "here", 1: tmp_path / "there"}
    other = replace(setting, guidance={**setting.guidance, "length": 3.0})
    compare(["g2rpo-a"], other, folders, seeds=(0, 1), base={0: tmp_path / "a", 1: tmp_path / "b"})
    assert [(base, out) for _, base, _, out in jobs] == [(tmp_path / "a", folders[0]), (tmp_path / "b", folders[1])]
    assert jobs[0][2][0].controller is None  # that of the recipe
    jobs.clear()
    lines: list[str] = []
    compare(["all"], setting, tmp_path / "all", report=lines.append)
    labels = [arm.label for _, _, chain, _ in jobs for arm in chain]
    left_out = [line.partition(" ")[0] for line in lines if " is left out: " in line]
    assert "guide" in left_out and "sft" in labels and len(labels) + len(left_out) == len(RECIPES)
    strategy, lines = Conditioned(), []
    compare(["gac"], setting, tmp_path / "gac", strategy=strategy, report=lines.append)
    assert made[-1][-1] == contexts[-1] == strategy.context and contexts[0] is None
    strategy = Refine()  # answers are measured from the bare prompt, also those of its base
    compare(["igrpo", "grpo"], setting, tmp_path / "igrpo", strategy=strategy, report=lines.append)
    assert made[-1][-1] == strategy.warm_context and contexts[-1] is None
    assert not any("have not seen" in line for line in lines)
    compare(["igrpo", "grpo"], setting, tmp_path / "bare", report=lines.append)
    compare(["igrpo", "grpo"], setting, tmp_path / "given", base=tmp_path / "a", report=lines.append)
    assert [line for line in lines if "have not seen" in line] == describe_unprepared([Arm("igrpo", "igrpo")])


def measure(correct):
    """The first ``correct`` of 4 problems are solved."""
    solved = (np.arange(4) < correct)[:, None]
    return summarise(solved, np.ones_like(solved), (1,), "test", "greedy", ("a", "b", "c", "d"))


@pytest.fixture
def found():
    """Two seeds: bases right in 0 and 1 of 4, grpo in 1 and 2, sft in 3 and 4."""

    def result(label, seed, correct, tokens):
        return Result(Arm(label, label), seed, measure(correct), tokens, Curves([{"update": seed}]), 1.26)

    results = (result("grpo", 0, 1, 60), result("sft", 0, 3, 0), result("grpo", 1, 2, 70), result("sft", 1, 4, 0))
    return Comparison({0: measure(0), 1: measure(1)}, results)


def test_the_table_by_hand(found):
    entries = found.get_entries()
    assert [(e.seed, e.algorithm, e.accuracy, e.sampled_tokens) for e in entries] == [
        (0, "base", 0.0, 0), (0, "grpo", 0.25, 60), (0, "sft", 0.75, 0),
        (1, "base", 0.25, 0), (1, "grpo", 0.5, 70), (1, "sft", 1.0, 0),
        (None, "base", 0.125, None), (None, "grpo", 0.375, None), (None, "sft", 0.875, None),
    ]  # fmt: skip
    assert [e.above_first is not None for e in entries] == [False, False, True] * 2 + [False] * 3
    difference, (low, high) = entries[2].above_first
    assert difference == 0.5 and low < 0.5 < high
    assert found.get_difference(1, "grpo", "base")[0] == 0.25
    alone = Comparison({0: measure(0)}, found.results[:1])
    assert [e.algorithm for e in alone.get_entries()] == ["base", "grpo"]
    assert alone.get_entries()[0] == Entry(0, "base", 0.0, measure(0).interval, None, 0)


def test_records_are_those_of_the_file(found):
    records = found.get_records()
    assert [(r["algorithm"], r["seed"]) for r in records] == [
        ("grpo", 0), ("sft", 0), ("grpo", 1), ("sft", 1), ("base", 0), ("base", 1)
    ]  # fmt: skip
    assert records[0] == {
        "algorithm": "grpo", "seed": 0, "sampled_tokens": 60, "seconds": 1.3, **measure(1).to_config(),
        "correct": [1, 0, 0, 0],
    }  # fmt: skip
    last = {"algorithm": "base", "seed": 1, "sampled_tokens": 0, **measure(1).to_config(), "correct": [1, 0, 0, 0]}
    assert records[-1] == last


def test_the_package_gives_what_it_names():
    from g2rpo_env import experiments

    assert {getattr(experiments, name) for name in experiments.__all__} >= {compare, Setting, Arm}
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        experiments.nothing  # noqa: B018


def test_an_arm_that_is_missing_on_a_seed_has_no_mean_and_leaves_no_difference():
    seeds = {0: measure(0), 1: measure(1)}
    results = (Result(Arm("grpo", "grpo"), 0, measure(1)), Result(Arm("sft", "sft"), 0, measure(2)))
    found = Comparison(seeds, (*results, Result(Arm("sft", "sft"), 1, measure(2))))
    rows = [(entry.seed, entry.algorithm, entry.above_first is not None) for entry in found.get_entries()]
    assert rows == [
        (0, "base", False), (0, "grpo", False), (0, "sft", True), (1, "base", False), (1, "sft", False),
        (None, "base", False), (None, "sft", False),
    ]  # fmt: skip
    assert [entry.algorithm for entry in Comparison({0: measure(0)}, ()).get_entries()] == ["base"]


def test_arms_whose_bases_have_not_seen_their_context_are_named():
    arms = [Arm("igrpo", "igrpo"), Arm("mine", "grpo", parts={"strategy": Refine()}), Arm("grpo", "grpo")]
    arms += [Arm("plain", "gac", parts={"strategy": Rollout()}), Arm("critic", "gac-critic"), Arm("x", AGENTS["ppo"])]
    lines = describe_unprepared(arms)
    assert [line.partition(":")[0] for line in lines] == ["igrpo", "mine", "critic"]
    assert "what Refine begins answers from" in lines[0] and "--context igrpo" in lines[0]
    assert [line.partition(":")[0] for line in describe_unprepared(arms, Conditioned())] == ["igrpo", "mine"]
