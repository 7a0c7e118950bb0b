"""play: a person's lines become steps; Enter alone takes the ground truth's next token."""

import io

import pytest
from rich.console import Console

from g2rpo_env import TokenEnv
from g2rpo_env.cli.checkpoints import find_model
from g2rpo_env.cli.options import TorchOptions
from g2rpo_env.cli.play import play_episode
from g2rpo_env.envs.arithmetic import Addition


def play(lines, **reset_options):
    env = TokenEnv(Addition(digits=1))
    env.reset(seed=0, options={"problem": "3+9", **reset_options})
    console = Console(file=io.StringIO(), width=100)
    finished = play_episode(env, iter(lines), console)
    return finished, console.file.getvalue()


def test_the_right_answer_is_rewarded():
    finished, text = play(["3+9+0=12\\n", "#12", ":end"])
    assert finished
    assert "reward 1  verdict correct  answer '12'  (terminated)" in text


def test_enter_alone_goes_through_the_ground_truth_to_the_end():
    finished, text = play([""] * 13, reveal=3)  # "9+3+0=12\n#12" has 12 tokens and the end token, three are revealed
    assert finished and "verdict correct" in text
    assert not play([""] * 9, reveal=3)[0]


def test_enter_after_a_mistake_steps_nothing():
    finished, text = play(["7", "", ""])
    assert not finished and text.splitlines()[-1] == "3+9=7"
    assert text.count("(the ground truth does not begin like this; :end hands the answer in)") == 2


def test_quit_leaves_and_tokens_shows_roles():
    finished, text = play([":tokens", ":quit", ":end"], reveal=1)
    assert not finished
    assert "prompt" in text and "revealed" in text and "sampled" not in text


def test_the_command_reads_standard_input_to_its_end(command, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("#5\n"))
    status, text, _ = command("play", "--digits", "1")
    assert status == 0 and "#5" in text


@pytest.mark.parametrize("line", ["#12", "12"])
def test_a_spent_budget_ends_the_episode(line):
    env = TokenEnv(Addition(digits=1, max_new_tokens=2))
    env.reset(options={"problem": "3+9"})
    console = Console(file=io.StringIO(), width=100)
    assert play_episode(env, iter([line]), console)
    assert "truncated: the budget is spent" in console.file.getvalue()


def test_a_model_answers_on_the_environment_of_its_run(command, trained, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(":tokens\n:model\n"))
    status, text, _ = command("play", trained, "--threads", 1)
    assert status == 0 and "the model goes on from here" in text
    prompt = next(line for line in text.splitlines() if line.endswith("=") and "+" in line)
    assert len(prompt) == len("1+2=")  # one digit, as in the training
    model = find_model(trained)
    expected = model.load_policy(TorchOptions(threads=1)).complete(prompt, 17).rstrip("\n").splitlines()[0]
    assert prompt + expected in text and "verdict" in text


def test_an_input_that_ends_too_early_is_said(command, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, text, _ = command("play", "--digits", "1")
    assert status == 0 and "(the input has ended before the answer was handed in)" in text


def test_an_input_that_is_closed_has_ended_and_one_that_is_no_text_is_refused(command, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    status, text, _ = command("play", "--digits", "1")
    assert status == 0 and "the input has ended" in text
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"))
    status, _, error = command("play", "--digits", "1")
    assert status == 1 and "the input must be text: 'utf-8' codec" in error
