"""The table of all recipes: its rows, the runs behind them, and how learning rates are chosen."""

from dataclasses import replace

import pytest
from made import result

from g2rpo_env.agents import recipes
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.controllers import SelfTuning
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import BASE, FORMS, TableRow
from g2rpo_env.study.rates import RATES
from g2rpo_env.study.recipes import (
    BLOCKS,
    CONTEXT,
    FOUR,
    GUIDED,
    NEED_CONTEXT,
    ONE,
    RIVALS,
    SAMPLED_TOKENS,
    TRIAL_SEED,
    Entry,
    choose_rates,
    list_entries,
    make_parts,
    make_trial_parts,
)


def test_every_recipe_has_a_row_and_every_label_is_unique():
    recipes_of = {block: [one.recipe for one in list_entries(block)] for block in BLOCKS}
    assert {*recipes_of[ONE], *recipes_of[CONTEXT]} == {*RECIPES, "veripo"}
    for block in BLOCKS:
        labels = [one.label for one in list_entries(block)]
        assert len(set(labels)) == len(labels) and set(labels).isdisjoint({BASE})


def test_the_guided_block_has_its_rivals_and_three_forms_of_a_loss_per_token():
    labels = [one.label for one in list_entries(GUIDED)]
    assert set(RIVALS) <= set(labels)
    assert {"dapo, revealed", "dapo, positive", "dapo, masked"} <= set(labels)
    assert not any(label.startswith(("disco", "g2rpo-a", "igrpo")) for label in labels)


def test_runs_share_base_budget_and_test_problems(tiny):
    for block in BLOCKS:
        for entry in list_entries(block):
            run = entry.make_run(tiny, 0)
            base = replace(tiny.make_base(0), strategy=recipes.get(entry.base).strategy if entry.base else None)
            assert run.base == base and run.setting.sampled_tokens == SAMPLED_TOKENS, entry.label
            assert run.setting.evaluation_problems == tiny.evaluation_problems


def test_blocks_say_how_a_recipe_trains(tiny):
    four = Entry(FOUR, "cispo", "cispo").make_run(tiny, 0).arm
    assert four.parts["optimizer"] == replace(Optimizer(), minibatch=16) and not four.guided
    guided = Entry(GUIDED, "dapo, positive", "dapo", form="positive").make_run(tiny, 0)
    assert guided.arm.guided and guided.arm.parts["token_weight"].which == "positive"
    assert guided.arm.parts["controller"] == SelfTuning(length=tiny.whole, max_length=tiny.whole)
    assert guided.setting.guidance["length"] == tiny.whole
    sft = Entry(GUIDED, "sft", "sft").make_run(tiny, 0)
    assert sft.replays == Entry(GUIDED, "grpo, revealed", "grpo", (1e-4,), "revealed").make_run(tiny, 0)


def test_reveals_on_which_rates_are_tried_do_not_hang_on_the_rates_that_are_chosen(tiny, monkeypatch):
    entry = next(one for one in list_entries(GUIDED) if one.label == "sft")
    before = entry.make_run(tiny, TRIAL_SEED, 1e-4).key
    monkeypatch.setitem(RATES, f"{tiny.name}, {GUIDED}", {"grpo, revealed": 3e-4, "sft": 3e-4})
    assert entry.make_run(tiny, TRIAL_SEED, 1e-4).key == before
    assert entry.make_run(tiny, 0).replays.arm.learning_rate == 3e-4


def test_what_needs_a_context_starts_from_a_base_that_knows_it(tiny):
    entries = {one.label: one for one in list_entries(CONTEXT)}
    for name in NEED_CONTEXT:
        assert entries[name].make_run(tiny, 0).base.strategy == recipes.get(name).strategy
    part = make_parts(FORMS["default"])[-1]
    assert [row.label for row in part.rows][:2] == ["base of igrpo", "base of gac"]
    assert entries["grpo, base of igrpo"].make_run(tiny, 0).base == entries["igrpo"].make_run(tiny, 0).base


def test_veripo_reaches_its_stages_within_the_budget(tiny):
    arm = next(one for one in list_entries(ONE) if one.label == "veripo").make_run(tiny, 0).arm
    assert arm.algorithm == AGENTS["veripo"] and 2 * sum(arm.parts.values()) < 55


def test_rates_are_tried_on_a_seed_of_no_table():
    for part in make_trial_parts(FORMS["default"]):
        assert {run.setting.seed for row in part.rows for run in row.runs} == {TRIAL_SEED}
    for part in make_parts(FORMS["default"]):
        assert TRIAL_SEED not in {run.setting.seed for row in part.rows for run in row.runs}


def test_the_best_rate_is_chosen_and_the_lower_one_of_equal_ones(tiny):
    entries = [Entry(ONE, name, name) for name in ("grpo", "rloo")]
    rows = [
        TableRow(f"{one.label} {rate:g}", (one.make_run(tiny, TRIAL_SEED, rate),), one.label, rate)
        for one in entries
        for rate in one.rates
    ]
    right = dict(zip([row.label for row in rows], (0.25, 0.5, 0.75, 0.75), strict=True))
    results = {row.runs[0].key: result(row.runs[0], right[row.label]) for row in rows}
    assert choose_rates(Found(Part(tiny, tuple(rows)), results)) == {"grpo": 1e-4, "rloo": 3e-5}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_rate_that_is_used_was_tried(block):
    for part in make_parts(FORMS["default"]):
        ground = part.ground
        for one in list_entries(block):
            assert one.get_rate(ground) in one.rates
