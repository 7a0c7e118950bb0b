"""The command: every subcommand has help, our own errors are one line, other errors keep their traceback."""

import subprocess
import sys

import pytest

from g2rpo_env import __version__
from g2rpo_env.cli import app
from g2rpo_env.errors import ConfigurationError


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        app.main([name, "--help"])
    assert stop.value.code == 0
    assert f"g2rpo-env {name}" in capsys.readouterr().out


def test_python_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "g2rpo_env", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == __version__


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train", "--env", "g2rpo_env/Adition-v0"], "env='g2rpo_env/Adition-v0' must be one of g2rpo_env/AIME-v0, "),
        (["train", "--env", "g2rpo_env/Adition-v0"], "did you mean 'g2rpo_env/Addition-v0'?"),
        (["play", "--env", "CartPole-v1"], "env='CartPole-v1' must be one of"),
        (["train", "--seed", "-1"], "seed=-1 must be at least 0"),
        (["train", "--threads", "0"], "threads=0 must be at least 1"),
        (["train", "--temperature", "0"], "temperature=0.0 must be above 0"),
        (["train", "--temperature", "inf"], "temperature=inf must be above 0 and finite"),
        (["train", "--device", "nonsense"], "device='nonsense' must be a torch device that this machine has"),
        (["train", "--strategy.groups", "0"], "groups=0 must be at least 1"),
        (["train", "--guidance.who", "nobody"], "who='nobody' must be one of first, random"),
        (["train", "--recipe", "g2rpoa"], "did you mean 'g2rpo-a'"),
        (["train", "--guidance.ratio", "1.5"], "ratio=1.5 must lie in [0, 1]"),
        (["train", "--problems", "0"], "problems=0"),
        (["train", "--updates", "-1"], "updates=-1 must be at least 0"),
        (["train", "--digits", "0"], "digits=0"),
        (["train", "--resume", "nowhere"], "config.json"),
        (["evaluate", "nowhere"], "model='nowhere' must be a folder or a Hub name"),
        (["complete", "nowhere", "1+1="], "model='nowhere' must be a folder or a Hub name"),
        (["compare", "--algorithms", "grpo,ppoo"], "algorithm='ppoo' must be one of"),
        (["compare", "--algorithms", "nowhere:Agent"], "must name something that can be imported"),
        (["compare", "--learning-rates", "1", "2"], "learning_rates=(1.0, 2.0)"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(argv, said, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, error = command(*argv)
    assert status == 1
    assert said in error
    assert error.startswith(f"g2rpo-env {argv[0]}: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_home_of_the_user_may_follow_an_equals_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/users/me")
    words = ["--out=~/runs", "--out=~", "--out=~other", "--text=a~/b", "~/runs", "a=~/b"]
    expanded = ["--out=/users/me/runs", "--out=/users/me", *words[2:]]
    assert [app.expand_home(word) for word in words] == expanded


def test_wrong_usage_exits_with_2():
    for argv in ([], ["dance"], ["train", "--no-such-option", "1"]):
        with pytest.raises(SystemExit) as stop:
            app.main(argv)
        assert stop.value.code == 2


def test_other_errors_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("g2rpo_env.cli.list_envs.main", lambda argv: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        app.main(["list"])


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    program = [sys.executable, "-m", "g2rpo_env", "list"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.readline()
        listing.stdout.close()
        assert b"Traceback" not in listing.stderr.read()


def test_a_message_of_several_lines_becomes_one(monkeypatch, command):
    def fail(argv):
        raise ConfigurationError("first\n  second")

    monkeypatch.setattr("g2rpo_env.cli.list_envs.main", fail)
    assert command("list")[2] == "g2rpo-env list: first second\n"


def test_an_interrupt_exits_with_130(monkeypatch, command):
    def interrupt(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr("g2rpo_env.cli.list_envs.main", interrupt)
    assert command("list")[0] == 130
