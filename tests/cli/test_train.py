"""train: the run folder, what equal runs have in common, interruption and resume, and the path of real rows."""

import functools
import json
import os
import re
import signal
import sys

import pytest
import torch
from arguments import QUIET, TINY

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.cli import train as module
from g2rpo_env.report.run_folder import RunFolder


def metrics(folder):
    return (folder / "metrics.jsonl").read_bytes()


@pytest.fixture
def train(command, tmp_path):
    def run(name, *argv):
        status, out, err = command("train", *TINY, *QUIET, "--guidance.length", 4, "--out", tmp_path / name, *argv)
        return status, out + err, tmp_path / name

    return run


def test_a_run_leaves_what_it_promises(train):
    status, text, folder = train("run", "--updates", 4, "--evaluate-every", 2, "--rollouts-every", 2)
    assert status == 0
    names = {p.name.split(".tfevents")[0] for p in folder.iterdir()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "timings.jsonl",
        "evaluations.jsonl",
        "checkpoints",
        "rollouts",
        "curves.png",
        "events.out",
    }
    run = RunFolder.open(folder)
    assert [row["update"] for row in run.metrics()] == [1, 2, 3, 4]
    assert [row["update"] for row in run.evaluations()] == [0, 2, 4]
    assert "unlimited generated problems" in text and "update 4/4" in text
    assert "Greedy unguided accuracy on 8 test problems" in text


def test_equal_runs_write_equal_metrics_with_evaluation_on_and_off_and_other_seeds_other_ones(train):
    _, _, one = train("one", "--updates", 5, "--evaluate-every", 2)
    _, _, two = train("two", "--updates", 5, "--evaluate-every", 0)
    _, _, other = train("other", "--updates", 5, "--seed", 1)
    assert metrics(one) == metrics(two)
    assert metrics(one) != metrics(other)


@pytest.mark.parametrize("which", ["positive", "entropy"])
def test_weights_that_require_something_are_saved_with_the_rollouts(train, which):
    options = ["--recipe", "g2rpo-a", "--guidance.length", 4, "--guidance.ratio", 0.5, "--token-weight.which", which]
    status, text, folder = train(which, "--updates", 2, "--rollouts-every", 1, *options)
    assert status == 0, text
    records = [json.loads(line) for path in sorted(folder.glob("rollouts/*.jsonl")) for line in path.open()]
    assert len(records) == 16
    for record in records:
        revealed = [w for w, role in zip(record["weights"], record["roles"], strict=True) if role == 1]
        sampled = [w for w, role in zip(record["weights"], record["roles"], strict=True) if role == 2]
        assert all(w > 0 for w in sampled) and len(revealed) == record["reveal"]
        counted = sum(w > 0 for w in revealed)
        if which == "positive":
            assert counted == (record["reveal"] if record["advantage"] > 0 else 0)
        else:
            assert counted == (1 if record["reveal"] else 0)  # a fifth of 4, rounded up


def test_a_run_interrupted_after_update_7_and_resumed_equals_one_that_was_not(train, command, monkeypatch):
    _, _, whole = train("whole", "--updates", 10)
    true = module.Training._record

    def interrupt(self, row, seconds):
        if self.agent.updates == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return true(self, row, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(module.Training, "_record", interrupt)
        status, text, broken = train("broken", "--updates", 10)
    assert status == 130 and "Stopped after update 7; go on with" in text
    assert len(metrics(broken).splitlines()) == 7
    status, _, _ = command("train", "--resume", broken)
    assert status == 0
    assert metrics(broken) == metrics(whole)


def test_a_killed_run_goes_on_from_its_last_checkpoint_or_anew(train, command):
    _, _, whole = train("whole", "--updates", 6)
    _, _, short = train("short", "--updates", 4, "--checkpoint-every", 2)
    # as if it had been killed in update 6: lines after the checkpoint of update 4
    with (short / "metrics.jsonl").open("a") as file:
        file.write('{"update": 5}\n{"upd')
    assert command("train", "--resume", short, "--updates", 6)[0] == 0
    assert metrics(short) == metrics(whole)
    _, _, lost = train("lost", "--updates", 3)
    for checkpoint in RunFolder(lost).checkpoints():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    assert command("train", "--resume", lost, "--updates", 6)[0] == 0
    assert metrics(lost) == metrics(whole)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda tokens, *_: torch.empty(1 << 60), r"update 4: .* microbatch_tokens"),
        (lambda tokens, *_: torch.full(tokens.shape, torch.nan), r"update 4: .* group \d+, member \d is nan"),
    ],
    ids=["out of memory", "nan"],
)
def test_a_run_that_fails_keeps_its_folder_and_goes_on_from_its_last_checkpoint(
    train, command, monkeypatch, broken, words
):
    options = "--recipe", "sft", "--updates", 5  # each of its updates has exactly one pass
    _, _, whole = train("whole", *options)
    right = CausalLMPolicy.token_log_probs
    calls = iter(range(1000))

    def breaks(policy, *args):
        return broken(*args) if next(calls) >= 3 else right(policy, *args)

    with monkeypatch.context() as patch:
        patch.setattr(CausalLMPolicy, "token_log_probs", breaks)
        status, text, folder = train("broken", *options, "--checkpoint-every", 2)
    assert status == 1 and re.search(words, text) and "Traceback" not in text
    assert [row["update"] for row in RunFolder.open(folder).metrics()] == [1, 2, 3]
    assert len(RunFolder.open(folder).checkpoints()) > 0
    assert command("train", "--resume", folder)[0] == 0
    assert metrics(folder) == metrics(whole)


def test_an_existing_run_is_refused_and_left_as_it_was(train):
    _, _, folder = train("run", "--updates", 1)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    status, text, _ = train("run", "--updates", 2)
    assert status == 1 and "already holds a run" in text and "--resume" in text
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_folder_with_other_things_in_it_is_refused_as_that(train, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("buy milk")
    status, text, folder = train("notes")
    assert status == 1 and "something is there already" in text and "--resume" not in text
    assert [p.name for p in folder.iterdir()] == ["todo.txt"]


def test_a_policy_that_is_none_is_named_and_leaves_nothing_behind(train, monkeypatch):
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", staticmethod(_no_hub))
    status, text, folder = train("run", "--policy", "org/model")
    assert status == 1 and not folder.exists()
    assert "policy='org/model' must be a Hugging Face folder or the Hub name" in text and "no Hub" in text


def _no_hub(name):
    raise OSError(f"there is no Hub to ask for {name}\nnor anything else")


def _with_a_hub(true, local, name, **given):
    return true(local if name == "org/model" else name, **given)


def test_a_policy_of_the_hub_brings_its_tokenizer_to_the_environment(train, tmp_path, monkeypatch, merging_tokenizer):
    """A name that is no folder: what the Hub would give comes from a folder here."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    local = tmp_path / "local"
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(merging_tokenizer), **size)).save_pretrained(local)
    merging_tokenizer.save_pretrained(local)
    for kind in (AutoTokenizer, AutoModelForCausalLM):
        fake = functools.partial(_with_a_hub, kind.from_pretrained, local)
        monkeypatch.setattr(kind, "from_pretrained", fake)
    status, _, folder = train("run", "--policy", "org/model", "--updates", 1)
    assert status == 0 and metrics(folder)
    saved = AutoTokenizer.from_pretrained(RunFolder(folder).checkpoints()[-1])
    assert saved.get_vocab() == merging_tokenizer.get_vocab()


def test_a_resume_takes_no_other_options(train, command):
    _, _, folder = train("run", "--updates", 1)
    for extra in (["--seed", "3"], ["--digits=2"]):
        status, _, error = command("train", "--resume", folder, *extra)
        assert status == 1 and "only --updates may be given beside it" in error


def test_a_default_that_changed_since_the_run_began_is_named(train, command):
    _, _, folder = train("run", "--updates", 1)
    config = json.loads((folder / "config.json").read_text())
    config["options"]["temperature"] = 0.5
    (folder / "config.json").write_text(json.dumps(config))
    status, _, error = command("train", "--resume", folder)
    assert status == 1 and "temperature=1.0 must be 0.5" in error


def test_options_reach_the_parts(train):
    _, _, folder = train("run", "--updates", 1, "--optimizer.learning-rate", "0.5", "--controller.max-factor", "None")
    parts = json.loads((RunFolder(folder).checkpoints()[-1] / "agent.json").read_text())["recipe"]
    assert parts["optimizer"]["options"]["learning_rate"] == 0.5
    assert parts["controller"]["options"]["max_factor"] is None
    assert parts["controller"]["options"]["length"] == 4


@pytest.mark.parametrize("recipe", ["grpo", "guided-grpo", "g2rpo-a-masked", "sft", "raft"])
def test_every_recipe_trains(command, tmp_path, recipe):
    status, _, error = command("train", *TINY, *QUIET, "--recipe", recipe, "--updates", 2, "--out", tmp_path / "run")
    assert status == 0, error


def test_gsm8k_rows_from_a_folder_with_the_curve_before_and_after(command, tmp_path, gsm8k_folder):
    status, text, error = command(
        "train", "--env", "g2rpo_env/GSM8K-v0", "--data", gsm8k_folder, "--max-new-tokens", 8, "--problems", 2,
        "--group-size", 2, "--updates", 2, "--warm-start", "never", "--response-problems", 4,
        "--evaluation-problems", 2, "--threads", 1, "--out", tmp_path / "run",
    )  # fmt: skip
    assert status == 0, error
    assert "5 problems in the train split" in text
    curves = json.loads((tmp_path / "run/response.json").read_text())
    assert set(curves) == {"before", "after"}
    for points in curves.values():
        assert [(p["reveal_cap"], p["fraction"]) for p in points] == [
            (cap, fraction) for cap in ("final_answer", "before_answer") for fraction in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]


def test_one_file_of_rows_trains_without_the_other_splits(command, tmp_path, gsm8k_folder):
    status, text, error = command(
        "train", "--env", "g2rpo_env/GSM8K-v0", "--data", gsm8k_folder / "train.jsonl", "--max-new-tokens", 4,
        "--problems", 1, "--group-size", 2, "--updates", 1, "--warm-start", "never", "--threads", 1,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert status == 0, error
    assert "No test split" in text and "No validation split" in text
    assert len(RunFolder(tmp_path / "run").metrics()) == 1


def test_a_malformed_row_is_named_by_file_and_line(command, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "#### 1"}\n{"question": \n')
    rows, out = tmp_path / "rows.jsonl", tmp_path / "run"
    status, _, error = command("train", "--env", "g2rpo_env/GSM8K-v0", "--data", rows, "--out", out)
    assert status == 1 and "rows.jsonl, line 2: not valid JSON" in error


def test_an_adapter_without_its_library_is_refused_before_anything_is_made(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    status, text, folder = train("lora", "--lora", 2)
    assert status == 1 and "LoRA needs peft" in text and not folder.exists()
    assert "lora=0 must be at least 1" in train("lora", "--lora", 0)[1]


def test_a_run_goes_on_with_the_threads_that_it_began_with(train, command):
    folder = train("threads", "--updates", 1)[-1]
    config = json.loads((folder / "config.json").read_text())
    assert config["threads"] == 1
    place = config["argv"].index("--threads")
    config["argv"][place : place + 2] = []
    config["options"]["threads"] = None
    config["threads"] = 3  # as chosen for the machine that the run began on
    (folder / "config.json").write_text(json.dumps(config))
    assert command("train", "--resume", folder, "--updates", 2)[0] == 0
    assert torch.get_num_threads() == 3
