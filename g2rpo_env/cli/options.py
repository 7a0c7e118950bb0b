"""Options of the command line, taken from the signatures and docstrings of the library: no option is written twice."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import tyro
from docstring_parser import parse as parse_docstring

from g2rpo_env.envs.options import Option
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.guidance import VectorGuidanceWrapper
from g2rpo_env.naming import suggest
from g2rpo_env.task import task_class

# What a command line can say of these types is a text: a folder or a name.
AS_TEXT = {name: str for name in ("PreTrainedTokenizerFast", "Path", "Assignment", "Placement", "RevealFilter")}

DEFAULT_LENGTH = 45.0
"""Reveal length, in tokens, where neither the user nor a recipe or a family states one: that of the guided recipes, so
that whatever is compared with them starts from the same reveal."""

CROSS_REFERENCE = re.compile(r":\w+:`~?([^`]+)`")
"""Cross-references of docstrings; a terminal shows the name alone."""


def options_type(
    name: str, function: Callable[..., Any], *, skip: Collection[str] = (), defaults: Mapping[str, Any] | None = None
) -> type:
    """Return a dataclass with one field per keyword argument of a callable.

    An argument is described by the :class:`g2rpo_env.envs.options.Option` in its annotation, else by the docstring.

    Args:
        name: Name of the class.
        function: A function or a class.
        skip: Arguments to leave out.
        defaults: Defaults that replace those of the signature.
    """
    defaults = defaults or {}
    target = function.__init__ if inspect.isclass(function) and not dataclasses.is_dataclass(function) else function
    hints = typing.get_type_hints(target, localns=AS_TEXT, include_extras=True)
    texts = _descriptions(function)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        default = defaults.get(parameter.name, parameter.default)
        if parameter.name in skip or default is parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        hint, text = hints[parameter.name], texts.get(parameter.name, "")
        for part in getattr(hint, "__metadata__", ()):
            if isinstance(part, Option):
                hint, text = typing.get_args(hint)[0], _plain_text(part.text)
        kind: Any = Annotated[hint, tyro.conf.arg(help=text)]
        fields.append((parameter.name, kind, dataclasses.field(default_factory=partial(_same, default))))
    return dataclasses.make_dataclass(name, fields)


def _same(value: Any) -> Any:
    return value


def _descriptions(function: Any) -> dict[str, str]:
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
        parser.add_argument(f"--{name}")
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
    return tyro.cli(kind, args=list(argv), prog=f"g2rpo-env {command}", **given)


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
    hidden = [(n, Annotated[hints[n], tyro.conf.Suppress], _default(kind, n)) for n in names if n not in shown]
    doc = f"{inspect.getdoc(kind)}\n\nMore options: --help TOPIC, one of {', '.join(topics)}."
    part = dataclasses.make_dataclass(kind.__name__, hidden, bases=(kind,), namespace={"__doc__": doc})
    parse(part, ["--help"], command)


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _default(kind: Any, name: str) -> Any:
    field = kind.__dataclass_fields__[name]
    if field.default_factory is dataclasses.MISSING:
        return dataclasses.field(default=field.default)
    return dataclasses.field(default_factory=field.default_factory)


# -- environments -----------------------------------------------------------------------------------------------------


def task_options(env_id: str) -> type:
    """Return the options of an environment's task, from the signature of the task class."""
    task = env_spec(env_id).kwargs.get("task")
    if not isinstance(task, str):
        return dataclasses.make_dataclass("Task", [])
    return options_type("Task", task_class(task), skip=("split",))


def guidance_options(length: float) -> type:
    """Return the options of the guidance wrapper with a default length."""
    return options_type("Guidance", VectorGuidanceWrapper, skip=("env",), defaults={"length": length})


@dataclass
class EnvOptions:
    """Which environment, and how many lanes of it."""

    env: str = "g2rpo_env/Addition-v0"
    """Id of the environment; "module:id" imports the module that registers it first."""
    problems: int = 8
    """Problems per update."""
    group_size: int = 8
    """Members per problem."""
