"""Runs: the key holds all that a result depends on; results are small plain data; sft replays; stages add up."""

import json
from dataclasses import replace

import numpy as np
import pytest

from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.selection.splits import SplitGuided
from g2rpo_env.agents.parts.strategies import Conditioned, Refine
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.experiments.arms import Arm
from g2rpo_env.reveal.assignment import Levels
from g2rpo_env.study import runs as module
from g2rpo_env.study.runs import Base, Run, execute, thin_curve, to_plain, unpack_answers


@pytest.fixture
def base(tiny, tmp_path):
    folder = tmp_path / "base"
    tiny.make_base(0).make(folder)
    return folder


def test_every_part_of_a_run_is_in_its_key(tiny):
    one = tiny.make_guided(0)
    others = [
        tiny.make_guided(1),
        tiny.make_guided(0, "fixed"),
        tiny.make_guided(0, start=0.8),
        tiny.make_guided(0, recipe="g2rpo-a-masked"),
        tiny.make_guided(0, parts={"selection": SplitGuided()}),
        tiny.make_guided(0, rate=1e-4),
        tiny.make_guided(0, guidance={"ratio": 0.25}),
        tiny.make_guided(0, guidance={"who": Levels((0.5, 1.0))}),
        tiny.make_guided(0, guidance={"who": Levels((0.25, 1.0))}),
        tiny.make_guided(0, order={"span": 4}),
        tiny.make_guided(0, sampled_tokens=None),
        tiny.make_guided(0, after=tiny.make_plain(0)),
        replace(tiny, hidden_size=24).make_guided(0),
        replace(tiny, family=replace(tiny.family, warm=replace(tiny.family.warm, max_steps=3))).make_guided(0),
        tiny.make_imitation(one),
        tiny.make_imitation(tiny.make_guided(0, "fixed")),
        tiny.make_run(0),
    ]
    assert len({run.key for run in (one, *others)}) == 1 + len(others)
    assert tiny.make_guided(0).key == one.key
    assert replace(one, arm=replace(one.arm, label="another name")).key == one.key


def test_a_configuration_is_plain_data(tiny):
    config = tiny.make_guided(0, parts={"selection": SplitGuided()}, guidance={"who": Levels((0.5, 1.0))}).config
    assert json.loads(json.dumps(config)) == config
    assert config["arm"]["parts"]["selection"] == {"class": "SplitGuided"}
    assert to_plain((1, {"a": Levels((1.0,))})) == [1, {"a": {"class": "Levels", "shares": [1.0], "random": False}}]


def test_a_result_is_small_and_says_what_was_answered(tiny, base):
    run = tiny.make_guided(0, sampled_tokens=None)
    found = json.loads(json.dumps(execute(run, base)))
    assert len(json.dumps(found)) < 20_000
    right = unpack_answers(found["answers"], found["problems"])
    assert right.mean() == found["accuracy"] and len(right) == found["problems"] == 8
    assert found["updates"] == 3 == len(found["lengths"]) == len(found["curves"]["reward"])
    assert found["curve"][0][:2] == [0, 0] and found["curve"][-1][:2] == [3, found["sampled_tokens"]]
    assert found["forward_tokens"] > found["sampled_tokens"] + found["revealed_tokens"] > found["sampled_tokens"] > 0
    assert len(found["solved"]) == 3 and all(len(groups) == 8 for groups in found["solved"])
    again = execute(run, base)
    assert {**again, "seconds": 0} == {**execute(run, base), "seconds": 0}


def test_a_run_that_is_asked_to_keeps_a_run_folder_and_has_the_same_result(tiny, base, tmp_path):
    run = tiny.make_guided(0, sampled_tokens=None)
    plain, recorded = execute(run, base), execute(run, base, out=tmp_path / "run")
    assert {**plain, "seconds": 0} == {**recorded, "seconds": 0}
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"run.json", "config.toml", "groups.jsonl", "problems.jsonl", "rollouts", "checkpoints"} <= names
    assert json.loads((tmp_path / "run/run.json").read_text())["command"] == "study"


def test_a_result_of_a_long_run_is_small_too(tiny):
    rows = [{"reward": 1 / 3, "other": None} for _ in range(1000)]
    assert len(thin_curve(rows, "reward")) == 40 and thin_curve(rows, "other") == [None] * 40


def test_the_base_is_measured_and_not_trained(tiny, base):
    found = execute(tiny.make_run(0), base)
    assert found["updates"] == found["sampled_tokens"] == 0 and "curve" not in found
    zero = execute(tiny.make_plain(0), base)
    assert zero["updates"] > 0


def test_imitation_sees_the_tokens_of_the_run_it_replays(tiny, base):
    guided = tiny.make_guided(0)
    one = execute(guided, base)
    sft = tiny.make_imitation(guided)
    assert sft.needed == [guided]
    two = execute(sft, base, {guided.key: one["lengths"]})
    assert two["revealed_tokens"] == one["revealed_tokens"] > 0 == two["sampled_tokens"]
    assert two["lengths"] == one["lengths"] and two["updates"] == one["updates"]


def test_stages_train_one_policy_and_their_budgets_add_up(tiny, base):
    first = tiny.make_plain(0, sampled_tokens=None, updates=2)
    both = tiny.make_guided(0, sampled_tokens=None, after=first)
    one, two, together = (
        execute(first, base),
        execute(tiny.make_guided(0, sampled_tokens=None), base),
        execute(both, base),
    )
    assert together["updates"] == one["updates"] + two["updates"] == 5
    assert together["sampled_tokens"] > one["sampled_tokens"]
    alone = tiny.make_imitation(tiny.make_guided(0))
    assert Run(alone.base, alone.setting, alone.arm, after=alone).needed == [tiny.make_guided(0)]


def test_problems_in_order_are_measured_in_their_own(tiny, base):
    """A ramp shows easy problems first; accuracy is measured on the same problems as ever."""
    ramp = {"candidates": 2, "span": 4}
    one, two = execute(tiny.make_plain(0), base), execute(tiny.make_plain(0, order=ramp), base)
    assert one["problems"] == two["problems"] == 8
    wider = execute(tiny.make_plain(0, measured={"digits": [1, 2]}), base)
    assert wider["problems"] == 8


def test_answers_come_back_as_they_were():
    right = np.random.default_rng(0).random(37) < 0.5
    assert (unpack_answers(np.packbits(right).tobytes().hex(), 37) == right).all()


def test_a_base_without_a_context_has_the_key_that_it_always_had(tiny):
    plain = Base("g2rpo_env/Addition-v0", {"digits": 4}, WarmStart())
    assert plain.key == "4cffc677ffa3581d" and "strategy" not in to_plain(plain)
    bases = [plain, *(replace(plain, strategy=one) for one in (Refine(), Refine(drafts=2), Conditioned()))]
    assert len({base.key for base in bases}) == 4 and to_plain(bases[1])["strategy"]["class"] == "Refine"
    run = tiny.make_run(0)
    assert "strategy" not in run.config["base"]
    assert replace(run, base=replace(run.base, strategy=Refine())).key != run.key


def test_a_base_is_made_and_measured_under_the_context_of_its_strategy(tiny, tmp_path, monkeypatch):
    made, measured, true = [], [], module.evaluate

    def spy(*given, context, **options):
        measured.append(context)
        return true(*given, context=context, **options)

    warm_start_tiny = module.warm_start_tiny
    monkeypatch.setattr(
        module, "warm_start_tiny", lambda *given, **size: made.append(given[3]) or warm_start_tiny(*given, **size)
    )
    monkeypatch.setattr(module, "evaluate", spy)
    conditioned, refine = Conditioned(), Refine()
    for strategy, warm, bare in ((conditioned, conditioned.context, False), (refine, refine.warm_context, True)):
        run = tiny.make_run(0)
        run = replace(run, base=replace(run.base, strategy=strategy))
        run.base.make(tmp_path / type(strategy).__name__)
        execute(run, tmp_path / type(strategy).__name__)
        assert made[-1] == warm and measured[-1] == (None if bare else warm)


def test_an_agent_of_stages_has_curves_too(tiny, base):
    arm = Arm("veripo", AGENTS["veripo"], guided=False, parts={"grpo": 2, "dpo": 1, "rounds": 1})
    run = tiny.make_run(0, arm, sampled_tokens=None)
    found = execute(run, base)
    assert found["updates"] == 3 and len(found["curves"]["reward"]) == 3 and len(found["solved"]) == 3
    assert found["forward_tokens"] > found["sampled_tokens"] > 0
    alone = execute(tiny.make_run(0, arm, sampled_tokens=None, updates=2), base)
    assert found["forward_tokens"] == alone["forward_tokens"]  # what was kept is not sampled again
