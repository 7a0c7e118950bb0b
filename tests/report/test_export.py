import json
from pathlib import Path

import pytest
from run_folders import SAMPLED, make_record, make_run_of_sums, write_run

from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.report.export import export
from g2rpo_env.report.reader import read_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three recorded updates."""
    records, problems = make_run_of_sums()
    records.append(make_record([(SAMPLED, ["a\ud800", "\0<b>"])], update=6, group=99, problem_id="\udfff", seed=[1]))
    return write_run(tmp_path / "run", records, problems=problems)


def test_both_formats_hold_the_same_rows(run: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    lines, count = export(read_runs(run), "jsonl", tmp_path / "out")
    table, again = export(read_runs(run), "parquet", tmp_path / "out")
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert count == again == len(rows) == 49 and rows == parquet.read_table(table).to_pylist()
    assert rows[4]["prompt"] == "12+34=" and rows[4]["revealed"] == "2+4+0=06\n" and rows[4]["true_answer"] == "46"
    assert rows[13]["suspicions"] == ["copied"] and rows[4]["outcome"] == "correct" and rows[4]["guided"]
    assert rows[-1]["sampled"] == "a\ufffd\0<b>" and rows[-1]["problem_id"] == "\ufffd" and rows[-1]["seed"] == "[1]"


def test_nothing_is_overwritten_and_no_half_file_is_left(run: Path, tmp_path: Path) -> None:
    export(read_runs(run), "jsonl", tmp_path / "out")
    with pytest.raises(ConfigurationError, match="nothing is overwritten"):
        export(read_runs(run), "jsonl", tmp_path / "out")
    path = run / "rollouts" / "000003.jsonl"
    path.write_text(path.read_text() + "{}\n")
    for kind in ("jsonl", "parquet"):
        with pytest.raises(DataError, match="000003.jsonl:17"):
            export(read_runs(run), kind, tmp_path / "half")
    assert list((tmp_path / "half").iterdir()) == []


def test_a_run_without_tokens_and_an_unknown_format(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="format='csv' must be one of parquet, jsonl"):
        export(read_runs(run), "csv", tmp_path)
    with pytest.raises(DataError, match="must hold recorded tokens"):
        export(read_runs(write_run(tmp_path / "bare", [])), "jsonl", tmp_path / "out")
    empty = write_run(tmp_path / "empty", [])
    (empty / "rollouts").mkdir()
    (empty / "rollouts" / "000001.jsonl").write_text("")
    with pytest.raises(DataError, match="are empty"):
        export(read_runs(empty), "parquet", tmp_path / "out")
