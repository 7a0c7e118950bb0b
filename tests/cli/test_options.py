"""Options come from the library's signatures and docstrings, with their defaults, and nothing is written twice."""

import dataclasses
import functools
import inspect
import typing
from typing import Annotated, TypedDict, Unpack

import gymnasium as gym
import pytest

from g2rpo_env import AdaptiveGuidance
from g2rpo_env.agents.parts.token_weights.means import SequenceMean
from g2rpo_env.cli.options import early, guidance_options, options_type, parse, task_options, values
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.mathematics.gsm8k import GSM8K
from g2rpo_env.envs.mathematics.presets import AQuA
from g2rpo_env.envs.options import Option, accept_options
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import env_spec, make_envs
from g2rpo_env.registration import TASKS


@pytest.mark.parametrize(
    ("env_id", "kind"),
    [("g2rpo_env/Addition-v0", Addition), ("g2rpo_env/GSM8K-v0", GSM8K), ("g2rpo_env/AQuA-v0", AQuA)],
)
def test_the_options_of_an_id_are_the_arguments_of_its_task(env_id, kind):
    expected = {n: p.default for n, p in inspect.signature(kind).parameters.items() if n != "split"}
    assert values(task_options(env_id)()) == expected


def test_every_option_is_described():
    for env_id in (f"g2rpo_env/{name}" for name in TASKS):
        for field in dataclasses.fields(task_options(env_id)):
            text = typing.get_args(field.type)[1].help
            assert text and not text.startswith("See "), field.name


def test_a_description_names_what_a_docstring_links_to():
    def step(size: int = 1) -> None:
        """Step.

        Args:
            size: As in :func:`~package.module.walk` and :mod:`package.other`.
        """

    (field,) = dataclasses.fields(options_type("Step", step))
    assert typing.get_args(field.type)[1].help == "As in package.module.walk and package.other."


def test_a_part_inherits_descriptions_and_takes_other_defaults():
    kind = options_type("controller", AdaptiveGuidance, skip=("length",), defaults={"window": 7})
    options = parse(kind, ["--max-factor", "1.5"], "test")
    assert options.window == 7 and options.max_factor == 1.5
    assert not hasattr(options, "length") and not hasattr(options, "history")


def test_a_data_set_and_its_fields():
    kind = task_options("g2rpo_env/MathDataset-v0")
    options = parse(kind, ["--data", "rows.jsonl", "--question", "q", "--limit", "5", "--solution", "None"], "test")
    assert (options.data, options.question, options.limit, options.solution) == ("rows.jsonl", "q", 5, None)
    assert list(parse(task_options("g2rpo_env/MATH-v0"), ["--levels", "1", "5"], "test").levels) == [1, 5]


def test_a_number_or_a_range_of_digits():
    kind = task_options("g2rpo_env/Addition-v0")
    assert parse(kind, ["--digits", "5"], "test").digits == 5
    assert list(parse(kind, ["--digits", "1", "4"], "test").digits) == [1, 4]


def test_who_where_and_which_are_named_by_a_text():
    options = parse(guidance_options(4), ["--who", "groups", "--place", "hint", "--counted"], "test")
    assert (options.who, options.place, options.counted, options.length) == ("groups", "hint", True, 4)
    weight = parse(options_type("token_weight", SequenceMean), ["--which", "entropy"], "test")
    assert SequenceMean(**values(weight)).which == "entropy" and "positive" in _help(weight, "which")


def _help(options, name):
    fields = {field.name: field for field in dataclasses.fields(options)}
    return typing.get_args(fields[name].type)[1].help


class Box:
    """A class of a user's, which no command line can make."""

    def __call__(self, wide: "int" = 3, deep=4) -> None:
        """Be called."""


def bare(
    needed, split="train", tokenizer=None, size=16, rate=0.5, loud=True, names=("a", "b"), mixed=(1, "a"), make=len
):
    """A factory without annotations."""


def half(size: int = 1, box: "Unknown" = Box(), other: "Unknown | None" = None) -> None:  # noqa: F821, B008
    """A factory with annotations of names that only type checkers see."""


def test_an_argument_without_an_annotation_has_the_type_of_its_default():
    kind = options_type("Bare", bare, skip=("split",), required=True)
    names = [field.name for field in dataclasses.fields(kind)]
    assert names == ["needed", "tokenizer", "size", "rate", "loud", "names"]  # nobody can say mixed and make
    argv = [
        "--needed",
        "7",
        "--tokenizer",
        "there",
        "--size",
        "3",
        "--rate",
        "1",
        "--no-loud",
        "--names",
        "x",
        "y",
        "z",
    ]
    found = values(parse(kind, argv, "test"))
    assert found == {
        "needed": 7, "tokenizer": "there", "size": 3, "rate": 1.0, "loud": False, "names": ("x", "y", "z"),
    }  # fmt: skip
    assert values(parse(kind, ["--needed", "a"], "test"))["tokenizer"] is None
    with pytest.raises(SystemExit):
        parse(kind, [], "test")


@pytest.mark.parametrize(
    ("function", "argv", "expected"),
    [
        (half, ["--size", "2"], {"size": 2, "other": None}),
        (functools.partial(bare, "x", size=8), ["--rate", "0.1"], {"size": 8, "rate": 0.1}),
        (functools.partial(functools.partial(half, size=2), size=4), [], {"size": 4}),
        (lambda size=16, **others: None, ["--size", "4"], {"size": 4}),
        (Box(), ["--wide", "5"], {"wide": 5, "deep": 4}),
    ],
)
def test_options_of_whatever_has_a_signature(function, argv, expected):
    found = values(parse(options_type("Any", function), argv, "test"))
    assert expected.items() <= found.items() and "others" not in found


def test_what_an_id_is_registered_with_is_a_default():
    options = {"entry_point": "g2rpo_env.core:TokenEnv", "vector_entry_point": "g2rpo_env.vector:TokenVectorEnv"}
    kwargs = {"task": "g2rpo_env.envs.arithmetic:Addition", "digits": 2}
    try:
        gym.register("tests/Short-v0", kwargs=kwargs, **options)
        gym.register("tests/Done-v0", kwargs={"task": Addition(digits=2)}, **options)
        assert values(task_options("tests/Short-v0")())["digits"] == 2
        assert (
            make_envs("tests/Short-v0", 1, 2, values(task_options("tests/Short-v0")())).unwrapped.task.source.low == 2
        )
        assert values(task_options("tests/Done-v0")()) == {}
    finally:
        for env_id in ("tests/Short-v0", "tests/Done-v0"):
            gym.registry.pop(env_id, None)


def test_options_are_found_before_the_others_are_known():
    assert early(["--digits", "3", "--env=a/B-v0", "--recipe", "sft"], "env", "recipe") == {
        "env": "a/B-v0",
        "recipe": "sft",
    }
    assert early(["--environment", "x"], "env") == {"env": None}


def test_an_id_may_name_the_module_that_registers_it(tmp_path, monkeypatch):
    text = "from g2rpo_env import register_task\n"
    text += "register_task('Mine-v0', 'g2rpo_env.envs.arithmetic:Addition', namespace='mine')\n"
    (tmp_path / "my_tasks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert env_spec("my_tasks:mine/Mine-v0").id == "mine/Mine-v0"
    gym.registry.pop("mine/Mine-v0")
    with pytest.raises(ConfigurationError, match="must name a module"):
        env_spec("no_such_module:mine/Mine-v0")


def test_an_environment_of_the_options_waits_for_whole_groups():
    envs = make_envs("g2rpo_env/Addition-v0", 3, 4, {"digits": 2})
    assert envs.num_envs == 12 and envs.unwrapped.group_size == 4
    assert envs.unwrapped.autoreset_mode.name == "DISABLED"


def test_shared_options_and_own_ones_of_any_function():
    class Depth(TypedDict, total=False):
        depth: Annotated[int, Option(1, "How deep, see :class:`~a.b.Walk` and ``x``.")]
        wide: Annotated[bool, Option(False, "How wide.")]

    @accept_options(Depth, depth=4)
    def walk(steps: int = 2, **options: Unpack[Depth]) -> None:
        """Walk.

        Args:
            steps: How far.
            depth: Never shown: the option has its own text.
        """

    kind = options_type("Walk", walk)
    assert values(parse(kind, ["--wide"], "test")) == {"steps": 2, "depth": 4, "wide": True}
    assert (_help(kind, "steps"), _help(kind, "depth")) == ("How far.", "How deep, see a.b.Walk and x.")
