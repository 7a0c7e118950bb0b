"""compare: arms from names, one base per seed, paired differences on the same problems."""

import json

import pytest

from g2rpo_env.cli.compare import make_arms
from g2rpo_env.cli.study import Arm
from g2rpo_env.errors import ConfigurationError


def test_arms_have_one_rate_for_all_or_one_each():
    assert make_arms("grpo, sft", ()) == [Arm("grpo", "grpo", None), Arm("sft", "sft", None)]
    assert [arm.learning_rate for arm in make_arms("grpo,sft", (0.1,))] == [0.1, 0.1]
    assert [arm.learning_rate for arm in make_arms("grpo,sft", (0.1, 0.2))] == [0.1, 0.2]
    for names, rates in (("", ()), ("grpo,grpo", ()), ("grpo,sft", (1, 2, 3))):
        with pytest.raises(ConfigurationError):
            make_arms(names, rates)


@pytest.mark.long
def test_two_algorithms_on_two_seeds_from_a_given_base(command, trained, tmp_path):
    from g2rpo_env.report.run_folder import RunFolder

    base = RunFolder(trained).checkpoints()[-1]
    options = ["--digits", 1, "--problems", 2, "--group-size", 2, "--updates", 2, "--evaluation-problems", 6]
    options += ["--algorithms", "grpo,g2rpo-a", "--seeds", 0, 1, "--policy", base, "--guidance.length", 4]
    status, text, error = command("compare", *options, "--out", tmp_path / "compare")
    assert status == 0, error
    rows = json.loads((tmp_path / "compare/results.json").read_text())
    assert [(row["algorithm"], row["seed"]) for row in rows] == [
        ("grpo", 0), ("g2rpo-a", 0), ("grpo", 1), ("g2rpo-a", 1)
    ]  # fmt: skip
    assert "above grpo" in text and "of 2 seeds" in text
    assert command("compare", *options, "--out", tmp_path / "compare")[0] == 1
