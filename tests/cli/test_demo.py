"""demo: its files, and words that follow from the numbers."""

import json
from dataclasses import replace

import pytest
from demo_outcomes import outcome

from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.cli import demo, demo_seeds
from g2rpo_env.experiments.demo import ENV, GRPO, ROWS
from g2rpo_env.experiments.families import FAMILIES


def test_the_files_of_a_demo(tmp_path):
    demo.write(outcome(100), tmp_path)
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert rows == json.loads(json.dumps(outcome(100).summarise())) and tuple(rows) == ROWS
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("guided", "imitation", "words"),
    [(100, 60, "above imitation alone"), (60, 100, "below imitation alone"), (100, 100, "not told apart")],
)
def test_the_standing_against_imitation_is_said_as_it_is(guided, imitation, words, capsys):
    demo.show(outcome(guided, imitation))
    text = capsys.readouterr().out
    assert words in text
    assert all(label in text for label in ROWS)


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
    family = replace(demo.FAMILY, task=task, warm=warm)
    monkeypatch.setitem(FAMILIES, ENV, family)
    for module in (demo, demo_seeds):
        monkeypatch.setattr(module, "FAMILY", family)
    status, text, error = command("demo", "--updates", 2, "--out", tmp_path / "demo")
    assert status == 0, error
    assert tuple(json.loads((tmp_path / "demo/summary.json").read_text())) == ROWS
    for label in ROWS[1:]:
        run = tmp_path / "demo" / label
        facts = json.loads((run / "run.json").read_text())
        assert (facts["command"], facts["argv"][:2], facts["label"]) == ("demo", ["--updates", "2"], label)
        assert {path.name for path in (run / "rollouts").iterdir()} == {"000001.jsonl", "000002.jsonl"}
        assert command("evaluate", run, "--problems", 4, "--threads", 1)[0] == 0
        text = (run / "config.toml").read_text()
        if label.startswith("g2rpo-a"):  # its 51 tokens are more than a sum of one digit has
            assert "controller=AdaptiveGuidance has bounds that do not fit" in text
            continue
        again = ["--out", tmp_path / f"again-{label}", "--evaluate-every", 0, "--response-problems", 0]
        assert command("train", "--config", run / "config.toml", *again)[0] == 0
        assert (tmp_path / f"again-{label}/metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    status, _, error = command("evaluate", tmp_path / "demo")
    assert status == 1 and "must be one model, and holds 5: base, g2rpo-a, " in error
    options = ["--updates", 1, "--seeds", 0, 1, "--grid", 1e-3, "--out", tmp_path / "seeds"]
    status, text, error = command("demo-seeds", *options)
    assert status == 0, error
    summary = json.loads((tmp_path / "seeds/summary.json").read_text())
    assert set(summary["seeds"]) == {"0", "1"}
    assert set(summary["grpo_grid"]) == {f"{GRPO.learning_rate:g}", "0.001"}
    assert "Plain GRPO by learning rate" in text
