"""MBPP: rows by hand, splits by number, the sanitised format, and the real rows."""

import json
from pathlib import Path
from typing import Any

import pytest
from opening import opened

from g2rpo_env.envs.coding.mbpp import MBPP, SPLITS, Rows
from g2rpo_env.errors import ConfigurationError, DataError


def row(number: Any, **changes: Any) -> dict[str, Any]:
    good = {"task_id": number, "text": "Add {tests} one.", "code": "def f(x):\r\n\ty = x + 1\r\n\treturn y",
            "test_list": ["assert f(1) == 2", "assert f(0) == 1"], "test_setup_code": ""}  # fmt: skip
    return {**good, **changes}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "mbpp.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_row_becomes_a_problem(tmp_path: Path) -> None:
    problem = Rows(written(tmp_path, row(601, test_setup_code="import math"))).load("train").get("MBPP/601")
    assert problem.prompt == '"""\nAdd {tests} one.\nassert f(1) == 2\nassert f(0) == 1\n"""\n'
    assert problem.steps == ("def f(x):\r\n", "\ty = x + 1\r\n") and problem.final == "\treturn y"
    assert (problem.setup, problem.head, problem.asserts[1]) == ("import math", "", "assert f(0) == 1")


def test_splits_are_by_number(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, *(row(n) for n in (1, 10, 11, 510, 511, 600, 601, 974))))
    found = {split: [p.problem_id for p in rows.load(split).longest()] for split in SPLITS}
    assert found == {
        "prompt": ["MBPP/1", "MBPP/10"], "test": ["MBPP/11", "MBPP/510"], "validation": ["MBPP/511", "MBPP/600"],
        "train": ["MBPP/601", "MBPP/974"], "warmstart": ["MBPP/601", "MBPP/974"],
    }  # fmt: skip
    assert rows.load("train").with_split("test").split == "test"


def test_the_sanitised_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sanitized-mbpp.json"
    sane = row(602, prompt="Add one.", test_imports=["import math", "import re"])
    del sane["text"], sane["test_setup_code"]
    path.write_text(json.dumps([sane]))
    problem = Rows(path, sanitized=True).load("train").get("MBPP/602")
    assert problem.prompt.startswith('"""\nAdd one.\n') and problem.setup == "import math\nimport re\n"
    with pytest.raises(ConfigurationError, match="sanitized=True needs the sanitised file"):
        Rows(written(tmp_path, row(601)), sanitized=True).load("train")


def test_the_hub_is_asked_for_the_right_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*name: str, split: str) -> list[dict[str, Any]]:
        asked.append((*name, split))
        return [row(601)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert Rows().load("warmstart").num_problems == Rows(sanitized=True).load("train").num_problems == 1
    assert asked == [
        ("google-research-datasets/mbpp", "full", "train"), ("google-research-datasets/mbpp", "sanitized", "train"),
    ]  # fmt: skip


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, row(601))
    with pytest.raises(ConfigurationError, match="split='dev' must be one of train"):
        MBPP(path, split="dev")
    with pytest.raises(ConfigurationError, match=r"split='test' is empty: the data hold no task_id in \[11, 510\]"):
        MBPP(path, split="test")
    with pytest.raises(ConfigurationError, match="must hold '{text}' exactly once"):
        MBPP(path, template="no")
    for bad, message in (
        (row("x"), "line 1: field 'task_id' must be a whole number"),
        (row(601, code=""), "line 1: field 'code'"),
        (row(601, test_list=[]), "line 1: field 'test_list' must be a list of texts"),
    ):
        with pytest.raises(DataError, match=message):
            MBPP(written(tmp_path, bad))


def test_the_real_rows_verify(data_folder: Path) -> None:
    opened().close()
    rows = Rows(data_folder / "MBPP/mbpp.jsonl")
    sizes = {split: rows.load(split).num_problems for split in SPLITS}
    assert sizes == {"train": 374, "validation": 90, "test": 500, "prompt": 10, "warmstart": 374}
    task = MBPP(data_folder / "MBPP/mbpp.jsonl", split="validation", timeout=15)
    problems = list(task.source.longest())
    assert all(v.correct for v in task.verifier(problems, [p.solution for p in problems]))
    assert not any(v.correct for v in task.verifier(problems, ["".join(p.steps) for p in problems]))
