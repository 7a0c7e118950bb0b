"""The command ``g2rpo-env``: finds the subcommand and turns the library's own errors into one line."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from gymnasium.error import Error as GymnasiumError

from g2rpo_env import __version__
from g2rpo_env.errors import G2RPOError
from g2rpo_env.render import make_visible

COMMANDS = {
    "list": ("list_envs", "the registered environments and their options; list recipes: the algorithms"),
    "play": ("play", "answer problems in the terminal, token by token"),
    "train": ("train", "train a recipe and keep everything in a run folder"),
    "view": ("view", "open a page that shows a run: curves, all groups, every token; no network"),
    "report": ("report", "write that page to a file"),
    "show": ("show", "a recorded group in the terminal, every token in colour"),
    "export": ("export", "recorded episodes as a table: Parquet or JSON Lines"),
    "evaluate": ("evaluate", "unguided accuracy and guidance-response curve of a run or a checkpoint"),
    "compare": ("compare", "several algorithms from the same base with the same budget"),
    "response": ("response_curve", "success of a model against the revealed share of the solution"),
    "complete": ("complete", "let a run or a checkpoint complete a text"),
    "push": ("push", "the newest policy of a run to the Hugging Face Hub, with a card made from the run"),
    "bench": ("bench", "how fast it is, beside peers: environments, sampling, training steps, verification, sandbox"),
    "study": ("study", "a claim of the paper end to end: its runs, its table, whether it replicates"),
    "demo": ("demo", "one weak base trained in four ways: grpo, sft, g2rpo-a, g2rpo-a-masked"),
    "demo-seeds": ("demo_seeds", "the demo on several seeds, with the learning-rate grid of plain GRPO"),
}
"""Name -> (module of this package, one line of help). Each module has ``main(argv)``."""

NOT_WRITTEN = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG, errno.ENOTDIR,
)  # fmt: skip
"""What a full disk, a quota, a folder that nothing may be written to, or a bad name says: no defect, and one line."""


def expand_home(argument: str) -> str:
    """Return ``--out=~/runs`` with the home of the user, which a shell only puts in where the path is a word.

    >>> expand_home("--out=~/runs").endswith("~/runs"), expand_home("--title=a~/b")
    (False, '--title=a~/b')
    """
    name, equals, value = argument.partition("=")
    is_home = name.startswith("--") and (value == "~" or value.startswith("~/"))
    return f"{name}{equals}{os.path.expanduser(value)}" if is_home else argument


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status.

    0 = done; 1 = one of the library's own errors, or Gymnasium's, printed as one line; 2 = wrong usage;
    130 = interrupted. Any other exception is a defect and keeps its traceback.
    """
    parser = argparse.ArgumentParser(
        prog="g2rpo-env",
        description="Reinforcement learning for reasoning language models, as Gymnasium environments.",
        epilog="g2rpo-env COMMAND --help shows the options of a command.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    known, rest = parser.parse_known_args(argv)
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as python -m does: --env and --algorithms may name modules of the user's
    rest = [expand_home(argument) for argument in rest]
    module = importlib.import_module(f"g2rpo_env.cli.{COMMANDS[known.command][0]}")
    try:
        module.main(rest)
    except (G2RPOError, GymnasiumError) as error:
        words = make_visible(" ".join(str(error).split()))  # it may name files and hold texts of strangers
        print(f"g2rpo-env {known.command}: {words}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader has seen enough, as in g2rpo-env list | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails too
        elif error.errno in NOT_WRITTEN:
            print(f"g2rpo-env {known.command}: {error}", file=sys.stderr)
        else:
            raise
        return 1
    except KeyboardInterrupt:
        print(f"g2rpo-env {known.command}: interrupted", file=sys.stderr)
        return 130
    return 0
