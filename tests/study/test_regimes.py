"""Regimes: bases and test problems of the family, training on what the regime says, imitation of the named reveals."""

import pytest

from g2rpo_env.agents.selection import SplitGuided
from g2rpo_env.study.regimes import REGIMES, Contender, Regime

REGIME = Regime(
    "sums of two digits",
    {"digits": 2},
    (
        Contender("guided", "guided", "g2rpo-a", 1e-3, parts={"selection": SplitGuided()}),
        Contender("fixed", "guided", "g2rpo-a", 1e-3, rule="fixed", start=1.0, guidance={"ratio": 1.0}),
        Contender("sft", "imitation", "sft", 2e-3, imitates="guided"),
        Contender("grpo", "", "grpo", 5e-4),
        Contender("then grpo", "guided", "grpo", 5e-4, after="sft", changes={"updates": 2, "sampled_tokens": None}),
    ),
)


@pytest.fixture
def rows(scale):
    return {row.label: row for row in REGIME.rows(scale)}


def test_every_contender_is_a_row_with_all_seeds(rows, tiny):
    assert list(rows) == ["base", "guided", "fixed", "sft", "grpo", "then grpo"]
    for row in rows.values():
        assert [run.setting.seed for run in row.runs] == [0, 1]
        assert [run.base.key for run in row.runs] == [tiny.base(0).key, tiny.base(1).key]


def test_the_regime_is_trained_on_and_the_family_is_measured(rows, tiny):
    for label in ("guided", "grpo", "sft"):
        setting = rows[label].runs[0].setting
        assert setting.task["digits"] == 2 and setting.measured == dict(tiny.family.task)


def test_what_a_contender_is_made_of(rows):
    guided, fixed, sft, grpo, staged = (rows[label].runs[0] for label in list(rows)[1:])
    assert guided.arm.parts == {"selection": SplitGuided()} and guided.arm.learning_rate == 1e-3
    assert fixed.setting.guidance["ratio"] == 1.0 and fixed.arm.controller.length == fixed.setting.guidance["length"]
    assert sft.replays == guided and sft.arm.learning_rate == 2e-3
    assert not grpo.arm.guided and grpo.arm.learning_rate == 5e-4
    assert staged.after == sft and staged.needed == [guided] and staged.setting.updates == 2


def test_every_regime_has_something_to_win_and_something_to_beat():
    for regime in REGIMES:
        kinds = {one.kind for one in regime.contenders}
        assert {"guided", "imitation"} <= kinds, regime.name
        assert len({one.label for one in regime.contenders}) == len(regime.contenders)
