"""bench verify: pairs are read as the file says, mistakes are counted on their own side."""

import json
from pathlib import Path

import pytest

from g2rpo_env.bench.verify import (
    bench_verify,
    measure_batch,
    measure_numbers,
    measure_rollout,
    read_pairs,
    score,
)
from g2rpo_env.errors import ConfigurationError


def test_pairs_are_boxed_as_the_file_says_and_conventions_left_out(tmp_path: Path) -> None:
    rows = [
        {"gold": "1", "pred": "1", "wrap": "boxed", "expected": 1},
        {"gold": "2", "pred": "so 3", "wrap": "gold-boxed", "expected": 0},
        {"gold": "$4$", "pred": "4", "wrap": "none", "expected": 1},
        {"gold": "50%", "pred": "50", "wrap": "none", "expected": 1, "convention": True},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_pairs(path) == [
        (r"\boxed{1}", r"\boxed{1}", True),
        (r"\boxed{2}", "so 3", False),
        ("$4$", "4", True),
    ]


def test_mistakes_are_counted() -> None:
    pairs = [("a", "a", True), ("a", "b", False), ("a", "c", True), ("a", "a", False)]
    rows = score("text", lambda gold, text: gold == text, pairs)
    assert [row.value for row in rows[:3]] == [0.5, 1, 1]


def test_numbers_are_checked() -> None:
    assert measure_numbers(1, 100) > 0


def test_a_rollout_and_the_check_of_its_answers_take_time() -> None:
    assert measure_batch([(str(n), f"#### {n}") for n in range(64)]) > 0
    assert measure_rollout(1) > 0


def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G2RPO_DATA", "nowhere")
    with pytest.raises(ConfigurationError, match="nowhere"):
        bench_verify(1)
