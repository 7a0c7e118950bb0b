"""evaluate: the numbers of a run or a folder, printed and written."""

import json
import shutil

import torch

from g2rpo_env.agents.threads import _Record
from g2rpo_env.report.run_folder import RunFolder

ONE = ["--threads", 1]


def test_a_run_is_evaluated_on_its_own_environment(command, trained):
    status, text, _ = command("evaluate", trained, *ONE, "--problems", 8)
    assert status == 0 and "Greedy unguided accuracy on 8 test problems" in text


def test_a_folder_needs_an_environment_and_says_the_same_as_its_run(command, trained, tmp_path):
    folder = shutil.copytree(RunFolder(trained).checkpoints()[-1], tmp_path / "folder")
    status, _, error = command("evaluate", folder)
    assert status == 1 and "env must be given" in error
    files = [tmp_path / "run.json", tmp_path / "folder.json"]
    options = ["--mode", "sampled", "--k", 1, 2, "--samples", 4, "--problems", 6]
    assert command("evaluate", trained, *ONE, *options, "--json", files[0])[0] == 0
    named = ["--env", "g2rpo_env/Addition-v0", "--digits", 1]
    assert command("evaluate", folder, *ONE, *named, *options, "--json", files[1])[0] == 0
    one, other = (json.loads(file.read_text()) for file in files)
    assert one == other
    assert one["samples"] == 4 and set(one["pass_at"]) == {"1", "2"}


def test_the_response_curve_on_request(command, trained):
    status, text, _ = command("evaluate", trained, *ONE, "--problems", 4, "--response-problems", 2)
    assert status == 0
    assert "Guidance response" in text and "before_answer" in text


def test_rules_of_the_arguments(command, trained):
    assert "k=(4,) must lie in [1, 1]" in command("evaluate", trained, *ONE, "--k", 4)[2]
    assert "split='exam'" in command("evaluate", trained, *ONE, "--split", "exam")[2]


def test_outcomes_and_three_answers_are_shown_and_written(command, trained, tmp_path):
    file = tmp_path / "found.json"
    status, text, _ = command("evaluate", trained, *ONE, "--problems", 5, "--json", file)
    assert status == 0
    found = json.loads(file.read_text())
    assert sum(found["outcomes"].values()) == 5 and set(found["outcomes"]) == {"correct", "wrong", "no_answer", "error"}
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        assert f"  {example['problem_id']}: {example['outcome']}" in text
    unread = found["outcomes"]["no_answer"]
    assert f"{unread} no_answer, 0 error; {found['truncated']} truncated at max_new_tokens=17" in text
    assert unread == 5  # random weights know no form of answers
    assert "Warning: 5 of 5 answers hold no final answer that the verifier can read" in text


def test_a_model_may_be_named_by_an_option_and_threads_are_said_once(command, trained, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(_Record.number)
    status, text, error = command("evaluate", "--problems", 4, "--model", trained)
    assert status == 0 and text == command("evaluate", trained, *ONE, "--problems", 4)[1]
    assert error == "1 torch thread: 357,360 parameters, more would wait for each other (--threads decides)\n"


def test_the_type_of_the_weights_and_the_device_are_checked(command, trained):
    assert command("evaluate", trained, *ONE, "--problems", 2, "--dtype", "bfloat16")[0] == 0
    assert "dtype='int8' must name a floating-point" in command("evaluate", trained, "--dtype", "int8")[2]
    assert "device='mars' must be a torch device" in command("evaluate", trained, "--device", "mars")[2]
    assert "threads=0 must be at least 1" in command("evaluate", trained, "--threads", 0)[2]
