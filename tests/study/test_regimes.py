"""Regimes: bases and test problems of the family, training on what the regime says, imitation of the named reveals."""

from dataclasses import replace

import numpy as np
import pytest

from g2rpo_env.agents.parts.selection.splits import SplitGuided
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.grading import GradedVerifier
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import Scale
from g2rpo_env.study.regimes import MAP, REGIMES, Contender, Regime

MAIN = Scale("default", (0,), tuple(FAMILIES)).get_grounds()[0]
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
def rows(scale, tiny):
    return {row.label: row for row in REGIME.make_rows(tiny, scale.seeds)}


def test_every_contender_is_a_row_with_all_seeds(rows, tiny):
    assert list(rows) == ["base", "guided", "fixed", "sft", "grpo", "then grpo"]
    for row in rows.values():
        assert [run.setting.seed for run in row.runs] == [0, 1]
        assert [run.base.key for run in row.runs] == [tiny.make_base(0).key, tiny.make_base(1).key]


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


def test_every_regime_has_something_to_win_and_something_to_beat(scale, tiny):
    for regime in REGIMES:
        kinds = {one.kind for one in regime.contenders}
        assert {"guided", "imitation"} <= kinds, regime.name
        assert len({one.label for one in regime.contenders}) == len(regime.contenders)
        found = Found(Part(regime.get_ground(tiny), regime.make_rows(tiny, scale.seeds)), {})
        assert found.grpo in found.labels and found.sft in found.labels, regime.name  # what tables compare with


def test_regimes_differ_in_their_task_and_rates_alone():
    """Nobody is favoured in one regime: labels without rates, recipes, parts and guidance are the same in all.

    What is shown beside, neither to win nor to be beaten, may differ.
    """

    def make_ways(regime):
        names = {one.label.rpartition(" ")[0]: one for one in regime.contenders if one.kind}
        return {name: replace(one, label=name, rate=0.0, imitates=None) for name, one in names.items()}

    assert len(REGIMES) >= 2 and all(make_ways(regime) == make_ways(REGIMES[0]) for regime in REGIMES)


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: regime.name)
def test_what_is_trained_on_is_what_the_name_says_and_all_are_measured_on_the_family(regime):
    rows = regime.make_rows(MAIN, (0,))
    setting = rows[1].runs[0].setting
    task = setting.make_envs(guided=True).unwrapped.task
    right = replace(setting, task=setting.measured).make_envs(guided=True).unwrapped.task.source
    problems = [task.source.get(task.source.draw(0, index)) for index in range(200)]
    differs = np.mean([bool(p.steps) and p.steps != right.get(p.problem_id).steps for p in problems])
    share = regime.task["traces"].get("wrong_traces", 0.0)  # most sums of four digits have a carry
    assert 0.6 * share <= differs <= share
    assert any(not p.steps for p in problems) == ("pool" in regime.task["traces"])
    assert isinstance(task.verifier, GradedVerifier) == ("grading" in regime.task)
    for row in rows[1:]:
        setting = row.runs[0].setting
        assert {"traces", "grading"} & set(setting.task) == set(regime.task)
        assert not {"traces", "grading"} & set(setting.measured)


def test_the_map_has_one_rate_and_the_same_reveals_for_all_rivals(scale, tiny):
    for regime in MAP:
        rows = {row.label: row.runs[0] for row in regime.make_rows(tiny, scale.seeds)}
        guided = [run for label, run in rows.items() if label.startswith("g2rpo-a")][-1]
        for label, run in rows.items():
            if label == "sft":
                assert run.replays == rows["g2rpo-a"] and run.setting.task == guided.setting.task
            if label.startswith("raft"):
                assert run.setting.guidance == guided.setting.guidance and run.after == guided.after
            if not label.startswith(("base", "grpo")):
                assert run.arm.learning_rate == guided.arm.learning_rate


def test_what_follows_supervised_training_on_the_map_follows_the_same(scale, tiny):
    (regime,) = [one for one in MAP if one.name.startswith("right traces, after")]
    rows = {row.label: row for row in regime.make_rows(tiny, scale.seeds)}
    assert [label for label, row in rows.items() if row.series == "first"] == ["g2rpo-a", "sft"]
    for label in ("g2rpo-a, second", "raft, second", "grpo, second"):
        assert rows[label].runs[1].after == rows["sft"].runs[1], label


@pytest.mark.parametrize("regime", [*REGIMES, *MAP], ids=lambda regime: regime.name)
def test_what_is_measured_has_room_for_answers_of_the_trained_kind(regime):
    """A policy that learnt to write each step twice is not cut off for it."""
    setting = regime.make_rows(MAIN, (0,))[1].runs[0].setting
    trained = setting.make_envs(guided=False).unwrapped.task
    measured = replace(setting, task=setting.measured).make_envs(guided=False).unwrapped.task
    assert measured.max_new_tokens >= trained.max_new_tokens
