"""``g2rpo-env show``: a group of a run in the terminal, every token in colour."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console

from g2rpo_env.cli.options import ReadingOptions, parse
from g2rpo_env.errors import DataError
from g2rpo_env.render import make_visible
from g2rpo_env.report.reader import RunFiles, read_runs
from g2rpo_env.report.token_view import TokenView


@dataclass(kw_only=True)
class ShowOptions(ReadingOptions):
    """Show a recorded group of a run as coloured text."""

    run: tyro.conf.Positional[Path]
    """Run folder, folder of runs, or rollouts file."""
    label: str | None = None
    """Which run of a folder of runs; without it the first that has recorded tokens."""
    update: int | None = None
    """Update; without it the last that is recorded."""
    group: int | None = None
    """Number of the group; without it the first of the update."""
    problem: str | None = None
    """Id of the problem, instead of the number of the group."""
    channel: Literal["role", "probability", "entropy", "credit", "weight", "change"] = "role"
    """What the colours say."""


def choose_run(runs: Sequence[RunFiles], label: str | None) -> RunFiles:
    """Return the run that is asked for.

    Raises:
        DataError: there is none of that name, or none with recorded tokens.
    """
    if label is not None:
        named = [run for run in runs if run.label == label]
        if not named:
            raise DataError(f"label={label!r} must be one of {', '.join(make_visible(run.label) for run in runs)}")
        return named[0]
    recorded = [run for run in runs if run.rollouts]
    if not recorded:
        raise DataError("run must hold recorded tokens, and has none: train with --rollouts-every 50")
    return recorded[0]


def read_update(run: RunFiles, update: int | None) -> Iterator[dict[str, Any]]:
    """Yield the records of an update.

    Raises:
        DataError: its tokens are not recorded.
    """
    files = [(u, path) for u, path in run.rollouts if update is None or u in (update, None)]
    if not files:
        recorded = ", ".join(str(u) for u, _ in run.rollouts)
        raise DataError(f"update={update} must be one whose tokens are recorded: {recorded}")
    for record in run.read(*files[-1]):
        if update is None or record["update"] == update:
            yield record


def find_group(options: ShowOptions) -> TokenView:
    """Return the group that is asked for.

    Raises:
        DataError: it is not there.
    """
    run = choose_run(read_runs(options.run, tokenizer=options.tokenizer), options.label)
    records = list(read_update(run, options.update))
    groups = dict.fromkeys((record["group"], record["problem_id"]) for record in records)
    fits = [group for group, problem in groups if options.group in (None, group) and options.problem in (None, problem)]
    if not fits:
        known = ", ".join(f"{group} ({make_visible(problem[:40])})" for group, problem in list(groups)[:8])
        asked = f"group={options.group}" if options.problem is None else f"problem={options.problem!r}"
        raise DataError(f"{asked} must be one of the update: {known}{' ...' if len(groups) > 8 else ''}")
    chosen = tuple(record for record in records if record["group"] == fits[0])
    title = f"{run.label}, update {chosen[0]['update']}, group {fits[0]}, problem {chosen[0]['problem_id'][:80]}"
    return TokenView(chosen, options.channel, sum(sum(record["weights"]) for record in records), title)


def main(argv: Sequence[str]) -> None:
    """Print the group."""
    options = parse(ShowOptions, argv, "show")
    text = find_group(options).__rich__()
    encoding = sys.stdout.encoding or "utf-8"
    text.plain = (
        text.plain.encode(encoding, "backslashreplace").decode(encoding) if _is_narrow(encoding) else text.plain
    )
    Console(highlight=False, soft_wrap=True).print(text)


def _is_narrow(encoding: str) -> bool:
    return not encoding.lower().replace("-", "").startswith("utf")
