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
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.guidance import VectorGuidanceWrapper
from g2rpo_env.task import task_class

# What a command line can say of these types is a text: a folder or a name.
AS_TEXT = {name: str for name in ("PreTrainedTokenizerFast", "Path", "Assignment", "Placement", "RevealFilter")}

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

    An argument is described by the :class:`g2rpo_env.envs.options.Option` in its annotation, else by the docstring.

    Args:
        name: Name of the class.
        function: A function or a class.
        skip: Arguments to leave out.
        defaults: Defaults that replace those of the signature.
        required: Whether arguments without a default become options that must be given; otherwise they are left out.
    """
    defaults = defaults or {}
    target = function.__init__ if inspect.isclass(function) and not dataclasses.is_dataclass(function) else function
    hints = typing.get_type_hints(target, localns=AS_TEXT, include_extras=True)
    texts = _descriptions(function)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        default = defaults.get(parameter.name, _default(function, parameter))
        if parameter.name in skip or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if default is parameter.empty and required:
            default = tyro.MISSING
        if default is parameter.empty:
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


def _default(function: Any, parameter: inspect.Parameter) -> Any:
    """Return the default of an argument; signatures of dataclasses hide those that a factory makes."""
    fields = {f.name: f for f in dataclasses.fields(function)} if dataclasses.is_dataclass(function) else {}
    factory = fields[parameter.name].default_factory if parameter.name in fields else dataclasses.MISSING
    return parameter.default if factory is dataclasses.MISSING else factory()


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
    return tyro.cli(kind, args=list(argv), prog=f"g2rpo-env {command}", **given)


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
