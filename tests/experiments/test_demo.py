"""The demo: five rows, what the summary says of them, and the arms that make them."""

import json

import pytest
from demo_outcomes import outcome

from g2rpo_env.experiments.comparison import Comparison
from g2rpo_env.experiments.demo import DEMO_ARMS, ENV, GUIDED, IMITATION, ROWS, make_outcome
from g2rpo_env.experiments.families import make_setting


def test_the_summary_has_five_rows_with_intervals_and_paired_differences():
    rows = json.loads(json.dumps(outcome(100).summarise()))
    assert tuple(rows) == ROWS
    # 100, 40 and 20 of 200
    assert rows["g2rpo-a"]["accuracy"] == 0.5 and rows["g2rpo-a"]["above_grpo"] == pytest.approx(0.3)
    assert rows["base"]["accuracy"] == 0.1 and rows["base"]["sampled_success"] == 0.0166
    for row in rows.values():
        low, high = row["interval"]
        assert low < row["accuracy"] < high
    low, high = rows["g2rpo-a"]["above_grpo_interval"]
    assert 0.2 < low < 0.3 < high < 0.4


def test_every_row_but_the_base_is_trained_and_imitation_replays_the_guided_run():
    assert {arm.label for arm in DEMO_ARMS} == set(ROWS) - {"base"}
    assert IMITATION.replays == GUIDED.label
    setting = make_setting(ENV, seed=3, updates=7)
    assert setting.evaluation_problems >= 512 and setting.seed == 3 and setting.updates == 7


def test_the_success_of_the_base_comes_from_its_folder(tmp_path):
    (tmp_path / "warm_start.json").write_text(json.dumps({"steps": 3, "success": 0.02}))
    assert make_outcome(1, tmp_path, Comparison({}, ())).success == 0.02
