import json
from pathlib import Path

import numpy as np
import pytest
from run_folders import make_run_of_sums, write_run

from g2rpo_env.report.index import (
    IndexBuilder,
    bootstrap,
    flatten,
    get_answers,
    make_command,
    make_metrics,
    make_result,
    pair_results,
    sum_seconds,
)
from g2rpo_env.report.reader import RunFiles, read_runs


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    """A run with recorded updates 1 and 2."""
    records, problems = make_run_of_sums((1, 2))
    return read_runs(write_run(tmp_path / "run", records, problems=problems))[0]


def build(run: RunFiles) -> dict:
    """Return the index of a run with all its records."""
    builder = IndexBuilder(run)
    for update, path in run.rollouts:
        for record in run.read(update, path):
            builder.add(record, 0)
        builder.add_chunk(f"chunk-{update}", update or 0, 16)
    return builder.build()


def test_groups_and_episodes_are_columns(run: RunFiles) -> None:
    index = build(run)
    assert index["groups"]["size"] == [4] * 8 and index["groups"]["problem"] == [0, 1, 2, 3] * 2
    assert index["groups"]["correct"][:8] == [0, 0, 0, 0, 1, 1, 0, 0] and len(index["groups"]["reward"]) == 32
    answers = [None if a is None else index["answers"][a] for a in index["groups"]["answer"][4:8]]
    assert answers == ["46", "46", "45", "36"]
    assert index["episodes"]["place"][:3] == [0, 1, 2] and index["episodes"]["place"][16] == 0
    assert index["episodes"]["roles"][4] == 0b111 and index["problems"][1][:2] == ["12+34", "12+34="]
    assert json.loads(json.dumps(index, allow_nan=False)) == index


def test_without_groups_jsonl_they_come_from_the_records(run: RunFiles) -> None:
    bare = RunFiles(**{**vars(run), "groups": (), "problems": ()})
    one, other = build(run), build(bare)
    assert one["groups"] == other["groups"] and not other["every_group"]
    assert other["problems"][1][1] == "12+34=" and other["problems"][1][4] is None


def test_lenient_tasks_have_a_truth(run: RunFiles) -> None:
    assert IndexBuilder(run).truth is None
    lenient = RunFiles(**{**vars(run), "facts": {"task": {"grading": {"passing": 0.5}}}})
    assert IndexBuilder(lenient).truth == {"47+38": "85", "12+34": "46", "20+11": "31", "55+16": "71"}


def test_nested_data_becomes_pairs_of_texts() -> None:
    value = {"a": {"b": 1, "c": [1, None]}, "d": "/data/me/x", "e": None, "f": {}}
    pairs = [["a.b", "1"], ["a.c", "[1, null]"], ["d", "…/x"], ["e", "null"], ["f", "{}"]]
    assert flatten(value) == pairs and flatten(None) == [] and flatten(3, "x") == [["x", "3"]]


def test_a_command_line_is_quoted() -> None:
    assert make_command({"command": "train", "argv": ["--prompt", "a b", 3]}) == "g2rpo-env train --prompt 'a b'"
    assert make_command({}) == "" and make_command({"command": "demo", "argv": None}) == "g2rpo-env demo"


def test_metrics_are_numbers_or_nothing() -> None:
    rows = [{"update": 1, "a": 1.0, "b": "x"}, {"b": 2}, {"update": 2, "c": None, "a": True}]
    assert make_metrics(rows) == [["update", [1, 2]], ["a", [1.0, None]]] and make_metrics([]) == []
    assert sum_seconds([{"update": 1, "seconds": 0.5}, {"update": 2, "seconds": 1.25}, {}]) == [[1, 0.5], [2, 1.75]]


def test_results() -> None:
    assert make_result({}) is None and make_result({"accuracy": "x"}) is None
    assert make_result({"accuracy": 0.5, "interval": [0.1]}) == {"accuracy": 0.5, "interval": None, "split": ""}
    assert get_answers({"problem_ids": ["a", "b"], "correct": [[1, 0], [1]]}) == {"a": 0.5, "b": 1.0}
    for wrong in ({}, {"problem_ids": ["a"], "correct": []}, {"problem_ids": ["a"], "correct": [["x"]]}):
        assert get_answers(wrong) == {}


def test_pairs_of_runs_on_the_same_problems(run: RunFiles) -> None:
    def other(correct: list[int], **facts: str) -> RunFiles:
        result = {"problem_ids": ["t0", "t1", "t2", "t9"], "correct": [[c] for c in correct]}
        return RunFiles("b", run.root, {**run.facts, **facts}, result=result)

    ((i, j, difference, low, high, problems),) = pair_results([run, other([0, 1, 0, 1])])
    assert (i, j, problems) == (0, 1, 3) and difference == pytest.approx(-2 / 3) and low <= difference <= high <= 0
    assert pair_results([run, other([0, 1, 0, 1], env="x")]) == []
    assert bootstrap(np.array([1.0, 1.0])) == (1.0, 1.0, 1.0)
