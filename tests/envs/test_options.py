"""Shared options: written once, with their defaults, known to type checkers, to the command line and to messages."""

import copy
import inspect
import pickle
import typing
from typing import Annotated, Any, TypedDict, Unpack

import pytest

from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.mathematics.presets import AIME, SVAMP
from g2rpo_env.envs.options import CodeOptions, GeneratedOptions, MathOptions, Option, TaskOptions, accept_options
from g2rpo_env.registration import TASKS
from g2rpo_env.task import Task, task_class


class Flags(TypedDict, total=False):
    """Options of the tests."""

    depth: Annotated[int, Option(1, "How deep.")]
    name: Annotated[str | None, Option("x", "How it is called.")]


class Walk:
    """A class with options, which the tests call."""

    @accept_options(Flags, depth=3)
    def __init__(self, steps: int = 5, **options: Unpack[Flags]) -> None:
        self.steps, self.options = steps, options


def test_a_function_finds_every_option_with_its_default() -> None:
    assert (Walk().steps, Walk().options) == (5, {"depth": 3, "name": "x"})
    assert Walk(2, name=None).options == {"depth": 3, "name": None}
    assert Walk(steps=2, depth=0).options == {"depth": 0, "name": "x"}


def test_its_signature_states_its_own_arguments_and_then_the_options() -> None:
    parameters = inspect.signature(Walk).parameters
    assert {name: p.default for name, p in parameters.items()} == {"steps": 5, "depth": 3, "name": "x"}
    assert list(parameters) == ["steps", "depth", "name"]
    assert [p.kind.name for p in parameters.values()] == ["POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY", "KEYWORD_ONLY"]
    hints = typing.get_type_hints(Walk.__init__, include_extras=True)
    assert hints["depth"] == Annotated[int, Option(3, "How deep.")]
    assert hints["name"] == Annotated[str | None, Option("x", "How it is called.")]
    assert hints["steps"] is int and "options" not in hints


def test_an_unknown_option_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(TypeError) as caught:
        Walk(dept=4)  # type: ignore[call-arg]
    assert str(caught.value) == "dept=4 is no option of Walk: steps, depth, name; did you mean 'depth'?"
    with pytest.raises(TypeError) as caught:
        Walk(zzz="a" * 99)  # type: ignore[call-arg]
    assert str(caught.value) == f"zzz='{'a' * 39} is no option of Walk: steps, depth, name"
    with pytest.raises(TypeError, match=r"^digit=2 is no option of Addition: digits, .*; did you mean 'digits'\?$"):
        Addition(digit=2)  # type: ignore[call-arg]


def test_an_option_may_be_left_out_or_have_another_default_and_description() -> None:
    @accept_options(Flags, without=("depth",), name=Option(None, "None here."))
    def go(**options: Any) -> Any:
        return options

    assert go() == {"name": None}
    assert go.__annotations__["name"].__metadata__ == (Option(None, "None here."),)
    with pytest.raises(TypeError, match="depth=1 is no option of go: name"):
        go(depth=1)
    with pytest.raises(TypeError, match=r"limit=5 is no option of SVAMP"):
        SVAMP(limit=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"without": ("size",)}, "'size' must be one of the options of Flags: depth, name"),
        ({"size": 3}, "'size' must be one of the options of Flags: depth, name"),
        ({"without": ("name",), "name": 3}, "'name' must be one of the options of Flags: depth"),
    ],
)
def test_a_mistake_in_the_declaration_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        accept_options(Flags, **wrong)
    assert str(caught.value) == message


def test_every_option_of_a_group_has_one_description() -> None:
    class Bare(TypedDict):
        depth: int

    with pytest.raises(TypeError, match=r"^Bare.depth must be annotated with one Option, got <class 'int'>$"):
        accept_options(Bare)


@pytest.mark.parametrize("group", [TaskOptions, GeneratedOptions, CodeOptions, MathOptions])
def test_defaults_have_the_types_of_their_options(group: Any) -> None:
    hints = typing.get_type_hints(group, localns={"PreTrainedTokenizerFast": str}, include_extras=True)
    for name, hint in hints.items():
        kind, option = typing.get_args(hint)
        kinds = tuple(typing.get_origin(k) or k for k in (typing.get_args(kind) or (kind,)))
        kinds = (tuple,) if typing.get_args(kind) == (str,) else kinds  # a sequence of texts
        assert isinstance(option.default, kinds), name
        assert option.text.endswith("."), name


def test_the_options_of_every_task_are_those_of_the_task_itself() -> None:
    own = inspect.signature(Task).parameters
    for name in ("tokenizer", "max_length", "stop_strings"):
        assert inspect.signature(Addition).parameters[name].default == own[name].default
    for task in TASKS.values():
        assert set(TaskOptions.__annotations__) <= set(inspect.signature(task_class(task)).parameters), task


def test_an_option_that_follows_from_another_one_is_none_of_the_task() -> None:
    parameters = inspect.signature(AIME).parameters
    assert "divide" not in parameters and parameters["test_fraction"].default == 1.0


def test_a_subclass_and_copies_work_as_before() -> None:
    class Small(Addition):
        def __init__(self) -> None:
            super().__init__(digits=1, max_new_tokens=9)

    assert Small().max_new_tokens == 9 and Small().source.high == 1
    task = Addition(2, running=True, stop_strings=("!",))
    for copied in (copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert copied.stop_strings == ("!",) and copied.source.running and copied.length == task.length
