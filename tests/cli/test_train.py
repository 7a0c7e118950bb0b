"""train: the run folder, what equal runs have in common, interruption and resume, and the path of real rows."""

import functools
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from arguments import QUIET, TINY

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.strategies import Conditioned, Refine
from g2rpo_env.cli import train as module
from g2rpo_env.experiments.arms import Arm, Setting
from g2rpo_env.experiments.runner import run_chain
from g2rpo_env.report.run_folder import RunFolder, read_lines


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
        "run.json",
        "config.json",
        "config.toml",
        "metrics.jsonl",
        "groups.jsonl",
        "problems.jsonl",
        "timings.jsonl",
        "evaluations.jsonl",
        "result.json",
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
    found = json.loads((folder / "result.json").read_text())
    assert (found["update"], found["split"], found["problems"]) == (4, "test", 8) and len(found["correct"]) == 8
    assert {"python", "torch", "transformers", "g2rpo_env"} <= run.config["versions"].keys()
    assert run.config["options"]["task"]["digits"] == 1


def test_equal_runs_write_equal_metrics_with_records_on_and_off(train):
    _, _, one = train("one", "--updates", 5, "--rollouts-every", 0)
    _, _, two = train("two", "--updates", 5, "--rollouts-every", 1, "--rollouts-top", 2)
    assert metrics(one) == metrics(two) and not (one / "rollouts").exists()
    assert len(list((two / "rollouts").iterdir())) == 5
    assert (one / "groups.jsonl").read_bytes() == (two / "groups.jsonl").read_bytes()


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


def test_only_a_run_of_train_is_resumed(command, tmp_path):
    (tmp_path / "config.json").write_text('{"algorithm": "grpo", "env": "g2rpo_env/Addition-v0"}')
    status, _, error = command("train", "--resume", tmp_path)
    assert status == 1 and "must be a run with a config.toml, or one that g2rpo-env train started" in error


def test_a_run_of_a_comparison_goes_on_and_is_repeated(command, tmp_path, monkeypatch):
    """Every command takes it, whatever command wrote it; what options cannot say is refused with the reason."""
    setting = Setting(
        "g2rpo_env/Addition-v0", {"digits": 1}, {"length": 4.0, "ratio": 0.5}, 2, 2, updates=2, evaluations=1,
        evaluation_problems=4, curve_problems=4,
    )  # fmt: skip
    envs = setting.make_envs(guided=False)
    CausalLMPolicy.tiny(envs, hidden_size=16, layers=1).save_pretrained(tmp_path / "base")
    arms = [Arm("g2rpo-a", "g2rpo-a", 1e-3), Arm("ppo", AGENTS["ppo"], guided=False)]
    run_chain(setting, tmp_path / "base", arms, tmp_path)
    run = tmp_path / "g2rpo-a"
    first = metrics(run)
    again = tmp_path / "again"
    assert command("train", "--config", run / "config.toml", "--out", again, *QUIET)[0] == 0
    assert metrics(again) == first
    assert command("train", "--resume", run, "--updates", 3)[0] == 0
    assert metrics(run).startswith(first) and len(RunFolder(run).metrics()) == 3
    assert command("train", "--resume", again, "--updates", 3)[0] == 0
    assert metrics(again) == metrics(run)
    assert [row["update"] for row in read_lines(run / "groups.jsonl")] == [1, 1, 2, 2, 3, 3]
    for name in ("g2rpo-a", "ppo"):
        folder = tmp_path / name
        assert command("evaluate", folder, "--problems", 4, "--threads", 1)[0] == 0
        assert command("complete", folder, "1+1=", "--max-new-tokens", 2, "--threads", 1)[0] == 0
        response = ["--problems", 2, "--fractions", 0, "--threads", 1, "--out", tmp_path / f"response-{name}"]
        assert command("response", folder, *response)[0] == 0
        monkeypatch.setattr("sys.stdin", io.StringIO(":quit\n"))
        assert command("play", folder, "--threads", 1)[0] == 0
    status, _, error = command("train", "--resume", tmp_path / "ppo")
    assert status == 1 and "PPOAgent is an agent and no recipe" in error
    assert (tmp_path / "ppo/config.toml").read_text().startswith("# This run cannot be repeated by g2rpo-env train: ")
    status, _, error = command("train", "--resume", tmp_path)
    assert status == 1 and "it holds the runs again, g2rpo-a, ppo (give one, such as " in error
    status, _, error = command("evaluate", tmp_path)
    assert status == 1 and "must be one model, and holds 4: again, base, g2rpo-a, ppo (give one, such as " in error


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


# -- what comes before and after the updates ---------------------------------------------------------------------------


def test_the_base_is_announced_and_can_be_left_out(train):
    _, text, _ = train("measured", "--updates", 1)
    assert "Before update 1 the base is measured; --skip-base leaves that out." in text
    _, text, folder = train("skipped", "--updates", 1, "--skip-base", "--response-problems", 2)
    assert "Before update 1" not in text
    assert [row["update"] for row in RunFolder(folder).evaluations()] == [1]
    assert set(json.loads((folder / "response.json").read_text())) == {"after"}


def test_a_short_run_measures_no_curve_unless_it_is_asked_for(command, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "show_response", lambda policy, envs, problems, when, folder: asked.append(problems))
    evaluation = ["--evaluation-problems", 8, "--evaluate-every", 0]
    _, text, _ = command("train", *TINY, *evaluation, "--updates", 1, "--out", tmp_path / "short")
    assert "No guidance-response curve of so short a run" in text and asked == []
    # 320 updates of 8 answers are as many as two curves of 10 points with 128 problems
    monkeypatch.setattr(module, "run_updates", lambda *arguments: 0)
    command("train", *TINY, *evaluation, "--updates", 320, "--out", tmp_path / "long")
    assert asked == [128, 128]


def test_a_finished_run_is_not_measured_again(train, command, monkeypatch):
    _, _, folder = train("run", "--updates", 2, "--response-problems", 2)
    before = {name: (folder / name).read_bytes() for name in ("response.json", "result.json", "evaluations.jsonl")}
    with monkeypatch.context() as patch:
        patch.setattr(module, "show_response", lambda *arguments: pytest.fail("measured again"))
        patch.setattr(module.GRPO, "evaluate", lambda *arguments, **options: pytest.fail("measured again"))
        status, text, _ = command("train", "--resume", folder)
    assert status == 0 and "Nothing to do: the run has 2 updates, and is measured" in text
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert command("train", "--resume", folder, "--updates", 3)[0] == 0
    assert json.loads((folder / "result.json").read_text())["update"] == 3


def test_ctrl_c_before_update_1_ends_it_at_once_and_it_goes_on(train, command, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "show_response", stop)
        status, text, folder = train("run", "--updates", 1, "--response-problems", 2)
    assert status == 130 and "Stopped before update 1; go on with: g2rpo-env train --resume" in text
    assert command("train", "--resume", folder)[0] == 0
    assert [row["update"] for row in RunFolder(folder).evaluations()] == [0, 1]  # that of the base is not made twice


# -- settings without a gradient ---------------------------------------------------------------------------------------


def test_groups_of_one_are_refused_before_a_folder_is_made(command, tmp_path):
    options = [*TINY[:4], "--group-size", 1, *TINY[6:], *QUIET, "--out", tmp_path / "run"]
    for recipe in ("grpo", "g2rpo-a", "reinforce"):
        status, _, error = command("train", *options, "--recipe", recipe)
        assert status == 1 and "group_size=1 must be at least 2" in error and not (tmp_path / "run").exists()
    assert command("train", *options, "--recipe", "raft", "--updates", 1)[0] == 0


def test_what_a_recipe_is_refused_for_is_found_before_the_warm_start(command, tmp_path):
    options = [*TINY[:6], *TINY[8:], *QUIET, "--warm-start", "always", "--out", tmp_path / "run"]
    for more, words in (
        (["--recipe", "igrpo", "--strategy.drafts", 5], "drafts=5 must be at most group_size=4"),
        (["--recipe", "gac", "--max-length", 31], "must fit with contexts that are 3 tokens longer"),
        (
            ["--recipe", "hint-grpo", "--guidance.place", "answer"],
            "place='answer' of the guidance wrapper must be 'prompt'",
        ),
    ):
        status, text, error = command("train", *options, *more)
        assert status == 1 and words in error and "Warm start" not in text and not (tmp_path / "run").exists()


def test_a_budget_that_holds_no_answer_is_refused_and_one_that_holds_no_solution_is_named(command, tmp_path):
    options = ["--digits", 3, *TINY[2:], *QUIET, "--recipe", "grpo", "--updates", 10, "--out", tmp_path / "run"]
    status, _, error = command("train", *options, "--max-new-tokens", 2)
    assert status == 1 and "max_new_tokens=2 must be at least 3" in error and not (tmp_path / "run").exists()
    status, text, error = command("train", *options, "--max-new-tokens", 3)
    assert status == 0 and "None of 64 solutions and its end token fits into max_new_tokens=3" in text
    assert "10 updates in a row had no gradient: no answer is right, and most are cut at max_new_tokens" in error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"episodes": 0}, "nothing was sampled"),
        ({"reward": 0.0, "truncated": 0.8}, "no answer is right, and most are cut"),
        ({"reward": 0.0}, "no answer is right; reveal more"),
        ({}, "the members of each group have equal rewards"),
        ({"groups_with_signal": 0.5}, "no token that was learnt from"),
    ],
)
def test_why_there_is_no_gradient_is_said_from_the_metrics(changes, words):
    metrics = {"episodes": 8, "truncated": 0.5, "reward": 1.0, "groups_with_signal": 0.0, **changes}
    assert module.explain_no_gradient(metrics).startswith(words)


# -- damaged runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "training_state.pt"])
def test_a_truncated_checkpoint_is_named_and_the_one_before_it_taken(train, command, name):
    _, _, whole = train("whole", "--updates", 5)
    _, _, folder = train("run", "--updates", 4, "--checkpoint-every", 2)
    path = folder / "checkpoints/000004" / name
    path.write_bytes(path.read_bytes()[:-20])
    status, _, error = command("train", "--resume", folder, "--updates", 5)
    assert status == 0, error
    assert "checkpoints/000004 can not be used: " in error and name in error
    assert "Going on from the checkpoint before it" in error and "000002" in error
    assert metrics(folder) == metrics(whole)
    assert [one.name for one in RunFolder(folder).checkpoints()] == ["000004", "000005"]


def test_without_a_whole_checkpoint_the_run_is_refused(train, command):
    _, _, folder = train("run", "--updates", 1)
    (folder / "checkpoints/000001/model.safetensors").write_bytes(b"")
    status, _, error = command("train", "--resume", folder)
    assert status == 1 and "no checkpoint in" in error and "model.safetensors is damaged" in error


def test_metrics_that_are_gone_or_garbled_are_named(train, command):
    _, _, folder = train("run", "--updates", 3)
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "%%%\n" + lines[2])
    status, _, error = command("train", "--resume", folder, "--updates", 4)
    assert status == 1 and "metrics.jsonl, line 2: not valid JSON" in error
    path.write_text(lines[0] + lines[2])
    status, _, error = command("train", "--resume", folder, "--updates", 4)
    assert status == 1 and "must hold the updates 1 to 3" in error
    path.unlink()
    status, _, error = command("train", "--resume", folder, "--updates", 4)
    assert status == 1 and "metrics.jsonl must hold the updates 1 to 3" in error
    path.write_text("".join(lines))
    assert command("train", "--resume", folder, "--updates", 4)[0] == 0


def test_data_that_changed_since_the_run_began_is_named(command, tmp_path, gsm8k_folder):
    options = ["--max-new-tokens", 8, "--problems", 1, "--group-size", 2, "--warm-start", "never", "--threads", 1]
    data, out = ["--env", "g2rpo_env/GSM8K-v0", "--data", gsm8k_folder], tmp_path / "run"
    assert command("train", *data, *options, *QUIET, "--updates", 1, "--out", out)[0] == 0
    with (gsm8k_folder / "test.jsonl").open("a") as file:
        file.write('{"question": "One more?", "answer": "#### 1"}\n')
    status, _, error = command("train", "--resume", out, "--updates", 2)
    assert status == 1 and "has changed since the run" in error and "(test.jsonl)" in error


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:633] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/12: file write failed"),
    ],
)
def test_a_full_disk_gives_one_line_and_keeps_what_was_whole(train, monkeypatch, error):
    save = module.GRPO.save

    def fails(agent, folder):
        if agent.updates == 4:
            (folder / "half").parent.mkdir(parents=True)
            raise error
        save(agent, folder)

    monkeypatch.setattr(module.GRPO, "save", fails)
    status, text, folder = train("run", "--updates", 6, "--checkpoint-every", 2)
    assert status == 1 and "the checkpoint of update 4 could not be written" in text and "MB are free" in text
    assert "Traceback" not in text
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["000002"]


def test_a_full_disk_in_the_middle_of_a_line_is_one_line_too(train, monkeypatch):
    def fails(self, row, seconds):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "record", fails)
    status, text, _ = train("run", "--updates", 1)
    assert status == 1 and "No space left on device" in text


DOCS = Path(__file__).parents[2] / "docs" / "environments.md"


def docs_task():
    """The task of the docs as a user pastes it: the lines behind the prompts of its blocks."""
    section = DOCS.read_text(encoding="utf-8").partition("## A task of your own")[2].partition("Before you train")[0]
    lines = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", section, re.MULTILINE)
    end = next(i for i, line in enumerate(lines) if line.startswith("own ="))
    return "import g2rpo_env\n" + "\n".join(lines[:end])


UNTYPED = """
def make_untyped(split="train", tokenizer=None, max_new_tokens=16):
    return Task(Reversed(split), AfterTheMark(), tokenizer=tokenizer, max_new_tokens=max_new_tokens)


def make_loose(split="train", **options):
    return make_task(split, **options)
"""


@pytest.mark.parametrize("name", ["make_task", "make_untyped", "make_loose"])
def test_the_task_of_the_docs_trains_as_it_is_pasted(command, tmp_path, monkeypatch, name):
    text = docs_task() + UNTYPED
    text += f"\ng2rpo_env.register_task('Reversed-v0', f'{{__name__}}:{name}', namespace='pasted')\n"
    (tmp_path / "pasted_task.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    argv = ["train", "--env", "pasted_task:pasted/Reversed-v0", *TINY[2:], *QUIET, "--out", tmp_path / "run"]
    argv += ["--evaluate-every", 0]
    argv += [] if name == "make_loose" else ["--max-new-tokens", 12]
    try:
        status, out, err = command(*argv, "--guidance.length", 2, "--updates", 1)
        assert status == 0, err
        assert "3 problems in the train split" in out
        if name == "make_untyped":
            assert command("train", "--resume", tmp_path / "run", "--updates", 2)[0] == 0
            assert command("evaluate", tmp_path / "run", "--problems", 1)[0] == 0
    finally:
        gym.registry.pop("pasted/Reversed-v0", None)
        sys.modules.pop("pasted_task", None)


# -- help --------------------------------------------------------------------------------------------------------------


def help_of(command, capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        command("train", *argv)
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def test_help_begins_with_the_common_options_and_has_the_rest_by_topic(command, capsys):
    common = help_of(command, capsys, "--help")
    assert "--env" in common and "--digits" in common and "--skip-base" in common
    assert "--warm.success" not in common and "--evaluate-every" not in common
    assert "More options: --help TOPIC, one of run, warm, task, guidance," in " ".join(common.split())
    warm = help_of(command, capsys, "--recipe", "grpo", "--help", "warm")
    assert "--warm.success" in warm and "--env" not in warm.replace("--env,", "")
    run = help_of(command, capsys, "-h", "run")
    assert "--evaluate-every" in run and "--digits" not in run
    everything = help_of(command, capsys, "--help", "all")
    for name in ("--env", "--evaluate-every", "--warm.success", "--optimizer.epochs", "--guidance.ratio"):
        assert name in everything


def test_a_topic_that_there_is_not_is_named_and_the_help_says_where_recipes_are_listed(command, capsys):
    status, _, error = command("train", "--help", "warn")
    assert status == 1 and "help='warn' must be one of run, warm, task" in error and "did you mean 'warm'" in error
    text = help_of(command, capsys, "--help")
    assert "g2rpo-env list recipes" in " ".join(text.split())


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


def test_a_warm_start_is_under_the_context_of_the_strategy(command, tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    asked, true = [], module.load_or_warm_start

    def spy(*given, context, **options):
        asked.append(context)
        return true(*given, context=context, **options)

    monkeypatch.setattr(module, "load_or_warm_start", spy)
    options = [*QUIET, "--digits", 1, "--problems", 2, "--group-size", 4, "--threads", 1, "--updates", 1]
    options += ["--warm.success", 0.0, 1.0, "--warm.samples", 8]
    for recipe, words in (
        ("igrpo", " under the context of Refine"),
        ("gac", " under the context of Conditioned"),
        ("grpo", ""),
    ):
        status, text, error = command("train", *options, "--recipe", recipe, "--out", tmp_path / recipe)
        assert status == 0, error
        assert f"solutions{words}, measured" in text
    assert [one and (one.__self__, one.__name__) for one in asked] == [
        (Refine(), "warm_context"), (Conditioned(), "context"), None
    ]  # fmt: skip
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_an_agent_of_stages_is_refused_with_how_to_train_it(command, tmp_path):
    status, _, error = command("train", *TINY, "--recipe", "veripo", "--out", tmp_path / "run")
    assert status == 1 and "compare --algorithms veripo" in error and not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_one_line_and_trackers_change_no_metrics(command, train, tmp_path, monkeypatch):
    status, _, error = command("train", *TINY, *QUIET, "--track", "wandbb", "--out", tmp_path / "run")
    assert status == 1 and error.count("\n") == 1 and not (tmp_path / "run").exists()
    assert "track='wandbb' must be one of tensorboard, aim" in error and "did you mean 'wandb'?" in error
    few = ["--updates", 2, "--evaluate-every", 0]
    monkeypatch.setattr("g2rpo_env.report.trackers._list_classes", dict)  # as where accelerate is not installed
    status, text, one = train("one", *few, "--track", "tensorboard", "wandb")
    assert status == 0 and text.count("Warning: track='wandb' could not be started") == 1
    _, _, two = train("two", *few, "--track")
    assert metrics(one) == metrics(two)
    assert list(one.glob("events*")) and not list(two.glob("events*"))
    status, _, _ = command("train", "--resume", one, "--updates", 3)
    assert status == 0 and len(RunFolder.open(one).metrics()) == 3
