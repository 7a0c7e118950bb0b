"""demo: five rows, what the summary says of them, and words that follow from the numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.cli import demo, demo_seeds
from g2rpo_env.experiments.arms import Result
from g2rpo_env.report.plots import Curves

PROBLEMS = 200


def evaluation(correct: int):
    """The first ``correct`` of 200 problems are solved."""
    solved = (np.arange(PROBLEMS) < correct)[:, None]
    ids = tuple(str(n) for n in range(PROBLEMS))
    return summarise(solved, np.ones_like(solved), (1,), "test", "greedy", ids)


def outcome(guided: int, imitation: int = 100):
    metrics = [{"update": 1, "sampled_tokens": 640, "reveal_length": 45.0, "reward": 0.1, "groups_with_signal": 0.5}]
    correct = {demo.GRPO: 40, demo.IMITATION: imitation, demo.GUIDED: guided, demo.MASKED: 30}
    results = {arm.label: Result(arm, 0, evaluation(n), 640, Curves(metrics), 1.0) for arm, n in correct.items()}
    return demo.Outcome(0, evaluation(20), 0.0166, results)


def test_the_summary_has_five_rows_with_intervals_and_paired_differences(tmp_path):
    demo.write(outcome(100), tmp_path)
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert tuple(rows) == demo.ROWS
    # 100, 40 and 20 of 200
    assert rows["g2rpo-a"]["accuracy"] == 0.5 and rows["g2rpo-a"]["above_grpo"] == pytest.approx(0.3)
    assert rows["base"]["accuracy"] == 0.1 and rows["base"]["sampled_success"] == 0.0166
    for row in rows.values():
        low, high = row["interval"]
        assert low < row["accuracy"] < high
    low, high = rows["g2rpo-a"]["above_grpo_interval"]
    assert 0.2 < low < 0.3 < high < 0.4
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("guided", "imitation", "words"),
    [(100, 60, "above imitation alone"), (60, 100, "below imitation alone"), (100, 100, "not told apart")],
)
def test_the_standing_against_imitation_is_said_as_it_is(guided, imitation, words, capsys):
    demo.show(outcome(guided, imitation))
    text = capsys.readouterr().out
    assert words in text
    assert all(label in text for label in demo.ROWS)


def test_every_row_but_the_base_is_trained_and_imitation_replays_the_guided_run():
    arms = [arm for chain in demo.CHAINS for arm in chain]
    assert {arm.label for arm in arms} == set(demo.ROWS) - {"base"}
    assert demo.IMITATION.replays == demo.GUIDED.label
    setting = demo.make_setting(3, 7)
    assert setting.evaluation_problems >= 512 and setting.seed == 3 and setting.updates == 7


def test_an_earlier_demo_is_moved_aside_and_nothing_else_is(tmp_path):
    out = tmp_path / "demo"
    demo.set_aside(out)
    for number in (1, 2):
        (out / "base").mkdir(parents=True)
        demo.set_aside(out)
        assert (tmp_path / f"demo-{number}" / "base").is_dir() and not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("not a demo")
    demo.set_aside(out)
    assert (out / "thesis.txt").is_file()


@pytest.mark.long
def test_a_small_demo_and_its_seeds_run_to_the_end(command, tmp_path, monkeypatch):
    warm = WarmStart(success=(0.0, 1.0), max_steps=1, check_every=1, samples=8)
    task = {**demo.FAMILY.task, "digits": 1}
    monkeypatch.setattr(demo, "FAMILY", replace(demo.FAMILY, task=task, warm=warm))
    status, text, error = command("demo", "--updates", 2, "--out", tmp_path / "demo")
    assert status == 0, error
    assert tuple(json.loads((tmp_path / "demo/summary.json").read_text())) == demo.ROWS
    options = ["--updates", 1, "--seeds", 0, 1, "--grid", 1e-3, "--out", tmp_path / "seeds"]
    status, text, error = command("demo-seeds", *options)
    assert status == 0, error
    summary = json.loads((tmp_path / "seeds/summary.json").read_text())
    assert set(summary["seeds"]) == {"0", "1"}
    assert set(summary["grpo_grid"]) == {f"{demo.GRPO.learning_rate:g}", "0.001"}
    assert "Plain GRPO by learning rate" in text


def test_the_grid_names_the_best_rate_on_average(capsys):
    demo_seeds.show_grid({1e-5: [0.2, 0.4], 1e-4: [0.5, 0.0]}, (0, 1))
    text = capsys.readouterr().out
    assert "0.300" in text and "0.250" in text and "Best on average: 1e-05" in text
