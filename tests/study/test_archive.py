"""Archive: results that were packed are those of the folder that they are unpacked into, as far as tables show them."""

import json

import pytest

from g2rpo_env.errors import ResumeError
from g2rpo_env.study.archive import CODE, pack, read_lines, unpack
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import TableRow
from g2rpo_env.study.report import make_cells
from g2rpo_env.study.runner import Runner, StudyFolder

OPTIONS = {"form": "tests", "seeds": [0]}


@pytest.fixture
def done(tiny, tmp_path):
    """A folder with two results, and their runs."""
    folder = StudyFolder.open(tmp_path / "study", OPTIONS)
    runs = [tiny.make_guided(0), tiny.make_run(0)]
    Runner(folder, 1, stream=open("/dev/null", "w")).do(runs)
    return folder, runs


def test_what_was_packed_gives_the_same_table_elsewhere(done, tiny, tmp_path):
    folder, runs = done
    assert pack(folder, [*runs, tiny.make_plain(0)], tmp_path / "data" / "results.jsonl") == 2
    other = StudyFolder.open(tmp_path / "other", OPTIONS)
    assert unpack(tmp_path / "data" / "results.jsonl", other) == 2
    assert unpack(tmp_path / "data" / "results.jsonl", other) == 0
    part = Part(tiny, (TableRow("guided", (runs[0],)), TableRow("base", (runs[1],))))
    cells = []
    for one in (folder, other):
        results = {run.key: one.get_result(run) for run in runs}
        found = Found(part, results)
        cells.append([make_cells(found, label) for label in ("guided", "base")])
        assert found.mean("guided", "seconds") > 0 and results[runs[0].key]["lengths"]
    assert cells[0] == cells[1]


def test_a_file_gains_lines_and_loses_none(done, tiny, tmp_path):
    folder, runs = done
    path = tmp_path / "results.jsonl"
    assert pack(folder, runs[:1], path) == 1
    assert pack(folder, runs[1:], path) == 2
    assert len([key for key in read_lines(path) if key.startswith(CODE)]) == 1


def test_results_of_other_code_are_refused_from_a_file_too(done, tmp_path):
    folder, runs = done
    path = tmp_path / "results.jsonl"
    pack(folder, runs, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (code,) = [line for line in lines if line["key"].startswith(CODE)]
    code["modules"]["g2rpo_env.agents.grpo"] = "changed"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = StudyFolder.open(tmp_path / "other", OPTIONS)
    unpack(path, other)
    with pytest.raises(ResumeError, match="g2rpo_env.agents.grpo changed since"):
        other.get_result(runs[0])


@pytest.mark.parametrize("text", ["{", "[1]", "{}"])
def test_a_damaged_line_is_named(tmp_path, text):
    path = tmp_path / "results.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ResumeError, match="line 1 is no result"):
        read_lines(path)
