"""Damage of every kind in every field of a run folder: a page, or one error that names the file; never a traceback."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run_of_sums, write_run

from g2rpo_env.errors import G2RPOError
from g2rpo_env.report.page import make_page

WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, 1e308, -0.0, "", "x", "\ud800", [], [None], [[]], [1] * 3, {}, {"a": {"b": []}},
    {"__proto__": 1}, [{}], "9" * 5000, 2**63, 0.5, ["a", 1], [[1, 2], [3]],
)  # fmt: skip


def damage(value: Any, rng: random.Random) -> Any:
    """Return data with one value in it, at any depth, replaced or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {key: inner for key, inner in value.items() if key != name}
        return {**value, name: damage(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        place = rng.randrange(len(value))
        return [*value[:place], damage(value[place], rng), *value[place + 1 :]]
    return rng.choice(WRONG)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run folder."""
    records, problems = make_run_of_sums((1,))
    return write_run(tmp_path_factory.mktemp("whole") / "run", records, problems=problems)


NAMES = (
    "run.json", "config.json", "result.json", "metrics.jsonl", "timings.jsonl", "evaluations.jsonl", "groups.jsonl",
    "problems.jsonl", "rollouts/000001.jsonl",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_damage_gives_a_page_or_one_error_with_the_file(whole: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    lines = (whole / name).read_text().splitlines()
    refused = 0
    for seed in range(60):
        rng = random.Random(f"{name} {seed}")
        place = rng.randrange(len(lines))
        changed = json.dumps(damage(json.loads(lines[place]), rng))
        (run / name).write_text("\n".join([*lines[:place], changed, *lines[place + 1 :], ""]))
        try:
            make_page([run])
        except G2RPOError as error:
            refused += 1
            assert name in str(error) and len(str(error)) < 500
    assert refused or name in ("config.json", "result.json", "metrics.jsonl", "timings.jsonl")


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_any_kind_give_a_page_or_one_error(whole: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    text = (whole / name).read_bytes()
    for seed in range(40):
        rng = random.Random(seed)
        place = rng.randrange(len(text))
        (run / name).write_bytes(text[:place] + rng.randbytes(rng.randrange(4)) + text[place + rng.randrange(3) :])
        try:
            make_page([run])
        except G2RPOError as error:
            assert name in str(error)
