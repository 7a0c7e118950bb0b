"""CodeDataset: asserts, checks and scripts by any field names, reasoning as steps, and rows that lack something."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import opened

from g2rpo_env.envs.coding.codedata import CodeDataset, Rows, read_cases
from g2rpo_env.errors import ConfigurationError, DataError

SOLUTION = "def f(x):\n    y = x + 1\n    return y\n"
ASSERTS = {"prompt": "Add one.", "solution": SOLUTION, "asserts": ["assert f(1) == 2"]}
CHECK = {
    "prompt": "def f(x):\n", "canonical_solution": "    y = x + 1\n    return y\n", "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
}  # fmt: skip
SCRIPT = {
    "question": "Sum.", "solutions": ["a, b = map(int, input().split())\nprint(a + b)\n", "pass"],
    "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
}  # fmt: skip
THOUGHT = {**ASSERTS, "reasoning": "Take x.\n\nAdd 1 to it.\n", "solution": f"```python\n{ASSERTS['solution']}```\n"}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_kinds_in_one_file_verify(tmp_path: Path) -> None:
    opened().close()
    task = CodeDataset(written(tmp_path, ASSERTS, CHECK, SCRIPT, THOUGHT))
    problems = list(task.source.longest())
    assert [p.problem_id for p in problems] == [f"rows/{i}" for i in range(4)]
    assert [p.prompt for p in problems] == ["Add one.\n", "def f(x):\n", "Sum.\n", "Add one.\n"]
    assert all(v.correct for v in task.verifier(problems, [p.solution for p in problems]))
    wrong = ["def f(x): return x", "    return x", "print(3)", "```\ndef f(x): return x\n```"]
    assert not any(v.correct for v in task.verifier(problems, wrong))
    share = CodeDataset(task.source.rows.data, reward="share").verifier(problems[2:3], ["print(3)"])
    assert share[0].reward == 0.5  # one of the two cases


def test_reasoning_comes_before_the_code_line_by_line(tmp_path: Path) -> None:
    problem = Rows(written(tmp_path, THOUGHT)).load("train").get("rows/0")
    assert problem.steps == (
        "Take x.\n", "\n", "Add 1 to it.\n", "```python\n", "def f(x):\n", "    y = x + 1\n",
    )  # fmt: skip
    assert problem.final == "    return y\n```\n"


def test_fields_of_other_names_are_mapped(tmp_path: Path) -> None:
    row = {"q": "Add one.", "answer_code": ASSERTS["solution"], "checks": ["assert f(1) == 2"]}
    fields = ("prompt=q", "solution=answer_code", "asserts=checks")
    problem = Rows(written(tmp_path, row), fields=fields, template="Q: {prompt}\n").load("test").get("rows/0")
    assert problem.prompt == "Q: Add one.\n" and problem.asserts == ("assert f(1) == 2",)
    with pytest.raises(ConfigurationError, match="fields: 'promt=q' must read ROLE=FIELD, with a role of prompt"):
        Rows("x.jsonl", fields=("promt=q",))


def test_rows_without_a_solution_can_be_tested_on(tmp_path: Path) -> None:
    row = {k: v for k, v in SCRIPT.items() if k != "solutions"}
    problem = Rows(written(tmp_path, row)).load("test").get("rows/0")
    assert problem.steps == () and problem.final == "# no solution is known\n"


@pytest.mark.parametrize(
    "value",
    [
        {"inputs": ["1"], "outputs": ["2"]},
        [{"input": "1", "output": "2"}],
        [{"input": "1", "output": "2", "testtype": "stdin"}],
        [["1", "2"]],
    ],
)
def test_cases_are_read_in_every_spelling(value: Any) -> None:
    assert read_cases(value, "here") == read_cases(json.dumps(value), "here") == (("1", "2"),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "not valid JSON"),
        (5, "must be a list of cases, got int"),
        ([], "must be pairs of texts, at least one"),
        ([[1, 2]], "must be pairs of texts"),
        ([["1"]], "a case must be an object with input and output"),
        ({"inputs": ["1"], "outputs": []}, "as many 'inputs' as 'outputs'"),
        ({"inputs": [[1]], "outputs": [2], "fn_name": "f"}, "calls the function 'f'"),
        ([{"input": "1", "output": "2", "testtype": "functional"}], "testtype 'functional'"),
    ],
)
def test_bad_cases_are_named(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"here.*{message}"):
        read_cases(value, "here")


def test_mistakes_are_named(tmp_path: Path) -> None:
    for row, message in (
        ({"solution": "x", "asserts": ["a"]}, "line 1: no field for the prompt"),
        ({"prompt": "x", "solution": "y"}, "line 1: no tests among"),
        ({k: v for k, v in CHECK.items() if k != "entry_point"}, "line 1: field 'test' needs 'entry_point'"),
        ({**CHECK, "entry_point": "f()"}, "line 1: field 'entry_point' must be the name of a function"),
    ):
        with pytest.raises(DataError, match=message):
            CodeDataset(written(tmp_path, row))
    path = written(tmp_path, ASSERTS)
    for options, message in (
        ({}, "data must be given"),
        ({"data": path, "compare": "near"}, "compare='near' must be one of exact"),
        ({"data": path, "split": "dev"}, "split='dev' must be one of"),
        ({"data": path, "template": "x"}, "must hold '{prompt}' exactly once"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            CodeDataset(**options)
    with pytest.raises(ConfigurationError, match="one file that serves as 'train'"):
        CodeDataset(path).with_split("test")
