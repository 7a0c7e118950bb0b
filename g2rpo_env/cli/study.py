"""``g2rpo-env study``: one claim of the paper, or all, from runs to verdict."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from g2rpo_env.cli.options import ConfigOptions, parse
from g2rpo_env.errors import ConfigurationError, StudyError
from g2rpo_env.study.archive import pack, unpack
from g2rpo_env.study.claims import CLAIMS, Claim, find_claims
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import FORMS, Scale
from g2rpo_env.study.report import HEAD, make_cells, write_claim, write_summary
from g2rpo_env.study.runner import Runner, StudyFolder, order_runs


@dataclass(kw_only=True)
class StudyOptions(ConfigOptions):
    """Try a claim end to end: do its runs, print its table and say whether it replicates.

    Stop it with Ctrl-C and give the same command again: it goes on. All claims of a folder share their runs.
    """

    name: Positional[str] = "list"
    """Name of a claim, several separated by commas, all, or list."""
    full: bool = False
    """Five seeds, every family, every rule: hours."""
    reduced: bool = False
    """Two seeds of a very small model on sums of two digits: minutes."""
    seeds: tuple[int, ...] = ()
    """Root seeds instead of those of the form."""
    out: Path = Path("runs/study")
    """Folder of bases, results, tables and pictures."""
    workers: int | None = None
    """Processes, one thread each; without it the cores that this process may use."""
    device: str = "cpu"
    """Torch device of all processes."""
    seconds: float | None = None
    """End after so many seconds, with the runs that are done by then."""
    trust_results: bool = False
    """Go on with results that other code made, which is an error otherwise."""
    records: bool = False
    """Keep a run folder of each run that is done now, below OUT/runs: groups, rollouts, checkpoints."""
    data: Path | None = None
    """File of results, a line per run, such as those in docs/results: what it has is not done again, and it gets what
    is done now."""


def main(argv: Sequence[str]) -> None:
    """Do the runs and print tables and verdicts."""
    options = parse(StudyOptions, argv, "study")
    scale = make_scale(options)
    if options.name == "list":
        show_claims(scale)
        return
    claims = find_claims(options.name)
    if options.workers is not None and options.workers < 1:
        raise ConfigurationError(f"workers={options.workers} must be at least 1")
    folder = StudyFolder.open(options.out, {"form": scale.name, "seeds": list(scale.seeds)}, options.trust_results)
    runner = Runner(folder, options.workers, options.device, options.seconds, records=options.records)
    runs = [run for claim in claims for run in claim.make_runs(scale)]
    if options.data is not None and options.data.is_file():
        print(f"{unpack(options.data, folder)} results come from {options.data}.")
    try:
        results = runner.do(runs)
    except KeyboardInterrupt:
        print(f"What is done is kept in {options.out}; the same command goes on.", file=sys.stderr)
        raise
    finally:
        if options.data is not None:
            pack(folder, runs, options.data)
    found = {claim.name: [Found(part, results) for part in claim.parts(scale)] for claim in claims}
    for claim in claims:
        show_claim(claim, found[claim.name])
        write_claim(claim, found[claim.name], scale, format_command(options, claim), options.out / "report")
    write_summary(claims, found, options.out / "report")
    print(f"Tables and pictures are in {options.out / 'report'}.")
    if runner.failed:
        raise StudyError(f"{len(runner.failed)} runs failed, the first one with: {next(iter(runner.failed.values()))}")


def make_scale(options: Any) -> Scale:
    """Return the scale of the options; raises ConfigurationError where they contradict each other."""
    if options.full and options.reduced:
        raise ConfigurationError("full and reduced contradict each other: give one of them")
    if len(set(options.seeds)) < len(options.seeds):
        raise ConfigurationError(f"seeds={options.seeds} must be distinct")
    scale = FORMS["reduced" if options.reduced else "full" if options.full else "default"]
    return replace(scale, seeds=options.seeds or scale.seeds)


def format_command(options: Any, claim: Claim) -> str:
    """Return the command that does a claim in this form."""
    form = " --full" if options.full else " --reduced" if options.reduced else ""
    seeds = " --seeds " + " ".join(map(str, options.seeds)) if options.seeds else ""
    return f"g2rpo-env study {claim.name}{form}{seeds}"


def show_claims(scale: Scale) -> None:
    """Print the claims and how many runs each takes."""
    table = Table(title=f"Claims, {scale.name} form, seeds {', '.join(map(str, scale.seeds))}")
    for column in ("name", "claim"):
        table.add_column(column)
    for column in ("runs", "of these new"):
        table.add_column(column, justify="right")
    known: set[str] = set()
    for claim in CLAIMS:
        keys = {run.key for run in order_runs(claim.make_runs(scale))}
        table.add_row(claim.name, claim.says, str(len(keys)), str(len(keys - known)))
        known |= keys
    Console().print(table)
    print(f"{len(known)} runs for all; those above a claim in the list are shared with it where they are the same.")


def show_claim(claim: Claim, found: Sequence[Found]) -> None:
    """Print the tables of a claim, its verdict and its checks."""
    verdict, checks = claim.read(list(found))
    for one in found:
        table = Table(title=f"{claim.name}: {claim.says}\n{one.part.ground.name}; tokens in thousands")
        for column in HEAD:
            table.add_column(column, no_wrap=True, justify="right" if column else "left")
        for label in one.labels:
            table.add_row(*make_cells(one, label))
        Console(width=1000).print(table)  # as wide as its rows: a cut figure is none
    missing = sum(one.missing for one in found)
    print(f"{claim.name}: {verdict}" + (f", {missing} runs are not done" if missing else ""))
    for check in checks:
        print(f"  {'holds' if check.holds else 'does not hold'}: {check.text}")
