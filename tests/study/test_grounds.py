"""Grounds: budgets by hand, one seed one base, rules within what may be revealed, references of every comparison."""

from dataclasses import replace

import pytest

from g2rpo_env.controllers.rules import AdaptiveGuidance, FixedGuidance
from g2rpo_env.controllers.schedules import LinearDecay
from g2rpo_env.controllers.self_tuning import SelfTuning
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.study.grounds import (
    GRID,
    REDUCED,
    RULES,
    STARTS,
    Ground,
    Scale,
    TableRow,
    get_grpo_label,
    make_references,
    make_row,
    shorten_name,
)

ENV = "g2rpo_env/Addition-v0"


def test_the_tokens_of_an_update_by_hand(tiny):
    """One digit: "8+7+0=15\\n", "#15" and the end are 9 + 3 + 1 tokens, 9 may be revealed; "#8" is a token shorter."""
    assert tiny.whole == 9.0
    whole, reveal = tiny.count_tokens(0.0) / 64, (tiny.count_tokens(0.0) - tiny.count_tokens(9.0, ratio=1.0)) / 64
    assert 12 < whole < 13 and reveal == pytest.approx(9.0)
    assert tiny.count_tokens(4.5, ratio=0.5) == pytest.approx(64 * (whole - 0.5 * 4.5))
    assert tiny.budget == 1000 * round(3 * tiny.count_tokens(8.0) / 1000) > 0


def test_the_main_ground_is_the_family_as_the_demo_trains_it():
    (ground,) = Scale(families=(ENV,)).get_grounds()
    assert ground.whole == FAMILIES[ENV].longest == 51.0
    assert ground.budget == pytest.approx(154 * ground.count_tokens(51.0), rel=0.01)
    assert replace(ground, share=1.0).updates == FAMILIES[ENV].updates


def test_runs_of_a_seed_share_its_base(tiny):
    runs = [tiny.make_run(3), tiny.make_plain(3), tiny.make_guided(3), tiny.make_imitation(tiny.make_guided(3))]
    assert {run.base.key for run in runs} == {tiny.make_base(3).key} != {tiny.make_base(4).key}
    assert {run.setting.seed for run in runs} == {3}
    assert {run.setting.sampled_tokens for run in runs} == {tiny.budget}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", STARTS)
def test_every_rule_starts_where_it_is_told_and_stays_within_the_solution(tiny, rule, start):
    controller = RULES[rule](tiny, start * tiny.whole, 0.7)
    assert controller.length == pytest.approx(start * 9.0)
    lengths = [controller.update(reward=reward) for reward in (0.0, 0.0, 0.9, 0.1, 0.5) * 10]
    assert all(0 <= length <= 9.0 for length in lengths)


def test_a_decay_ends_with_the_budget(tiny):
    """From 4.5 to 0 the mean is 2.25 tokens, and so many updates fit."""
    decay = RULES["linear"](tiny, 4.5, 0.7)
    assert isinstance(decay, LinearDecay) and decay.end == 0
    assert decay.updates == round(tiny.budget / tiny.count_tokens(2.25))


def test_set_points_follow_the_loss_mode(tiny):
    assert tiny.make_guided(0, "target").arm.controller.target == 0.7
    assert tiny.make_guided(0, "target", recipe="g2rpo-a-masked").arm.controller.target == 0.5
    assert tiny.make_guided(0).arm.controller == SelfTuning(length=4.5, max_length=9.0)  # as it comes
    assert tiny.make_guided(0, "raw").arm.controller.max_factor is None
    assert isinstance(tiny.make_guided(0, "adaptive").arm.controller, AdaptiveGuidance)
    assert isinstance(tiny.make_guided(0, "fixed").arm.controller, FixedGuidance)


def test_every_comparison_has_its_references(tiny):
    rows = {row.label: row for row in make_references(tiny, (0, 1))}
    assert {"base", "sft", "raft", "g2rpo-a", "g2rpo-a-masked", *(get_grpo_label(tiny, m) for m in GRID)} <= set(rows)
    assert [row.runs[0].setting.seed for row in rows.values()] == [0] * len(rows)
    for guided, sft in zip(rows["g2rpo-a"].runs, rows["sft"].runs, strict=True):
        assert sft.replays == guided and sft.setting == guided.setting
    rates = [rows[get_grpo_label(tiny, m)].runs[0].arm.learning_rate for m in GRID]
    assert rates == pytest.approx([2e-5, 5e-5, 1e-4])
    assert rows["base"].runs[0].arm is None
    few = [row.label for row in make_references(tiny, (0,), (1.0,), few=True)]
    assert few == ["base", "g2rpo-a", "grpo 5e-05", "sft"]


def test_scales(monkeypatch):
    assert Scale(small=True).get_grounds() == [REDUCED] == Scale(small=True).get_sizes()
    sizes = Scale(families=(ENV,)).get_sizes()
    assert [(ground.hidden_size, ground.layers) for ground in sizes] == [(64, 2), (96, 3), (176, 4)]
    main = Scale(families=(ENV,)).get_grounds()[0]
    assert sizes[1].make_guided(0).key == main.make_guided(0).key  # only the name differs: no run is done twice
    assert shorten_name(ENV) == "Addition"


def test_another_task_has_its_own_bases(tiny):
    other = tiny.with_task("two", {"digits": 2}, unit="fraction", longest=1.0)
    assert other.whole == 1.0 and other.make_base(0).key != tiny.make_base(0).key
    assert isinstance(other, Ground) and tiny.with_name("x").make_base(0).key == tiny.make_base(0).key


def test_a_row_has_one_run_per_seed(tiny):
    row = make_row(tiny.make_plain, (0, 2), "plain", "line", 0.5)
    assert row == TableRow("plain", (tiny.make_plain(0), tiny.make_plain(2)), "line", 0.5)
