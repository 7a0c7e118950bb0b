"""``g2rpo-env report``: one HTML file that shows a run, its groups and every token, and needs no network."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from g2rpo_env.cli.options import ReadingOptions, parse
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.render import make_visible
from g2rpo_env.report.page import EPISODES, TOKENS, PageOptions, make_page, write_page


@dataclass(kw_only=True)
class PageArguments(ReadingOptions):
    """What goes into a page."""

    run: tyro.conf.Positional[tuple[Path, ...]]
    """Run folder, folder of runs such as that of the demo, or rollouts file, of TRL, verl, prime-rl and verifiers too;
    two are compared with each other."""
    title: str | None = None
    """Title of the page."""
    updates: tuple[str, ...] = ("all",)
    """Updates whose tokens are kept, such as 1 50 100, or all."""
    episodes: int = EPISODES
    """Most episodes with tokens; whole groups are kept, of the first, the last and evenly spread updates."""
    tokens: int = TOKENS
    """Most tokens."""
    redact: Annotated[str, tyro.conf.arg(metavar="{prompts,solutions}")] = ""
    """What is left out, separated by commas: prompts, solutions or both."""


@dataclass(kw_only=True)
class ReportOptions(PageArguments):
    """Write a page that shows a run: curves, all groups, every token. One file, no server, no network."""

    out: Path = Path("report.html")
    """The file; it is replaced."""
    open: bool = False
    """Open it in a browser."""


def make_page_options(given: PageArguments) -> PageOptions:
    """Return the options of a page.

    Raises:
        ConfigurationError: an option breaks its rule.
    """
    if not given.run:
        raise ConfigurationError("run must name a run folder, such as runs/demo")
    updates = None
    if tuple(given.updates) != ("all",):
        wrong = [word for word in given.updates if not (word.isascii() and word.isdigit() and len(word) < 16)]
        if wrong:
            raise ConfigurationError(f"updates={' '.join(given.updates)!r} must be numbers of updates, or all")
        updates = frozenset(map(int, given.updates))
    redact = frozenset(word for word in given.redact.split(",") if word)
    return PageOptions(updates, given.episodes, given.tokens, redact, given.title, given.tokenizer)


def make(given: PageArguments, out: Path, is_opened: bool) -> None:
    """Make a page, write it, say what was left out and where it is, and open it if asked."""
    page = make_page(given.run, make_page_options(given))
    write_page(page.html, out)
    for note in page.notes:
        print(make_visible(note))
    print(f"{out} ({len(page.html) / 1e6:.1f} MB)")
    if is_opened and not webbrowser.open(out.resolve().as_uri()):
        print("No browser was found: open the file in one.")


def main(argv: Sequence[str]) -> None:
    """Write the page."""
    options = parse(ReportOptions, argv, "report")
    make(options, options.out, options.open)
