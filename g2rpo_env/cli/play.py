"""``g2rpo-env play``: a person answers problems in the terminal, token by token."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.text import Text

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.policy.sampling import draw
from g2rpo_env.cli.checkpoints import add_task_options, find_model
from g2rpo_env.cli.options import TorchOptions, early, move_model_first, parse, values
from g2rpo_env.core import TokenEnv
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
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

MODEL_HELP = """
  :model        the model goes on from here, greedily, to the end of its answer"""

DEFAULT_ENV = "g2rpo_env/Addition-v0"


@dataclass(kw_only=True)
class PlayOptions(TorchOptions):
    """Answer problems yourself, or let a model answer; prompt bold, revealed text green, your own text cyan."""

    model: tyro.conf.Positional[str | None] = None
    """Run folder, checkpoint, Hugging Face folder, LoRA folder or Hub name that answers at :model; --model NAME says
    the same."""
    env: str | None = None
    """Id of the environment; without it the one the model was trained on, without a model g2rpo_env/Addition-v0. Name
    it before --help to see the options of its task."""
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
    argv = move_model_first(argv)
    named = early(argv, "env")["env"]
    has_model = bool(argv) and not argv[0].startswith("-")
    kind = add_task_options(PlayOptions, named or (None if has_model else DEFAULT_ENV))
    options = parse(kind, argv, "play")
    policy = None
    if options.model is None:
        env = gym.make(env_spec(options.env or DEFAULT_ENV), split=options.split, **values(options.task))
    else:
        model = find_model(options.model)
        task = model.make_envs(options.env, getattr(options, "task", None)).unwrapped.task
        env = TokenEnv(task.with_split(options.split))
        policy = model.load_policy(options)
        policy.check_fits(env)
    env = GuidanceWrapper(env, length=options.reveal)
    console = Console(highlight=False)
    console.print(HELP if policy is None else HELP + MODEL_HELP, style="dim", markup=False)
    lines = _read_lines(console)
    for episode in range(options.episodes):
        env.reset(seed=options.seed if episode == 0 else None)
        if not play_episode(env.unwrapped, lines, console, policy):
            return


def _read_lines(console: Console) -> Iterable[str]:
    while True:
        try:
            if sys.stdin is None:  # closed: g2rpo-env play <&-
                raise EOFError
            line = console.input("[dim]> [/dim]")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"the input must be text: {error}") from None
        except EOFError:
            console.print("(the input has ended before the answer was handed in)", style="dim")
            return
        yield line


def play_episode(env: TokenEnv, lines: Iterable[str], console: Console, policy: CausalLMPolicy | None = None) -> bool:
    """Play one episode that was just reset; return False if the person left before its end.

    Args:
        env: The environment.
        lines: What the person types.
        console: Where the episode is shown.
        policy: The one that goes on at ``:model``; None if there is none.
    """
    _show(env, console)
    for line in lines:
        if line == ":quit":
            return False
        if line == ":tokens":
            _show_tokens(env, console)
            continue
        tokens: Iterable[int]
        if policy is not None and line == ":model":
            tokens = _let_answer(policy, env)
        else:
            tokens = written = _encode_line(env, line)
            if not len(written):
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


def _let_answer(policy: CausalLMPolicy, env: TokenEnv) -> Iterator[int]:
    """Yield the tokens that a policy writes, the likeliest ones, each after the step of the one before."""
    decoder, lane = policy.decoder(1), np.array([0])
    tokens = np.zeros((1, env.task.length), np.int32)  # one lane (1, L)
    while True:
        context = env.context
        tokens[0, : len(context)] = context
        with torch.inference_mode():
            logits = decoder.advance(tokens, np.array([len(context)]), lane)
            token = int(draw(policy.sampling_log_probs(logits), None)[0][0])
        yield token


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
