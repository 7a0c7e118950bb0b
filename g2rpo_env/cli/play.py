"""``g2rpo-env play``: a person answers problems in the terminal, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.text import Text

from g2rpo_env.cli.checkpoints import add_task_options
from g2rpo_env.cli.options import early, parse, values
from g2rpo_env.core import TokenEnv
from g2rpo_env.episode import Role
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.guidance import GuidanceWrapper
from g2rpo_env.render import escape, role_runs
from g2rpo_env.tokenizer import decode, encode

STYLES = {Role.PROMPT: "bold", Role.REVEALED: "green", Role.SAMPLED: "cyan", Role.ENVIRONMENT: "yellow"}

HELP = """Type text and press Enter: each of its tokens becomes a step. \\n in it is a line break.
  Enter alone   the ground truth's next token
  :end          the end token: hand in the answer
  :tokens       the context, one token per line, with id and role
  :quit         leave"""


@dataclass
class PlayOptions:
    """Answer problems yourself; prompt bold, revealed text green, your own text cyan."""

    env: str = "g2rpo_env/Addition-v0"
    """Id of the environment."""
    split: str = "train"
    """train, validation, test or warmstart."""
    seed: int = 0
    """Order of the problems."""
    reveal: float = 0
    """Reveal length in tokens."""
    episodes: int = 1
    """Number of problems."""


def main(argv: Sequence[str]) -> None:
    """Play, reading lines from standard input until it ends."""
    named = early(argv, "env")["env"] or PlayOptions.env
    options = parse(add_task_options(PlayOptions, named), argv, "play")
    env = gym.make(env_spec(options.env), split=options.split, **values(options.task))
    env = GuidanceWrapper(env, length=options.reveal)
    console = Console(highlight=False)
    console.print(HELP, style="dim", markup=False)
    lines = _read_lines(console)
    for episode in range(options.episodes):
        env.reset(seed=options.seed if episode == 0 else None)
        if not play_episode(env.unwrapped, lines, console):
            return


def _read_lines(console: Console) -> Iterable[str]:
    while True:
        try:
            yield console.input("[dim]> [/dim]")
        except EOFError:
            return


def play_episode(env: TokenEnv, lines: Iterable[str], console: Console) -> bool:
    """Play one episode that was just reset; return False if the person left before its end."""
    _show(env, console)
    for line in lines:
        if line == ":quit":
            return False
        if line == ":tokens":
            _show_tokens(env, console)
            continue
        tokens = _encode_line(env, line)
        if not len(tokens):
            console.print("(the ground truth does not begin like this; :end hands the answer in)", style="dim")
        for token in tokens:
            _, reward, terminated, truncated, info = env.step(token)
            if terminated or truncated:
                _show(env, console)
                verdict = info["verdict"]
                end = "terminated" if terminated else "truncated: the budget is spent"
                console.print(f"reward {reward:g}  verdict {verdict.outcome}  answer {verdict.answer!r}  ({end})")
                return True
        _show(env, console)
    return False


def _encode_line(env: TokenEnv, line: str) -> Sequence[int]:
    if line == ":end":
        return [env.task.eos_token_id]
    if line:
        return encode(env.tokenizer, line.replace("\\n", "\n"))[0].tolist()
    problem = env.problem
    solution_T = env.task.encode(problem).solution_T
    written = env.context[len(env.task.encode(problem).prompt_T) :]
    if len(written) < len(solution_T) and np.array_equal(written, solution_T[: len(written)]):
        return [int(solution_T[len(written)])]
    return [env.task.eos_token_id] if np.array_equal(written, solution_T) else []


def _show(env: TokenEnv, console: Console) -> None:
    text = Text()
    for role, piece in role_runs(env.tokenizer, env.context, env.roles):
        text.append(escape(piece), STYLES[role])
    console.print(text)


def _show_tokens(env: TokenEnv, console: Console) -> None:
    for position, (token, role) in enumerate(zip(env.context.tolist(), env.roles.tolist(), strict=True)):
        piece: Any = decode(env.tokenizer, np.array([token]))
        console.print(f"{position:5d}  {token:6d}  {piece!r:12}  {Role(role).name.lower()}", markup=False)
