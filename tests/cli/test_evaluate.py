"""evaluate: the numbers of a run or a folder, printed and written."""

import json

from g2rpo_env.report.run_folder import RunFolder

ONE = ["--threads", 1]


def test_a_run_is_evaluated_on_its_own_environment(command, trained):
    status, text, _ = command("evaluate", trained, *ONE, "--problems", 8)
    assert status == 0 and "Greedy unguided accuracy on 8 test problems" in text


def test_a_folder_needs_an_environment_and_says_the_same_as_its_run(command, trained, tmp_path):
    folder = RunFolder(trained).checkpoints()[-1]
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
