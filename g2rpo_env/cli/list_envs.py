"""``g2rpo-env list``: the registered environments and their options."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from g2rpo_env.cli.options import parse, task_options
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.registration import env_ids
from g2rpo_env.task import Task, task_class


@dataclass
class ListOptions:
    """List the registered environments and the options of their tasks."""


def main(argv: Sequence[str]) -> None:
    """Print a table of ids, and under each its options with their defaults."""
    parse(ListOptions, argv, "list")
    console = Console()
    for env_id in env_ids():
        task = env_spec(env_id).kwargs["task"]
        kind = type(task) if isinstance(task, Task) else task_class(task)
        console.print(f"[bold]{env_id}[/bold]  {escape(_summary(kind))}")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
        for field in dataclasses.fields(task_options(env_id)):
            default = cast(Any, field.default_factory)()
            argument = typing.get_args(field.type)[1]
            table.add_row(f"--{field.name.replace('_', '-')}", escape(repr(default)), escape(argument.help or ""))
        console.print(table)


def _summary(kind: object) -> str:
    return (inspect.getdoc(kind) or "").split("\n", 1)[0].replace("``", "")
