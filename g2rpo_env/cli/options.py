"""Options of the command line, taken from the signatures and docstrings of the library: no option is written twice."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any

import tyro
from docstring_parser import parse as parse_docstring

from g2rpo_env.cli.config import expand_config
from g2rpo_env.envs.options import Option
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.guidance import VectorGuidanceWrapper
from g2rpo_env.naming import load_object, suggest
from g2rpo_env.report.records import Recording
from g2rpo_env.task import Task, task_class

# What a command line can say of these types is a text: a folder or a name.
AS_TEXT = {name: str for name in ("PreTrainedTokenizerFast", "Path", "Assignment", "Placement", "RevealFilter")}

LANE_ARGUMENTS = ("render_mode", "vocabulary")
"""Arguments of environments that are none of the task's."""

DEFAULT_LENGTH = 45.0
"""Reveal length, in tokens, where neither the user nor a recipe or a family states one: that of the guided recipes, so
that whatever is compared with them starts from the same reveal."""

CROSS_REFERENCE = re.compile(r":\w+:`~?([^`]+)`")
"""Cross-references of docstrings; a terminal shows the name alone."""


def options_type(
    name: str,
    function: Callable[..., Any],
    *,
    skip: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
    required: bool = False,
) -> type:
    """Return a dataclass with one field per keyword argument of a callable.

    An argument is described by the :class:`g2rpo_env.envs.options.Option` in its annotation, else by the docstring. One
    without an annotation has the type of its default; what no command line can say is no option and keeps its default.

    Args:
        name: Name of the class.
        function: A function, a class, or any other object with a signature.
        skip: Arguments to leave out.
        defaults: Defaults that replace those of the signature.
        required: Whether arguments without a default become options that must be given; otherwise they are left out.
    """
    defaults = defaults or {}
    hints, texts = _hints(function), _descriptions(function)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        default = defaults.get(parameter.name, _default(function, parameter))
        if parameter.name in skip or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if default is parameter.empty and required:
            default = tyro.MISSING
        if default is parameter.empty:
            continue
        hint = hints[parameter.name] if parameter.name in hints else _type_of(default)
        text = texts.get(parameter.name, "")
        if hint is None:
            continue
        for part in getattr(hint, "__metadata__", ()):
            if isinstance(part, Option):
                hint, text = typing.get_args(hint)[0], _plain_text(part.text)
        kind: Any = Annotated[hint, tyro.conf.arg(help=text)]
        fields.append((parameter.name, kind, dataclasses.field(default_factory=partial(_same, default))))
    return dataclasses.make_dataclass(name, fields)


def _same(value: Any) -> Any:
    return value


def _hints(function: Any) -> dict[str, Any]:
    """Return name of an argument -> its annotation; those that name nothing that is known are left out."""
    target = _without_partial(function)
    if inspect.isclass(target) and not dataclasses.is_dataclass(target):
        target = target.__init__
    elif not inspect.isclass(target) and not hasattr(target, "__annotations__"):
        target = type(target).__call__  # an object that can be called
    try:
        return typing.get_type_hints(target, localns=AS_TEXT, include_extras=True)
    except NameError:  # an annotation of names that are imported for type checkers alone
        found: dict[str, Any] = {}
        for name, hint in target.__annotations__.items():
            holder = type("Holder", (), {"__annotations__": {name: hint}, "__module__": target.__module__})
            with contextlib.suppress(NameError):
                found |= typing.get_type_hints(holder, localns=AS_TEXT, include_extras=True)
        return found


def _without_partial(function: Any) -> Any:
    return _without_partial(function.func) if isinstance(function, partial) else function


def _type_of(default: Any) -> Any:
    """Return the type of an option whose argument has no annotation; None where no command line can say its values.

    >>> _type_of(3), _type_of(("a", "b")), _type_of(None), _type_of(print)
    (<class 'int'>, tuple[str, ...], int | float | str | None, None)
    """
    if default is None:
        return int | float | str | None
    if default is tyro.MISSING:
        return int | float | str
    if isinstance(default, bool | int | float | str | PurePath):
        return str if isinstance(default, PurePath) else type(default)
    kinds = {type(value) for value in default} if isinstance(default, tuple | list) else set()
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        return tuple[kinds.pop(), ...]  # type: ignore[misc]
    return None


def _default(function: Any, parameter: inspect.Parameter) -> Any:
    """Return the default of an argument; signatures of dataclasses hide those that a factory makes."""
    fields = {f.name: f for f in dataclasses.fields(function)} if dataclasses.is_dataclass(function) else {}
    factory = fields[parameter.name].default_factory if parameter.name in fields else dataclasses.MISSING
    return parameter.default if factory is dataclasses.MISSING else factory()


def _descriptions(function: Any) -> dict[str, str]:
    function = _without_partial(function)
    classes = reversed(function.__mro__) if inspect.isclass(function) else [function]
    texts: dict[str, str] = {}
    for part in classes:
        doc = part.__dict__.get("__doc__") if inspect.isclass(part) else part.__doc__
        for parameter in parse_docstring(doc or "").params:
            text = _plain_text(parameter.description or "")
            if not (parameter.arg_name in texts and text.startswith("See ")):  # "See Task.": the base class says it
                texts[parameter.arg_name] = text
    return texts


def _plain_text(text: str) -> str:
    """Return a description as a terminal shows it: on one line, without the marks of a docstring."""
    return CROSS_REFERENCE.sub(r"\1", " ".join(text.replace("``", "").split()))


def values(options: Any) -> dict[str, Any]:
    """Return the fields of an options object, not recursively."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def nested(kind: type, *, prefix: str | None = None) -> Any:
    """Return a field specification for :func:`dataclasses.make_dataclass`: a group of options.

    Args:
        kind: What :func:`options_type` returned.
        prefix: None names the options after the field; ``""`` gives them no prefix.
    """
    annotation = kind if prefix is None else Annotated[kind, tyro.conf.arg(name=prefix)]
    return annotation, dataclasses.field(default_factory=kind)


def early(argv: Sequence[str], *names: str) -> dict[str, str | None]:
    """Return options that decide which other options there are, such as ``--env``, before the others are parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(*{f"--{name}", f"--{name.replace('_', '-')}"}, dest=name)
    return vars(parser.parse_known_args(list(argv))[0])


def parse(kind: type, argv: Sequence[str], command: str, default: Any = None) -> Any:
    """Return the options that ``argv`` states; prints help or what is wrong with them and exits as tyro does.

    Args:
        kind: Dataclass of the options.
        argv: The arguments.
        command: Name of the command.
        default: Object of ``kind`` that holds the values of options that are not stated; None takes those of ``kind``.
    """
    given = {} if default is None else {"default": default}
    argv = expand_config(argv, lambda _: kind, command)  # where the command has not done it, for options of its own
    return tyro.cli(kind, args=argv, prog=f"g2rpo-env {command}", **given)


HELP = ("-h", "--help")


def help_topic(argv: Sequence[str]) -> str | None:
    """Return the word behind ``--help``, ``""`` where none stands there; None where no help is asked for."""
    for place, argument in enumerate(argv):
        if argument in HELP:
            after = argv[place + 1 : place + 2]
            return after[0] if after and not after[0].startswith("-") else ""
    return None


def show_topic(kind: type, common: Collection[str], topic: str, command: str) -> None:
    """Print a part of the help of a command, and exit as ``--help`` does.

    Args:
        kind: Dataclass of the options; fields that are dataclasses are the topics.
        common: Options that the help begins with; ``run`` is the topic of all that are in no other.
        topic: ``""`` for the common options, ``all``, or the name of a topic.
        command: Name of the command.

    Raises:
        ConfigurationError: there is no such topic.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    groups = [name for name in names if dataclasses.is_dataclass(_bare(hints[name]))]
    topics = ["run", *(name.replace("_", "-") for name in groups), "all"]
    if topic and topic not in topics:
        raise ConfigurationError(f"help={topic!r} must be one of {', '.join(topics)}{suggest(topic, topics)}")
    wanted = {"": common, "all": names, "run": [name for name in names if name not in groups]}
    shown = wanted.get(topic, [topic.replace("-", "_")])
    hidden = [(n, Annotated[hints[n], tyro.conf.Suppress], _same_field(kind, n)) for n in names if n not in shown]
    doc = f"{inspect.getdoc(kind)}\n\nMore options: --help TOPIC, one of {', '.join(topics)}."
    part = dataclasses.make_dataclass(kind.__name__, hidden, bases=(kind,), namespace={"__doc__": doc}, kw_only=True)
    parse(part, ["--help"], command)


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _same_field(kind: Any, name: str) -> Any:
    field = kind.__dataclass_fields__[name]
    if field.default_factory is dataclasses.MISSING:
        return dataclasses.field(default=field.default)
    return dataclasses.field(default_factory=field.default_factory)


# -- environments -----------------------------------------------------------------------------------------------------


def task_options(env_id: str) -> type:
    """Return the options of an environment, from the signature of what makes its task, or of its entry point.

    The defaults are those that it is registered with.
    """
    spec = env_spec(env_id)
    given = {name: value for name, value in spec.kwargs.items() if name != "task"}
    task = spec.kwargs.get("task")
    if isinstance(task, Task):
        return dataclasses.make_dataclass("Task", [])
    if task is not None:
        function: Any = task_class(task)
    else:
        function = (
            load_object(spec.entry_point, "entry_point") if isinstance(spec.entry_point, str) else spec.entry_point
        )
    return options_type("Task", function, skip=("split", *LANE_ARGUMENTS), defaults=given, required=True)


def guidance_options(length: float, **defaults: Any) -> type:
    """Return the options of the guidance wrapper with a default length, and other defaults."""
    return options_type("Guidance", VectorGuidanceWrapper, skip=("env",), defaults={"length": length, **defaults})


@dataclass
class EnvOptions:
    """Which environment, and how many lanes of it."""

    env: str = "g2rpo_env/Addition-v0"
    """Id of the environment; "module:id" imports the module that registers it first."""
    problems: int = 8
    """Problems per update."""
    group_size: int = 8
    """Members per problem."""


# -- models -----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class ConfigOptions:
    """Options from files, for every command."""

    config: Path | None = None
    """TOML file of options: keys are their names, tables their groups. What is given here wins. It may be given more
    than once; later files win."""


@dataclass(kw_only=True)
class ReadingOptions:
    """How run folders and rollouts are read."""

    tokenizer: Path | None = None
    """Folder of a tokenizer, for rollouts of other libraries that hold token ids alone."""


@dataclass(kw_only=True)
class RecordingOptions:
    """What run folders keep of groups and episodes, beside a line for each group."""

    rollouts_every: int = 50
    """Updates between saved rollouts, beside those of the first and the last update; 0 = none."""
    rollouts_top: int = 0
    """Likeliest tokens that are saved for each sampled one, as the policy is after the update."""


def get_recording(options: RecordingOptions, command: str, argv: Sequence[str]) -> Recording:
    """Return what a command records; raises ConfigurationError for a number below 0."""
    for name in ("rollouts_every", "rollouts_top"):
        if getattr(options, name) < 0:
            raise ConfigurationError(f"{name}={getattr(options, name)} must be at least 0")
    return Recording(options.rollouts_every, top=options.rollouts_top, command=command, argv=tuple(argv))


@dataclass(kw_only=True)
class TorchOptions(ConfigOptions):
    """Where a model runs, and how: shared by every command that runs one."""

    device: str = "cpu"
    """Torch device."""
    dtype: str | None = None
    """Torch dtype of the weights; without it the one they were trained in, float32 for a model from elsewhere."""
    threads: int | None = None
    """Torch threads; without it as many as suit the model's size and the cores that are free, or what OMP_NUM_THREADS
    says."""


def check_torch_options(options: TorchOptions) -> None:
    """Raise ConfigurationError for a device, a dtype or a number of threads that cannot be."""
    from g2rpo_env.agents.policy.loading import check_device, torch_dtype

    if options.threads is not None and options.threads < 1:
        raise ConfigurationError(f"threads={options.threads} must be at least 1")
    if options.dtype is not None:
        torch_dtype(options.dtype)
    check_device(options.device)


def use_threads(model: Any, threads: int | None) -> None:
    """Set the torch threads of this command for a model, and say on standard error how many and why."""
    from g2rpo_env.agents.threads import fit_threads

    chosen = fit_threads(model, threads)
    if threads is None:
        print(f"{chosen} (--threads decides)", file=sys.stderr, flush=True)


MODEL_NAMES = ("--model", "--policy", "--source")
"""Options that name a model where a command takes it as its first argument."""


def move_model_first(argv: Sequence[str]) -> list[str]:
    """Return arguments in which a model named by an option is the first argument: ``--model FOLDER`` is ``FOLDER``.

    >>> move_model_first(["--problems", "8", "--model", "runs/a"]), move_model_first(["runs/a", "--split", "test"])
    (['runs/a', '--problems', '8'], ['runs/a', '--split', 'test'])
    """
    first, rest, words = [], [], iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name in MODEL_NAMES:
            first.append(value if equals else next(words, ""))
        else:
            rest.append(word)
    return first + rest
