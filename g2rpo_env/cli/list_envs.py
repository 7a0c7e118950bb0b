"""``g2rpo-env list``: the registered environments and their options; ``list recipes``: the algorithms."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from g2rpo_env.cli.options import parse, task_options
from g2rpo_env.core import TokenEnv
from g2rpo_env.errors import ConfigurationError, SandboxUnavailableError
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.naming import suggest
from g2rpo_env.registration import env_ids
from g2rpo_env.render import COLORS, role_runs
from g2rpo_env.render import escape as escape_controls
from g2rpo_env.task import Task, task_class


@dataclass
class ListOptions:
    """List the registered environments, those that a word finds with all the options of their tasks, or the recipes."""

    words: Positional[tuple[str, ...]] = ()
    """WORD shows the environments whose id or first line holds it, with all their options, and where it is one that
    makes its problems, its spaces and an episode; "all" shows all of them, "recipes" the recipes, "recipes NAME" one of
    these with its parts, its formula and its deviations."""


def main(argv: Sequence[str]) -> None:
    """Print a line per id; where a word is given, the options of those that it finds, with their defaults."""
    words = parse(ListOptions, argv, "list").words
    console = Console()
    if len(words) > (2 if words[:1] == ("recipes",) else 1):
        raise ConfigurationError(f"words={' '.join(words)!r} must be a word, recipes, or recipes NAME")
    if words[:1] == ("recipes",):
        from g2rpo_env.cli.list_recipes import show_recipe, show_recipes  # it imports torch, which takes seconds

        return show_recipe(console, words[1]) if words[1:] else show_recipes(console)
    word = words[0] if words else None
    summaries = {env_id: _summary(env_id) for env_id in env_ids()}
    if word is None:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        for env_id, summary in summaries.items():
            table.add_row(f"[bold]{env_id}[/bold]", "data" if has_data(env_id) else "generated", escape(summary))
        console.print(table)
        console.print(
            "g2rpo-env list WORD shows the options of those that hold the word, g2rpo-env list all of all. "
            "g2rpo-env list recipes shows the algorithms."
        )
        return
    found = [one for one, text in summaries.items() if word == "all" or word.lower() in f"{one} {text}".lower()]
    if not found:
        raise ConfigurationError(f"word={word!r} must be in one of {', '.join(summaries)}{suggest(word, summaries)}")
    for env_id in found:
        console.print(f"[bold]{env_id}[/bold]  {escape(summaries[env_id])}")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
        for field in dataclasses.fields(task_options(env_id)):
            default = cast(Any, field.default_factory)()
            argument = typing.get_args(field.type)[1]
            table.add_row(f"--{field.name.replace('_', '-')}", escape(repr(default)), escape(argument.help or ""))
        console.print(table)
    if len(found) == 1:
        show_example(console, found[0])


def has_data(env_id: str) -> bool:
    """Return whether the problems of an environment come from data that somebody names."""
    return any(field.name == "data" for field in dataclasses.fields(task_options(env_id)))


def show_example(console: Console, env_id: str) -> None:
    """Print the spaces of an environment and an episode that writes the ground truth from beginning to end."""
    if has_data(env_id):
        console.print(Text(f"Its problems come from data; g2rpo-env play --env {env_id} --data DIR shows one."))
        return
    env = gym.make(env_spec(env_id))
    try:
        env.reset(seed=0)
        base, end = cast(TokenEnv, env.unwrapped), ""
        for token in [*base.task.encode(base.problem).solution_T.tolist(), base.task.eos_token_id]:
            _, reward, terminated, truncated, info = env.step(token)
            if terminated or truncated:
                end = f"reward {reward:g}  verdict {info['verdict'].outcome}  answer {info['verdict'].answer!r}"
                break
        console.print(Text("observation  ", "bold").append(str(env.observation_space), "not bold"))
        console.print(Text("action       ", "bold").append(str(env.action_space), "not bold"))
        console.print(Text("an episode of the ground truth, the prompt dim:", "dim"))
        text = Text()
        for role, piece in role_runs(base.tokenizer, base.context, base.roles):
            text.append(escape_controls(piece), COLORS[role].name)
        console.print(text)
        console.print(Text(end))
    except SandboxUnavailableError as error:
        console.print(Text(f"No episode is shown: {error}", "dim"))
    finally:
        env.close()


def _summary(env_id: str) -> str:
    """Return the first line about the task of an id, without the id."""
    task = env_spec(env_id).kwargs["task"]
    kind = type(task) if isinstance(task, Task) else task_class(task)
    text = (inspect.getdoc(kind) or "").split("\n", 1)[0].replace("``", "")
    text = text.removeprefix(f"The task of {env_id}").lstrip(":. ")
    return text[:1].upper() + text[1:]
