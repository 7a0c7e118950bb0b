"""Options in files: what they may hold, what wins, and that a run is repeated by its own file."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tyro
from arguments import QUIET, TINY
from tyro.conf import Positional

from g2rpo_env.cli.config import expand_config, get_options
from g2rpo_env.cli.options import ConfigOptions, parse
from g2rpo_env.errors import ConfigurationError


@dataclass
class Group:
    length: float = 1.0
    limit: float | None = 2.0


@dataclass(kw_only=True)
class Options(ConfigOptions):
    """Some."""

    model: Positional[str] = "none"
    seed: int = 0
    is_on: bool = True
    maybe: bool | None = None
    name: str | None = None
    rates: tuple[float, ...] = (1.0,)
    out: Path | None = None
    group: Group = field(default_factory=Group)


def read(tmp_path, text, *argv, name="a.toml"):
    (tmp_path / name).write_text(text)
    return parse(Options, [*argv, "--config", str(tmp_path / name)], "some")


def test_a_file_says_options_and_the_command_line_wins(tmp_path):
    text = (
        'model = "m"\nseed = 3\nis-on = false\nmaybe = true\nrates = [1e-3, -2]\nname = "-x"\n[group]\nlimit = "None"\n'
    )
    found = read(tmp_path, text)
    assert (found.model, found.seed, found.is_on, found.maybe, found.rates) == ("m", 3, False, True, (1e-3, -2.0))
    assert found.name == "-x" and found.group == Group(1.0, None)
    found = read(tmp_path, text, "mine", "--seed", "4", "--is-on", "--group.limit", "5", "--rates", "7")
    assert (found.model, found.seed, found.is_on, found.rates) == ("mine", 4, True, (7.0,))
    assert found.group == Group(1.0, 5.0)


def test_later_files_win(tmp_path):
    (tmp_path / "b.toml").write_text('seed = 1\nname = "b"')
    found = read(tmp_path, "seed = 2", "--config", str(tmp_path / "b.toml"))
    assert (found.seed, found.name) == (2, "b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed = 3", r"a.toml: sed=3 must be an option of g2rpo-env some; did you mean 'seed'\?"),
        ("[group]\nlenth = 3", r"a.toml: group.lenth=3 must be an option .*did you mean 'length'"),
        ("group = 3", r"a.toml: group=3 must be a table, \[group\]"),
        ("[seed]\na = 3", "a.toml: seed must be a value"),
        ("is_on = 1", "a.toml: is_on=1 must be true or false"),
        ('config = "b.toml"', "a.toml: config='b.toml' must be an option"),
        ("x = = 3", "must be a TOML file: .*line 1"),
        ("seed = 1\nseed = 2", "must be a TOML file"),
    ],
)
def test_what_is_no_option_is_named_with_its_file(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match=words):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for argv, words in (
        (["--config", str(tmp_path / "none.toml")], "none.toml' must be a file that can be read: No such file"),
        ([f"--config={tmp_path}"], "must be a file that can be read: Is a directory"),
        (["--config"], "config must name a file"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            expand_config(argv, lambda _: Options, "some")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="must be a TOML file"):
        expand_config(["--config", str(tmp_path / "bytes.toml")], lambda _: Options, "some")


def test_options_as_a_table_are_complete_and_read_back():
    options = Options(seed=2, maybe=False, name=None, out=Path("x"), group=Group(3.0, None))
    table = get_options(options)
    assert table == {
        "model": "none", "seed": 2, "is_on": True, "maybe": False, "rates": [1.0],
        "group": {"length": 3.0, "limit": "None"},
    }  # fmt: skip
    assert "rates" not in get_options(Options(rates=tyro.MISSING))


# -- runs -------------------------------------------------------------------------------------------------------------

FILES = ("metrics.jsonl", "evaluations.jsonl", "groups.jsonl", "problems.jsonl", "config.toml")


@pytest.mark.parametrize(
    "options",
    [
        [
            "--recipe",
            "g2rpo-a",
            "--guidance.length",
            4,
            "--controller.min-length",
            2,
            "--token-weight.which",
            "entropy",
        ],
        ["--recipe", "dapo", "--guided", "--revealed", "positive", "--optimizer.minibatch", 4],
        ["--recipe", "grpo", "--guidance.length", 4, "--loss", "ClippedSurrogate", "--loss.clip-high", 0.3],
        ["--recipe", "guide", "--controller", "TargetSuccess", "--controller.max-length", "None"],
    ],
    ids=lambda options: options[1],
)
def test_a_run_is_repeated_to_the_byte_by_its_own_file(command, tmp_path, options):
    one, two = tmp_path / "one", tmp_path / "two"
    status, _, error = command("train", *TINY, *QUIET, "--updates", 3, *options, "--out", one)
    assert status == 0, error
    status, _, error = command("train", "--config", one / "config.toml", "--out", two)
    assert status == 0, error
    assert [(two / name).read_bytes() == (one / name).read_bytes() for name in FILES] == [True] * len(FILES)
    assert tomllib.loads((one / "config.toml").read_text())["task"]["digits"] == 1
    assert command("train", "--config", one / "config.toml", "--seed", 1, "--out", tmp_path / "three")[0] == 0
    assert json.loads((tmp_path / "three/run.json").read_text())["seed"] == 1
    assert (tmp_path / "three/metrics.jsonl").read_bytes() != (one / "metrics.jsonl").read_bytes()


def test_a_file_may_name_the_recipe_its_parts_and_the_environment(command, tmp_path):
    (tmp_path / "a.toml").write_text(
        'env = "g2rpo_env/Multiplication-v0"\nrecipe = "grpo"\nloss = "SoftGate"\nupdates = 1\nproblems = 2\n'
        'group-size = 4\nwarm-start = "never"\nthreads = 1\nevaluation_problems = 4\nresponse_problems = 0\n'
        "[task]\ndigits = 1\n[optimizer]\nlearning_rate = 1e-4\n"
    )
    out = tmp_path / "run"
    status, _, error = command("train", "--config", tmp_path / "a.toml", "--out", out)
    if "must be one of" in error:
        pytest.fail(error)
    assert status == 0, error
    facts = json.loads((out / "run.json").read_text())
    assert facts["env"] == "g2rpo_env/Multiplication-v0" and facts["recipe"]["loss"]["class"] == "SoftGate"
    assert facts["recipe"]["optimizer"]["options"]["learning_rate"] == 1e-4


def test_other_commands_take_files_too(command, trained, tmp_path):
    (tmp_path / "a.toml").write_text(f'model = "{trained.as_posix()}"\nproblems = 4\nthreads = 1\n')
    status, text, _ = command("evaluate", "--config", tmp_path / "a.toml")
    assert status == 0 and "on 4 test problems" in text
    status, text, _ = command("evaluate", "--config", tmp_path / "a.toml", "--problems", 5)
    assert status == 0 and "on 5 test problems" in text
    (tmp_path / "b.toml").write_text("problms = 4")
    for name in ("evaluate", "response", "compare", "demo", "study", "bench", "demo-seeds", "complete", "play"):
        status, _, error = command(name, "--config", tmp_path / "b.toml")
        assert status == 1 and f"problms=4 must be an option of g2rpo-env {name}" in error


def test_a_resume_takes_no_file(command, trained, tmp_path):
    (tmp_path / "a.toml").write_text("seed = 4")
    status, _, error = command("train", "--resume", trained, "--config", tmp_path / "a.toml")
    assert status == 1 and "only --updates may be given beside it" in error
