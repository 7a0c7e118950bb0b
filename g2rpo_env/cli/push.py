"""``g2rpo-env push``: the newest policy of a run to the Hugging Face Hub, with a card made from the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from g2rpo_env.cli.options import parse
from g2rpo_env.report.hub import push


@dataclass(kw_only=True)
class PushOptions:
    """Upload the newest policy of a run to the Hugging Face Hub, with its metrics and a model card made from the run.

    The card says what the model is, from which base and how it was trained, with all rows from the same base, the
    supervised one above all. The token is the one of `hf auth login`.
    """

    run: tyro.conf.Positional[Path]
    """Run folder of train, demo or compare, such as runs/demo/g2rpo-a."""
    repo: tyro.conf.Positional[str]
    """user/name on the Hub; made if it does not exist."""
    private: bool = False
    """Whether a new repository is private."""
    report: bool = False
    """Put the page of the run into a static Space too, user/name-report."""
    licence: str | None = None
    """Licence by the Hub's names, such as apache-2.0; without it MIT for a model that this library made from nothing,
    and that of the base for others."""


def main(argv: Sequence[str]) -> None:
    """Make the card, upload, and print the addresses."""
    options = parse(PushOptions, argv, "push")
    for url in push(options.run, options.repo, private=options.private, report=options.report, licence=options.licence):
        print(url)
