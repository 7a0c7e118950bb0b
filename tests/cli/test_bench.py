"""cli bench: the file holds what was printed, bad options are named."""

import json
from pathlib import Path

import pytest

from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.cli import bench
from g2rpo_env.errors import ConfigurationError


def test_the_file_holds_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rows = [Measurement("stepping", 1234.5, "tokens/s"), Measurement("ours / theirs", 2.5, "ratio")]
    monkeypatch.setitem(bench.BENCHMARKS, "env", lambda repeats: rows)
    bench.main(["env", "--json", str(tmp_path / "b.json")])
    found = json.loads((tmp_path / "b.json").read_text())
    assert found[1] == {"name": "ours / theirs", "value": 2.5, "unit": "ratio"} and len(found) == 2
    shown = capsys.readouterr().out
    assert "1,234" in shown and "2.50" in shown


@pytest.mark.parametrize("argv,message", [(["gpu"], "what='gpu'"), (["env", "--repeats", "0"], "repeats=0")])
def test_bad_options_are_named(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        bench.main(argv)


@pytest.mark.parametrize("arguments", [["sandbox", "--soak", "0"], ["env", "--soak", "5"]])
def test_a_soak_is_of_the_sandbox_and_counts_up(arguments: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="soak=. must be at least 1"):
        bench.main(arguments)
