"""Provenance: versions of what is installed, checksums of the files that hold rows, plain data."""

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import gymnasium as gym
import torch

from g2rpo_env import __version__
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.report.provenance import Origin, describe_run, get_checksums, get_versions, hash_weights, to_plain


def test_versions_are_those_of_this_process():
    versions = get_versions()
    assert versions["python"] == platform.python_version() and versions["g2rpo_env"] == __version__
    assert versions["torch"] == metadata.version("torch") and versions["transformers"] == metadata.version(
        "transformers"
    )


def test_a_file_and_a_folder_of_rows_have_checksums_and_names_have_none(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text("{}")
    (tmp_path / "data/notes.txt").write_text("not rows")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/train.jsonl").write_text("hidden")
    digest = hashlib.sha256(b"{}").hexdigest()
    assert get_checksums({"data": str(tmp_path)}) == {"data/train.jsonl": digest}
    assert get_checksums({"data": tmp_path / "data/train.jsonl"}) == {"train.jsonl": digest}
    assert (
        get_checksums({"data": "openai/gsm8k"}) == get_checksums({"digits": 3}) == get_checksums({"data": None}) == {}
    )


def test_dataclasses_and_paths_become_plain():
    @dataclass
    class Point:
        x: int
        where: Path

    assert json.dumps(to_plain({"point": Point(1, Path("a/b")), "pair": (1, 2)})) == (
        '{"point": {"x": 1, "where": "a/b"}, "pair": [1, 2]}'
    )


def test_a_run_says_its_weights_its_parts_and_where_it_runs():
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=4, digits=1)
    policies = [CausalLMPolicy.tiny(envs, seed, hidden_size=16, layers=1) for seed in (0, 0, 1)]
    origin = Origin(
        "train", ("--seed", "0"), "run", "g2rpo_env/Addition-v0", {"digits": 1}, None, "grpo", 0, 2, None, 1, 4
    )
    facts = [describe_run(origin, policy, recipes.get("grpo")) for policy in policies]
    assert facts[0]["initial_weights"] == facts[1]["initial_weights"] != facts[2]["initial_weights"]
    assert facts[0]["recipe"]["loss"]["class"] == "ClippedSurrogate" and facts[0]["argv"] == ["--seed", "0"]
    assert facts[0]["parameters"] == sum(p.numel() for p in policies[0].model.parameters())
    assert (facts[0]["device"], facts[0]["dtype"]) == ("cpu", "float32") and facts[0]["task"] == {"digits": 1}
    assert describe_run(origin, policies[0])["recipe"] is None


def test_weights_of_16_bits_and_single_numbers_have_a_hash():
    model = torch.nn.Module()
    model.one, model.two = (
        torch.nn.Parameter(torch.tensor(1.0)),
        torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    )
    before = hash_weights(model)
    with torch.no_grad():
        model.two[1] = 2
    assert len(before) == 16 and hash_weights(model) != before
