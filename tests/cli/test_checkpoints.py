"""Models that commands take: which folders are one, which environment they belong to, and what is missing in others."""

import json
import shutil
from pathlib import Path

import pytest
from arguments import QUIET, TINY

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.cli.checkpoints import Model, find_model, find_models
from g2rpo_env.cli.options import TorchOptions
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Arm, Setting
from g2rpo_env.experiments.bases import make_base
from g2rpo_env.experiments.runner import run_arm
from g2rpo_env.report.run_folder import RunFolder

ONE = TorchOptions(threads=1)


def budget(envs) -> int:
    """Tokens that an answer may have, by which sums of one digit are known from others."""
    return envs.unwrapped.task.max_new_tokens


def shows_what_is_missing(folder: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        find_model(str(folder))


def test_a_run_gives_its_newest_checkpoint_and_a_checkpoint_itself(trained):
    newest = RunFolder(trained).checkpoints()[-1]
    for source in (trained, newest, trained / "checkpoints"):
        model = find_model(source)
        assert Path(model.weights) == newest
        assert budget(model.make_envs(None)) == Addition(1).max_new_tokens
        assert model.load_policy(ONE).temperature == 1.0


def test_the_temperature_and_the_type_of_the_training_come_with_the_checkpoint(command, tmp_path):
    run = tmp_path / "run"
    options = ["--updates", 1, "--temperature", 0.5, "--dtype", "bfloat16", "--out", run]
    assert command("train", *TINY, *QUIET, *options)[0] == 0
    policy = find_model(run).load_policy(ONE)
    assert policy.temperature == 0.5 and str(policy.model.dtype) == "torch.bfloat16"
    policy = find_model(run).load_policy(TorchOptions(threads=1, dtype="float32"), 2.0)
    assert policy.temperature == 2.0 and str(policy.model.dtype) == "torch.float32"


def test_bases_and_arms_of_a_comparison_say_their_environment(trained, tmp_path, monkeypatch):
    task = {"digits": 1, "traces": {"repeats": 2}}
    setting = Setting("g2rpo_env/Addition-v0", task, {}, 1, 2, updates=1, evaluations=1, evaluation_problems=2)
    policy = find_model(trained).load_policy(ONE)
    reached = type("Result", (), {"steps": 1, "success": 0.0, "reached": True})
    monkeypatch.setattr("g2rpo_env.experiments.bases.warm_start_tiny", lambda *_: (policy, reached))
    base = make_base(setting, None, None, tmp_path / "base")
    run_arm(setting, base, Arm("grpo", "grpo", guided=False), tmp_path / "grpo")
    for source in (base, tmp_path / "grpo", tmp_path / "grpo/checkpoints/000001"):
        model = find_model(source)
        # Solutions of which each step is written twice need a larger budget.
        assert budget(model.make_envs(None)) == budget(setting.make_envs(guided=False)) > Addition(1).max_new_tokens
        model.load_policy(ONE).check_fits(model.make_envs(None))
    shows_what_is_missing(tmp_path, r"must be one model, and holds 3: base, grpo, trained")


def test_an_adapter_is_found_and_its_moved_run_goes_on(command, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    options = ["--lora", 2, "--updates", 2, "--checkpoint-every", 1]
    status, text, error = command("train", *TINY, *QUIET, *options, "--out", run)
    assert status == 0 and "of which 10,944 are trained (LoRA)" in text, error
    assert len(list(run.rglob("model.safetensors"))) == 1
    run.rename(moved)
    assert command("train", "--resume", moved, "--updates", 3)[0] == 0
    assert len(list(moved.rglob("model.safetensors"))) == 1
    assert command("evaluate", moved, "--problems", 4, "--threads", 1)[0] == 0
    assert command("complete", moved / "checkpoints/000003", "1+1=")[1].startswith("1+1=")
    shutil.rmtree(moved / "base")
    status, _, error = command("evaluate", moved, "--problems", 4)
    assert status == 1 and error.count("\n") == 1 and "its model must lie at" in error


def test_weights_in_several_files_are_a_model(trained, tmp_path):
    policy = find_model(trained).load_policy(ONE)
    policy.model.save_pretrained(tmp_path / "pieces", max_shard_size="500KB")
    policy.tokenizer.save_pretrained(tmp_path / "pieces")
    assert len(list((tmp_path / "pieces").glob("*.safetensors"))) > 1
    assert isinstance(find_model(tmp_path / "pieces").load_policy(ONE), CausalLMPolicy)


def test_anything_else_is_refused_with_what_is_missing(trained, tmp_path):
    folder = tmp_path / "folder"
    shows_what_is_missing(folder, "there is no such folder")
    folder.mkdir()
    shows_what_is_missing(folder, "it is empty")
    (folder / "notes.txt").write_text("x")
    shows_what_is_missing(folder, r"no config.json and no checkpoints/")
    shows_what_is_missing(folder / "notes.txt", "is a file")
    (folder / "config.json").write_text("{}")
    shows_what_is_missing(folder, "config.json without weights")
    (folder / "config.json").write_text("{")
    shows_what_is_missing(folder, "config.json' is damaged")
    shutil.copytree(trained, tmp_path / "fresh")
    shutil.rmtree(tmp_path / "fresh/checkpoints")
    shows_what_is_missing(tmp_path / "fresh", "the run has no checkpoint yet")
    assert find_models(tmp_path) == [trained]
    shutil.copytree(RunFolder(trained).checkpoints()[-1], tmp_path / "fresh/base")
    shows_what_is_missing(tmp_path / "fresh", "the run has no checkpoint yet")  # and not the model that it began with


def test_a_name_that_is_no_folder_may_be_one_of_the_hub():
    assert find_model("somebody/some-model").weights == "somebody/some-model"
    for name in ("./some/model", "a/b/c", "model"):
        with pytest.raises(ConfigurationError, match="no such folder"):
            find_model(name)


def test_an_environment_that_is_named_decides(trained, tmp_path):
    model = find_model(trained)
    assert budget(model.make_envs("g2rpo_env/Addition-v0")) == Addition(4).max_new_tokens
    weights = shutil.copytree(model.weights, tmp_path / "alone")
    with pytest.raises(ConfigurationError, match="nothing in .*alone.* says which environment"):
        find_model(weights).make_envs(None)
    config = json.loads((trained / "config.json").read_text())
    (trained / "config.json").write_text(json.dumps({"options": config["options"]}))
    with pytest.raises(ConfigurationError, match="env must be given"):
        find_model(trained).make_envs(None)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"env": 5, "task": []}', "must be an id and its options"),
        ('{"argv": 5}', "must be options of train"),
        ('{"argv": ["--help"]}', "must be options of train"),
        ('{"env": "g2rpo_env/Addition-v0", "task": {"zz": 1}}', "zz=1 is no option of Addition"),
    ],
)
def test_a_config_that_no_run_writes_is_one_message(tmp_path, config, words):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigurationError, match=words):
        Model("run", "nowhere", (tmp_path,)).make_envs(None, None)
