"""bench memory: a fresh process per peak, the excess and its ratios, and what a failed process says."""

import pytest

from g2rpo_env.bench import memory, update
from g2rpo_env.bench.benchmarks import BENCHMARKS
from g2rpo_env.errors import ConfigurationError

PEAKS = {
    ("backbone", 256): 1000.0, ("backbone", 1024): 2000.0, ("backbone", 2048): 3000.0,
    ("ours", 256): 1400.0, ("ours", 1024): 2410.0, ("ours", 2048): 3440.0, ("TRL", 1024): 4820.0,
}  # fmt: skip


def test_excess_and_ratios_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure_peak", lambda side, tokens: PEAKS[side, tokens])
    rows = {row.name: row.value for row in BENCHMARKS["memory"](1)}
    assert rows["excess over the backbone, ours, 256 tokens"] == 400
    assert rows["excess of ours, 2048 / 256 tokens"] == pytest.approx(440 / 400)
    assert rows["peak, ours / TRL, 1024 tokens"] == 0.5
    assert rows["excess, ours / TRL, 1024 tokens"] == pytest.approx(410 / 2820)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(ConfigurationError, match="side='nobody' with 20 tokens did not finish: (.|\n)*KeyError"):
        memory.measure_peak("nobody", 20)


@pytest.mark.parametrize("side", ["ours", "TRL", "backbone"])
def test_every_side_leaves_gradients(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if side == "TRL":
        pytest.importorskip("trl")
    model = update.make_model(300, 32, 1)
    caught: list[bool] = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: caught.append(bool(p.grad.abs().max() > 0)))
    memory.SIDES[side](model, update.make_case(model, [4, 4]))
    assert caught and any(caught)


@pytest.mark.long
def test_a_peak_is_that_of_the_process() -> None:
    # the embedding of 151,936 words of 256 numbers alone is 148 MiB, and its gradient as much again
    assert 296 < memory.measure_peak("backbone", 20) < 4000
