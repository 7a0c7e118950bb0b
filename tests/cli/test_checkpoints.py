"""Sources of a policy that commands take, and the temperature that goes with it."""

import pytest
from arguments import QUIET, TINY

from g2rpo_env.cli.checkpoints import find_weights, load_policy
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.report.run_folder import RunFolder


def test_a_run_gives_its_newest_checkpoint_and_a_folder_itself(trained):
    newest = RunFolder(trained).checkpoints()[-1]
    assert find_weights(trained) == newest
    assert find_weights(newest) == newest


def test_anything_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for source in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match="must be a run folder with a checkpoint"):
            find_weights(source)


def test_the_temperature_of_the_training_comes_with_the_checkpoint(command, tmp_path):
    run = tmp_path / "run"
    assert command("train", *TINY, *QUIET, "--updates", 1, "--temperature", 0.5, "--out", run)[0] == 0
    assert load_policy(run).temperature == 0.5
    assert load_policy(run, 2.0).temperature == 2.0
