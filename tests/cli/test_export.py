from pathlib import Path

import pytest
from run_folders import make_run_of_sums, write_run

from g2rpo_env.cli.app import main


def test_it_writes_a_table_and_says_how_many_rows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    records, _ = make_run_of_sums((1,))
    run = write_run(tmp_path / "run", records)
    assert main(["export", str(run), "--format", "jsonl", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'episodes.jsonl'}: 16 episodes\n"
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "episodes.parquet").stat().st_size > 1000
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
