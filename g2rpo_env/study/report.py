"""Report: a claim's question, verdict, checks and tables as Markdown, from results alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from g2rpo_env.experiments.statistics import Estimate
from g2rpo_env.report.tables import interval_text
from g2rpo_env.study.claims import Claim, format_estimate
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import BASE, Scale
from g2rpo_env.study.pictures import draw

HEAD = ("", "accuracy", "95 % interval", "by seed", "above grpo", "above sft", "sampled", "forward", "updates")
"""Columns of a table; tokens in thousands, of one run on average."""


def make_cells(found: Found, label: str) -> list[str]:
    """Return a row of a table."""
    results = found.of(label)
    if not results:
        return [label, "not done", *[""] * (len(HEAD) - 2)]
    one = found.accuracy(label)
    seeds = " ".join(f"{result['accuracy']:.3f}" for result in results.values())
    above = [_format_difference(found, label, other) for other in (found.grpo, found.sft)]
    counts = [found.mean(label, number) for number in ("sampled_tokens", "forward_tokens", "updates")]
    return [
        label, f"{one.value:.3f}", interval_text(one.low, one.high), seeds, *above,
        f"{counts[0] / 1e3:,.0f}", f"{counts[1] / 1e3:,.0f}", f"{counts[2]:.0f}",
    ]  # fmt: skip


def _format_difference(found: Found, label: str, other: str) -> str:
    if label in (other, BASE) or other not in found.labels or not found.of(other):
        return ""
    estimate: Estimate = found.above(label, other)
    return "" if math.isnan(estimate.value) else format_estimate(estimate)


def make_table(found: Found) -> list[str]:
    """Return a part's table as lines of Markdown: rows that have some result, and the names of the others."""
    done = [label for label in found.labels if found.of(label)]
    lines = ["| " + " | ".join(HEAD) + " |", "|---|" + "---:|" * (len(HEAD) - 1)] if done else []
    lines += ["| " + " | ".join(make_cells(found, label)) + " |" for label in done]
    left = "; ".join(label for label in found.labels if label not in done)
    if left:
        lines += [*([""] if lines else []), f"Rows that are not done: {left}."]
    return lines


def describe_runs(found: Sequence[Found]) -> str:
    """Return where the runs were done, how many and how long they took."""
    results: dict[str, Mapping[str, Any]] = {}
    for one in found:
        keys = {run.key for row in one.part.rows for run in row.runs}
        results |= {key: one.results[key] for key in keys if key in one.results}
    made = [(result["device"], result["versions"]) for result in results.values()]
    where = sorted({f"{device}, python {of['python']}, torch {of['torch']}" for device, of in made})
    minutes = sum(result["seconds"] for result in results.values()) / 60
    text = f"{len(results)} runs, {minutes:.0f} minutes of one process in all ({'; '.join(where)})"
    return text + describe_replays(found)


def describe_replays(found: Sequence[Found]) -> str:
    """Return how much of the reveals those that replay them saw, where it was not all, else nothing.

    Rules with a length per problem may show another length of a problem that comes again.
    """
    seen = shown = 0
    for one in found:
        for row in one.part.rows:
            for run in row.runs:
                if run.replays is not None and {run.key, run.replays.key} <= set(one.results):
                    seen += one.results[run.key]["revealed_tokens"]
                    shown += one.results[run.replays.key]["revealed_tokens"]
    return "" if seen == shown else f"; imitation saw {seen / max(shown, 1):.1%} of the tokens that were revealed"


def write_summary(claims: Sequence[Claim], found: Mapping[str, list[Found]], folder: Path) -> str:
    """Write summary.md, one line per claim with its verdict, and return the text.

    Args:
        claims: The claims.
        found: Name of a claim -> results, one per part.
        folder: Where the file goes.
    """
    lines = ["| claim | says | verdict | checks that hold |", "|---|---|---|---:|"]
    for claim in claims:
        verdict, checks = claim.read(found[claim.name])
        held = f"{sum(check.holds for check in checks)} of {len(checks)}" if checks else ""
        lines.append(f"| [{claim.name}](#{claim.name}) | {claim.says} | {verdict} | {held} |")
    text = "\n".join(lines) + "\n"
    (folder / "summary.md").write_text(text, encoding="utf-8")
    return text


def write_claim(claim: Claim, found: list[Found], scale: Scale, command: str, folder: Path) -> str:
    """Write NAME.md and its pictures into a folder and return the text.

    Args:
        claim: The claim.
        found: Results, one per part.
        scale: The form of the study.
        command: The command that does it.
        folder: Where the files go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    verdict, checks = claim.read(found)
    missing = sum(one.missing for one in found)
    lines = [
        f"### {claim.name}",
        "",
        f"**Claim.** {claim.says} ({claim.source}).",
        "",
        f"**Measured.** {claim.question[0].upper()}{claim.question[1:]}.",
        "",
        f"**Verdict: {verdict}.**",
        "",
        f"`{command}`, seeds {', '.join(map(str, scale.seeds))}; {describe_runs(found)}"
        + (f"; **{missing} runs are not done**." if missing else "."),
        "",
        *(f"- {'holds' if check.holds else 'does not hold'}: {check.text}." for check in checks),
        *([""] if checks else []),
    ]
    for number, one in enumerate(found):
        if len(found) > 1:
            lines += [f"#### {one.part.ground.name}", ""]
        lines += [*make_table(one), ""]
        if claim.plots and any(one.of(label) for label in one.labels):
            name = claim.name if len(found) == 1 else f"{claim.name}-{number + 1}"
            path = draw(claim, one, folder / f"{name}.png")
            lines += [f"![{claim.name}, {one.part.ground.name}](images/{path.name})", ""]
    text = "\n".join(lines)
    (folder / f"{claim.name}.md").write_text(text, encoding="utf-8")
    return text
