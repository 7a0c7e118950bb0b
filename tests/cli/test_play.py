"""play: a person's lines become steps; Enter alone takes the ground truth's next token."""

import dataclasses
import io
import math
import re

import pytest
from rich.console import Console

from g2rpo_env import TokenEnv
from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.cli.checkpoints import find_model
from g2rpo_env.cli.options import TorchOptions
from g2rpo_env.cli.play import Watched, play_episode
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.guidance import GuidanceWrapper


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


def test_the_likeliest_tokens_are_shown_before_each_step_and_the_taken_one_after(command, trained, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n:model 2\n:quit\n"))
    status, text, _ = command("play", "--policy", trained, "--top", 3, "--threads", 1)
    assert status == 0
    shown = re.findall(r"entropy ([0-9.]+) nats((?:  (?:'.*?'|<[0-9]+>) [0-9.]+){3})\n", text)
    assert len(shown) == 4  # before the first step, after "1", between the two of the model, after them
    for entropy, tokens in shown:
        probs = [float(one) for one in re.findall(r"['>] ([0-9.]+)", tokens)]
        assert probs == sorted(probs, reverse=True) and sum(probs) <= 1.002 and 0 <= float(entropy) < math.log(300)
    taken = re.findall(r"took ((?:'.*?'|<[0-9]+>) [0-9.]+)\n", text)
    assert taken[0].startswith("'1'") and len(taken) == 3
    for one, (_, tokens) in zip(taken[1:], shown[1:], strict=False):
        assert tokens.startswith(f"  {one}")  # the model takes the likeliest one


def test_the_entropy_is_that_of_the_distribution_that_the_policy_samples_from():
    env = TokenEnv(Addition(digits=1))
    env.reset(seed=0, options={"problem": "3+9"})
    policy = CausalLMPolicy.tiny(env, hidden_size=16, layers=1)
    policy.truncation = dataclasses.replace(policy.truncation, top_k=1)
    watched = Watched(policy, env)
    text = watched.describe_next(5).plain
    assert text.startswith("entropy 0.00 nats") and " 1.000" in text and "nan" not in text
    assert "\ufffd" not in text and re.search(r"  <\d+> 0.000", text)  # bytes that are no characters
    assert watched.find_log_probs() is watched.find_log_probs()
    first = list(watched.write(1))
    env.step(first[0])
    env.reset(seed=0, options={"problem": "3+9"})
    assert list(watched.write(1)) == first  # the same context again, after another one


def test_the_reveal_changes_while_playing_and_stays_for_later_problems():
    env = GuidanceWrapper(TokenEnv(Addition(digits=1)))
    env.reset(seed=0, options={"problem": "3+9"})
    console = Console(file=io.StringIO(), width=100)
    assert not play_episode(env, ["1", ":reveal 3", ":tokens", ":reveal x", ":reveal -1", ":reveal nan"], console)
    text = console.file.getvalue()
    assert text.splitlines()[:3] == ["3+9=", "3+9=1", "3+9=3+9"] and text.count("revealed") == 3
    assert "(:reveal x must be followed by a number of tokens, at least 0)" in text
    assert text.count("(length=") == 2 and env.length == 3
    assert env.reset(seed=1)[1]["reveal_length"] == 3


@pytest.mark.parametrize("line", [":model 0", ":model x", ":model 1.5"])
def test_a_number_of_tokens_that_is_none_is_said(line):
    env = TokenEnv(Addition(digits=1))
    env.reset(options={"problem": "3+9"})
    console = Console(file=io.StringIO(), width=100)
    watched = Watched(CausalLMPolicy.tiny(env, hidden_size=16, layers=1), env)
    assert not play_episode(env, [line], console, watched)
    assert f"({line} must be followed by a number of tokens, at least 1)" in console.file.getvalue()


def test_likeliest_tokens_need_a_model(command):
    status, _, error = command("play", "--top", 5)
    assert status == 1 and error.startswith("g2rpo-env play: top=5 needs a model") and error.count("\n") == 1
    assert "top=-1 must be at least 0" in command("play", "--top", -1)[2]


def test_text_that_looks_like_markup_or_drives_terminals_is_shown_as_it_is(chat_tokenizer):
    env = TokenEnv(Addition(digits=1, tokenizer=chat_tokenizer))
    env.reset(options={"problem": "3+9"})
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    watched = Watched(CausalLMPolicy.tiny(env, hidden_size=16, layers=1), env)
    play_episode(env, ["#[/bold]", "[link=x]\x1b[2J\u202e", ":end"], console, watched, top=300)
    text = console.file.getvalue()
    assert "[/bold]" in text and "[link=x]" in text and "\x1b[2J" not in text and "\\x1b" in text
