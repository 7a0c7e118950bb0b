"""bench update: both sides have one loss, sides take turns, and rows name what they measured."""

import time
from typing import Any

import pytest
import torch

from g2rpo_env.bench import update
from g2rpo_env.bench.benchmarks import BENCHMARKS
from g2rpo_env.bench.device import Place

SMALL = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "THREADS", 1)


def test_the_cases_are_those_of_the_title() -> None:
    model = update.make_model(**update.SIZES)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(20e6, rel=0.05)
    lengths = update.CASES["spread 1:8"]
    assert max(lengths) == 8 * min(lengths)
    batch = update.make_case(model, lengths)
    assert (batch.weight_NT > 0).sum(-1).tolist() == lengths and float(batch.weight_NT.sum()) == pytest.approx(8)


def test_both_sides_have_the_same_loss_before_and_after_a_step() -> None:
    pytest.importorskip("trl")
    steps = []
    for make in (update.make_our_step, update.make_trl_step):
        model = update.make_model(**SMALL)
        steps.append(make(model, update.make_case(model, [3, 9, 5, 4])))
    for _ in range(2):
        losses = [step() for step in steps]
        update.check_same_loss(*losses)
        assert abs(losses[0]) > 1e-3


def test_a_difference_between_the_sides_is_found() -> None:
    with pytest.raises(AssertionError, match=r"loss 0.5 of ours, 0.5002 of TRL's"):
        update.check_same_loss(0.5, 0.5002)


def test_sides_take_turns_and_medians_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 1, 1, 11, 20, 25, 25, 45, 50, 52, 52, 82])  # a: 1, 5, 2; b: 10, 20, 30
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    order: list[str] = []
    found = update.time_sides({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, Place())
    assert order == list("ababab") and found == {"a": 2, "b": 20}


def test_rows_hold_ratios_and_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    monkeypatch.setattr(update, "SIZES", SMALL)
    monkeypatch.setattr(update, "CASES", {"equal": [4, 4]})
    rows = BENCHMARKS["update"](1)
    values: dict[str, Any] = {row.name.split(",")[0]: row.value for row in rows if row.unit == "ratio"}
    seconds = [row.value for row in rows if row.unit == "s"]
    assert values["TRL / ours"] == seconds[1] / seconds[0] and len(seconds) == 3
    assert values["TRL / backbone alone"] == seconds[1] / seconds[2]
    assert torch.get_num_threads() == 1
