"""The schemas of docs/schemas: real runs of every kind keep them, and version 1 of the rollouts does too."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.credits import Regulated
from g2rpo_env.cli.app import main
from g2rpo_env.experiments.arms import Arm, Setting
from g2rpo_env.experiments.runner import run_chain
from g2rpo_env.report.records import Recording

ROOT = Path(__file__).parents[2]
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "docs/schemas").glob("*.json"))}


def read(path: Path) -> list:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    return [json.loads(line, parse_constant=lambda word: pytest.fail(f"{path} has {word}")) for line in lines]


def check(folder: Path) -> set[str]:
    """Check every file of a run that has a schema, and return the names of these schemas."""
    seen = set()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jsonl"), *folder.glob("rollouts/*.jsonl")]):
        name = "rollouts" if path.parent.name == "rollouts" else path.stem
        if name == "response":
            continue
        seen.add(name)
        validator = jsonschema.Draft202012Validator(SCHEMAS[name])
        rows = read(path)
        assert rows, path
        for row in rows:
            validator.validate(row)
    return seen


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_a_run_of_train_keeps_the_schemas(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    options = "--digits 1 --problems 2 --group-size 4 --warm-start never --threads 1 --response-problems 0 --updates 2"
    options += " --evaluation-problems 4 --guidance.length 4 --rollouts-top 2 --optimizer.epochs 2 --out"
    assert main(["train", *options.split(), str(tmp_path / "run")]) == 0
    assert check(tmp_path / "run") == set(SCHEMAS)
    assert any(any(row["top"]) for row in read(tmp_path / "run/rollouts/000001.jsonl"))


def test_compared_runs_keep_the_schemas_whatever_trains(tmp_path):
    setting = Setting(
        "g2rpo_env/Addition-v0", {"digits": 1}, {"length": 9.0, "ratio": 0.5, "place": "prompt"}, problems=1,
        group_size=4, updates=3, evaluation_problems=4, evaluations=1, curve_problems=4,
    )  # fmt: skip
    CausalLMPolicy.tiny(setting.make_envs(guided=False), hidden_size=16, layers=1).save_pretrained(tmp_path / "base")
    arms = [
        Arm("guided", "grpo", 1e-3, parts={"credit": Regulated()}),
        Arm("reroll", "guide@unguided", guided=True),
        Arm("drafts", "igrpo", guided=False),
        Arm("staged", AGENTS["veripo"], 1e-3, guided=False, parts={"grpo": 2, "dpo": 1, "rounds": 1}),
    ]
    recording = Recording(every=1, top=1, command="compare", argv=("--seed", "0"))
    for arm in arms:
        run_chain(setting, tmp_path / "base", [arm], tmp_path / "runs", recording=recording)
        assert check(tmp_path / "runs" / arm.label) == set(SCHEMAS)
        facts = read(tmp_path / "runs" / arm.label / "run.json")[0]
        assert (facts["command"], facts["argv"], facts["label"]) == ("compare", ["--seed", "0"], arm.label)
    run_chain(setting, tmp_path / "base", [replace(arms[0], label="ppo", algorithm=AGENTS["ppo"], parts={})], tmp_path)
    assert check(tmp_path / "ppo") == set(SCHEMAS) - {"groups", "problems", "rollouts"}  # it keeps no such record


def test_rollouts_of_version_1_keep_theirs():
    validator = jsonschema.Draft202012Validator(SCHEMAS["rollouts"])
    folder = ROOT / "tests/fixtures/5ebc9d2/run/rollouts"
    rows = [row for path in sorted(folder.glob("*.jsonl")) for row in read(path)]
    assert len(rows) > 3
    for row in rows:
        validator.validate(row)
