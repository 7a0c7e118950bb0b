"""``g2rpo-env view``: the page of ``report``, written into the cache and opened in a browser."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from g2rpo_env.cli.options import parse
from g2rpo_env.cli.report import PageArguments, make


@dataclass(kw_only=True)
class ViewOptions(PageArguments):
    """Open a page that shows a run: curves, all groups, every token. Prints its path where there is no browser."""

    no_open: bool = False
    """Write the page and print its path alone."""


def find_place(runs: Sequence[Path]) -> Path:
    """Return the file in the cache folder for the page of some runs: the same one each time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "g2rpo-env" / "pages"
    digest = hashlib.sha256("\n".join(str(run.resolve()) for run in runs).encode("utf-8", "surrogateescape"))
    return cache / f"{digest.hexdigest()[:16]}.html"


def main(argv: Sequence[str]) -> None:
    """Write the page into the cache and open it."""
    options = parse(ViewOptions, argv, "view")
    make(options, find_place(options.run), not options.no_open)
