"""``g2rpo-env play``: a person answers problems in the terminal, token by token."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.text import Text

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.policy.sampling import draw
from g2rpo_env.cli.checkpoints import add_task_options, find_model
from g2rpo_env.cli.config import expand_config
from g2rpo_env.cli.options import TorchOptions, early, move_model_first, parse, values
from g2rpo_env.core import TokenEnv
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import env_spec
from g2rpo_env.guidance import GuidanceWrapper
from g2rpo_env.render import COLORS, escape, role_runs
from g2rpo_env.tokenizer import decode, encode

HELP = """Type text and press Enter: each of its tokens becomes a step. \\n in it is a line break.
  Enter alone   the ground truth's next token
  :end          the end token: hand in the answer
  :tokens       the context, one token per line, with id and role
  :reveal 9     the problem from its start, with nine tokens of the solution revealed; later problems too
  :quit         leave"""

MODEL_HELP = """
  :model        the model goes on from here, greedily, to the end of its answer
  :model 5      the same for five tokens"""

DEFAULT_ENV = "g2rpo_env/Addition-v0"


@dataclass(kw_only=True)
class PlayOptions(TorchOptions):
    """Answer problems yourself, or let a model answer; prompt dim, revealed text green, your own text cyan."""

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
    top: int = 0
    """Show that many of the model's likeliest tokens with their probabilities before each step, and the entropy of what
    it samples from; 0 = none."""


def main(argv: Sequence[str]) -> None:
    """Play, reading lines from standard input until it ends."""
    argv = move_model_first(expand_config(argv, make_options_type, "play"))
    options = parse(make_options_type(argv), argv, "play")
    check_top(options.top, has_model=options.model is not None)
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
    lines, watched = _read_lines(console), None if policy is None else Watched(policy, env.unwrapped)
    for episode in range(options.episodes):
        env.reset(seed=options.seed if episode == 0 else None)
        if not play_episode(env, lines, console, watched, options.top):
            return


def make_options_type(argv: Sequence[str]) -> type:
    """Return the options of play with those of the task that the arguments name."""
    argv = move_model_first(argv)
    has_model = bool(argv) and not argv[0].startswith("-")
    return add_task_options(PlayOptions, early(argv, "env")["env"] or (None if has_model else DEFAULT_ENV))


def check_top(top: int, *, has_model: bool) -> None:
    """Raise ConfigurationError for a number of likeliest tokens that cannot be shown."""
    if top < 0:
        raise ConfigurationError(f"top={top} must be at least 0")
    if top and not has_model:
        raise ConfigurationError(f"top={top} needs a model whose likeliest tokens it shows, such as --policy runs/demo")


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


class Watched:
    """What a policy would write next in an environment, computed once per context.

    Args:
        policy: The policy.
        env: The environment.
    """

    def __init__(self, policy: CausalLMPolicy, env: TokenEnv) -> None:
        self.policy, self.env = policy, env
        self.decoder = policy.decoder(1)
        self.context = np.zeros(0, np.int32)
        self.log_probs_V = torch.zeros(0)

    def find_log_probs(self) -> torch.Tensor:
        """Return the log-probabilities of the next token, of the distribution that the policy samples from, (V,)."""
        context_T = self.env.context
        if np.array_equal(context_T, self.context):
            return self.log_probs_V
        if not np.array_equal(context_T[:-1], self.context):
            self.decoder = self.policy.decoder(1)  # another start, or several tokens at once
        self.context = context_T.copy()
        tokens = np.zeros((1, self.env.task.length), np.int32)  # one lane (1, L)
        tokens[0, : len(context_T)] = context_T
        with torch.inference_mode():
            logits = self.decoder.advance(tokens, np.array([len(context_T)]), np.array([0]))
            self.log_probs_V = self.policy.sampling_log_probs(logits)[0].float().cpu()
        return self.log_probs_V

    def write(self, most: int | None = None) -> Iterator[int]:
        """Yield the tokens that the policy writes, the likeliest ones, each after the step of the one before.

        Args:
            most: Number of tokens; None for no end.
        """
        for _ in itertools.count() if most is None else range(most):
            yield int(draw(self.find_log_probs()[None], None)[0][0])

    def describe_next(self, top: int) -> Text:
        """Return the entropy of the next token in nats, and the likeliest ones with their probabilities."""
        log_probs_V = self.find_log_probs()
        probs_V = log_probs_V.exp()
        entropy = max(0.0, -float(torch.where(probs_V > 0, probs_V * log_probs_V, 0.0).sum()))
        text = Text(f"entropy {entropy:.2f} nats", "dim")
        probs_K, tokens_K = probs_V.topk(min(top, len(probs_V)))
        for token, prob in zip(tokens_K.tolist(), probs_K.tolist(), strict=True):
            text.append("  ").append(self._name(token), COLORS[Role.SAMPLED].name).append(f" {prob:.3f}")
        return text

    def describe_taken(self, token: int) -> Text:
        """Return a token with the probability that it had."""
        prob = float(self.find_log_probs()[token].exp())
        return Text("took ", "dim").append(self._name(token), COLORS[Role.SAMPLED].name).append(f" {prob:.3f}")

    def _name(self, token: int) -> str:
        """Return the text of a token in quotes, what does not print written out; the id of a part of a character."""
        text = decode(self.env.tokenizer, np.array([token]))
        return f"<{token}>" if "\ufffd" in text else repr(text)


def play_episode(
    env: TokenEnv | GuidanceWrapper,
    lines: Iterable[str],
    console: Console,
    watched: Watched | None = None,
    top: int = 0,
) -> bool:
    """Play one episode that was just reset; return False if the person left before its end.

    Args:
        env: The environment, perhaps in its guidance wrapper.
        lines: What the person types.
        console: Where the episode is shown.
        watched: The policy that goes on at ``:model``; None if there is none.
        top: Number of its likeliest tokens that are shown before each step; 0 for none.
    """
    base, shown = _get_base(env), watched if top else None
    _show(base, console, shown, top)
    for line in lines:
        if line == ":quit":
            return False
        if line == ":tokens":
            _show_tokens(base, console)
            continue
        tokens: Iterable[int] = ()
        try:
            tokens = _follow(env, line, watched)
        except ConfigurationError as error:
            console.print(Text(f"({error})", "dim"))
        for number, token in enumerate(tokens):
            if shown is not None:
                if number:
                    console.print(shown.describe_next(top))
                console.print(shown.describe_taken(token))
            _, reward, terminated, truncated, info = base.step(token)
            if terminated or truncated:
                _show(base, console)
                verdict = info["verdict"]
                end = "terminated" if terminated else "truncated: the budget is spent"
                answer = f"reward {reward:g}  verdict {verdict.outcome}  answer {verdict.answer!r}  ({end})"
                console.print(Text(answer))
                return True
        _show(base, console, shown, top)
    return False


def _follow(env: TokenEnv | GuidanceWrapper, line: str, watched: Watched | None) -> Iterable[int]:
    """Do what a line says, and return the tokens that it writes.

    Raises:
        ConfigurationError: it asks for what cannot be done.
    """
    word, _, number = line.partition(" ")
    if word == ":reveal":
        _change_reveal(env, number)
        return []
    if watched is not None and word == ":model":
        return watched.write(_read_count(number) if number else None)
    tokens = _encode_line(_get_base(env), line)
    if not len(tokens):
        raise ConfigurationError("the ground truth does not begin like this; :end hands the answer in")
    return tokens


def _read_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f":model {text} must be followed by a number of tokens, at least 1")
    return int(text)


def _change_reveal(env: TokenEnv | GuidanceWrapper, text: str) -> None:
    """Start the problem over with another reveal, which later problems have too where the environment is wrapped."""
    try:
        length = float(text)
    except ValueError:
        raise ConfigurationError(f":reveal {text} must be followed by a number of tokens, at least 0") from None
    if isinstance(env, GuidanceWrapper):
        env.length = length
    base = _get_base(env)
    base.reset(options={"problem": base.problem.problem_id, "reveal": length})


def _get_base(env: TokenEnv | GuidanceWrapper) -> TokenEnv:
    return cast(TokenEnv, env.unwrapped)


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


def _show(env: TokenEnv, console: Console, shown: Watched | None = None, top: int = 0) -> None:
    text = Text()
    for role, piece in role_runs(env.tokenizer, env.context, env.roles):
        text.append(escape(piece), COLORS[role].name)
    console.print(text)
    if shown is not None:
        console.print(shown.describe_next(top))


def _show_tokens(env: TokenEnv, console: Console) -> None:
    for position, (token, role) in enumerate(zip(env.context.tolist(), env.roles.tolist(), strict=True)):
        piece: Any = decode(env.tokenizer, np.array([token]))
        console.print(f"{position:5d}  {token:6d}  {piece!r:12}  {Role(role).name.lower()}", markup=False)
