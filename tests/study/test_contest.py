"""The contest: its rows, seeds that nothing was chosen on, and what counts as a winner."""

import pytest
from made import results

from g2rpo_env.agents.parts import FilteredImitation
from g2rpo_env.study.contest import (
    CONTENDERS,
    RIVALS,
    SEEDS,
    TRIAL_SEEDS,
    find_closest,
    find_winners,
    list_contest,
    make_contest,
    make_contest_trials,
)
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import FORMS

LABELS = [one.label for one in list_contest()]


def test_rivals_and_contenders_are_all_there_and_share_bases_and_budget():
    assert set(RIVALS) | set(CONTENDERS) <= set(LABELS) and len(set(LABELS)) == len(LABELS)
    for part in make_contest(FORMS["default"]):
        for number in range(len(SEEDS)):
            runs = [row.runs[number] for row in part.rows]
            assert len({run.base.key for run in runs}) == 1
            assert len({run.setting.sampled_tokens for run in runs}) == 1


def test_rates_are_chosen_on_other_seeds():
    assert not set(SEEDS) & set(TRIAL_SEEDS)
    for part in make_contest_trials(FORMS["default"]):
        assert {run.setting.seed for row in part.rows for run in row.runs} == set(TRIAL_SEEDS)
    for part in make_contest(FORMS["default"]):
        assert {run.setting.seed for row in part.rows for run in row.runs} == set(SEEDS)


def test_a_contender_has_its_own_parts_and_the_reveals_of_guided_grpo(tiny):
    entries = {one.label: one for one in list_contest()}
    run = entries["imitation and contrast 1"].make_run(tiny, 10)
    assert run.arm.parts["credit"] == FilteredImitation(contrast=1.0)
    assert run.arm.parts["token_weight"].revealed and run.arm.guided
    guided = entries["grpo, revealed"].make_run(tiny, 10)
    assert run.setting == guided.setting and run.arm.parts["controller"] == guided.arm.parts["controller"]
    assert entries["sft"].make_run(tiny, 10).replays == guided


@pytest.mark.parametrize("gain,wins", [(0.3, True), (0.0, False)])
def test_a_winner_is_above_all_rivals_everywhere(gain, wins):
    accuracy = dict.fromkeys(["base", *LABELS], 0.25)
    accuracy["positive only"] += gain
    parts = make_contest(FORMS["default"])
    found = [Found(part, results(parts, accuracy.__getitem__)) for part in parts]
    assert find_winners(found) == (["positive only"] if wins else [])
    if wins:
        assert find_closest(found[0]) == "positive only"
