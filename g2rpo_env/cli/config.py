"""Options in files: ``--config FILE.toml`` for every command, and the options of a run as such a file.

Keys are the names of options, tables their groups: ``[guidance]`` with ``length = 51`` is ``--guidance.length 51``.
Groups whose options have no prefix, such as those of a task, may be tables or stand at the top. A file becomes
arguments, which stand before those of the command line: the last one counts.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import suggest

OPTION = "--config"

LEFT_OUT = ("out", "resume", "config")
"""Options that a file of a run does not hold."""

NONE = "None"
"""None, which TOML has not, as a command line says it."""


def expand_config(argv: Sequence[str], make_kind: Callable[[Sequence[str]], type], command: str) -> list[str]:
    """Return arguments with those of the files that ``--config`` names in its place, in front of the others.

    Args:
        argv: The arguments; ``--config`` may be given more than once, and later files win.
        make_kind: (arguments) -> dataclass of the options, which may depend on them.
        command: Name of the command, for messages.

    Raises:
        ConfigurationError: a file cannot be read, or holds what is no option.
    """
    files, rest = take_files(argv)
    if not files:
        return list(argv)
    tables = [(path, read_table(path)) for path in files]
    # Among them are those that decide which other options there are.
    early = [word for _, table in tables for word in list_early(table)]
    kind = make_kind([*early, *rest])
    found = [word for path, table in tables for word in list_arguments(kind, table, path, command)]
    words = next((n for n, word in enumerate(rest) if word.startswith("-")), len(rest))  # those before any option
    if words and found and not found[0].startswith("-"):
        found = found[1:]  # the first argument of the command line wins
    return [*rest[:words], *found, *rest[words:]]


def take_files(argv: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files that arguments name with ``--config``, and the other arguments.

    Raises:
        ConfigurationError: no file is named behind it.

    >>> take_files(["--seed", "3", "--config", "a.toml", "--config=b.toml"])[1]
    ['--seed', '3']
    """
    files, rest, words = [], [], iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name != OPTION:
            rest.append(word)
            continue
        value = value if equals else next(words, "")
        if not value:
            raise ConfigurationError("config must name a file, such as --config addition.toml")
        files.append(Path(value))
    return files, rest


def read_table(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file, its keys with underscores; raises ConfigurationError where it is none."""
    try:
        with path.open("rb") as file:
            return _underscore(tomllib.load(file))
    except OSError as error:
        raise ConfigurationError(
            f"config={str(path)[:200]!r} must be a file that can be read: {error.strerror}"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"config={str(path)!r} must be a TOML file, and nests too deep") from None
    except ValueError as error:  # what is no TOML, and what is no text
        raise ConfigurationError(f"config={str(path)!r} must be a TOML file: {error}") from None


def _underscore(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.replace("-", "_"): _underscore(value) if isinstance(value, dict) else value
        for name, value in table.items()
    }


PARTS = "parts"
"""Group of the names of parts, which has no prefix."""


def list_early(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield arguments of the texts and flags of a table, before it is known which options there are."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from list_early(value, prefix if name == PARTS else f"{prefix}{_dashed(name)}.")
        elif value is True:
            yield f"--{prefix}{_dashed(name)}"
        elif value != NONE:
            yield f"--{prefix}{_dashed(name)}={value}"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def list_arguments(kind: type, table: Mapping[str, Any], path: Path, command: str, prefix: str = "") -> list[str]:
    """Return a table of options as arguments.

    Args:
        kind: Dataclass of the options.
        table: Name of an option or of a group -> its value.
        path: File of the table, for messages.
        command: Name of the command, for messages.
        prefix: What stands before the names of options, such as ``guidance.``.

    Raises:
        ConfigurationError: there is no such option, or it takes no such value.
    """
    options, groups = find_options(kind)
    arguments: list[str] = []
    for name, value in table.items():
        what = f"{prefix}{name}"
        if name in groups and isinstance(value, Mapping):
            inner = prefix if groups[name].name == "" else f"{prefix}{groups[name].name}."
            arguments += list_arguments(groups[name].kind, value, path, command, inner)
            continue
        if name in groups and name not in options:
            raise ConfigurationError(f"{path}: {what}={value!r:.60} must be a table, [{what}]")
        if name not in options:
            known = suggest(name, [*options, *groups])
            raise ConfigurationError(f"{path}: {what}={value!r:.60} must be an option of g2rpo-env {command}{known}")
        option = options[name]
        if isinstance(value, Mapping):
            raise ConfigurationError(f"{path}: {what} must be a value: it is an option, and no group of them")
        elif option.is_positional:
            arguments.insert(0, str(value))
        elif option.kind is bool and value != NONE:
            if not isinstance(value, bool):
                raise ConfigurationError(f"{path}: {what}={value!r:.60} must be true or false")
            arguments.append(f"--{prefix}{'' if value else 'no-'}{_dashed(option.name)}")
        elif isinstance(value, list):
            arguments += [f"--{prefix}{_dashed(option.name)}", *map(str, value)]
        else:
            arguments.append(f"--{prefix}{_dashed(option.name)}={value}")
    return arguments


@dataclasses.dataclass(frozen=True)
class FileOption:
    """An option, or a group of them, as a file names it.

    Attributes:
        name: Name on the command line; ``""`` for a group whose options have no prefix.
        kind: Its type; that of a group is the dataclass of its options.
        is_positional: Whether it is no option but an argument.
    """

    name: str
    kind: Any
    is_positional: bool = False


def find_options(kind: type) -> tuple[dict[str, FileOption], dict[str, FileOption]]:
    """Return name in a file -> option, and name -> group; the options of groups without a prefix are among them.

    A part has both: ``loss`` is the name of another one, and a group of options.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    options: dict[str, FileOption] = {}
    groups: dict[str, FileOption] = {}
    for field in dataclasses.fields(kind):
        if field.name in LEFT_OUT[1:]:
            continue
        name, bare, is_positional = field.name, hints[field.name], False
        while hasattr(bare, "__metadata__"):
            for mark in bare.__metadata__:
                given = getattr(mark, "name", None)
                name = name if given is None else str(given)
                is_positional |= mark in getattr(Positional[int], "__metadata__", ())
            bare = typing.get_args(bare)[0]
        if dataclasses.is_dataclass(bare):
            groups[field.name] = FileOption(name, bare)
            if name == "":
                options |= find_options(typing.cast(type, bare))[0]
        else:
            options[field.name] = FileOption(name, bare, is_positional)
    return options, groups


def get_options(options: Any) -> dict[str, Any]:
    """Return parsed options as a table of a file, complete but for :data:`LEFT_OUT`.

    None is left out where it is the default, and said as a text elsewhere.
    """
    table: dict[str, Any] = {}
    kinds, groups = find_options(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in LEFT_OUT or value is tyro.MISSING:
            continue
        if field.name in groups:
            table[field.name] = get_options(value)
        elif value is None:
            if _default(field) is not None:
                table[field.name] = NONE
        elif is_plain(value) or value != _default(field):  # an object is only ever the default of an option
            is_float = kinds[field.name].kind is float  # its default may be a whole number
            table[field.name] = float(value) if is_float else _plain(value)
    return table


def is_plain(value: Any) -> bool:
    """Whether a file can hold the value of an option: a text, a number, a folder, a list of these."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return isinstance(value, bool | int | float | str | Path)


def _default(field: Any) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
