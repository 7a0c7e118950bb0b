"""One HTML file of one run or more: template, data, and the bundle of ``viewer/``; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g2rpo_env import __version__
from g2rpo_env.errors import ConfigurationError, DataError, StorageError
from g2rpo_env.render import css_palette, make_visible
from g2rpo_env.report.chunks import ChunkBuilder, encode
from g2rpo_env.report.index import IndexBuilder, pair_results
from g2rpo_env.report.reader import RunFiles, is_number, is_there, read_object, read_runs
from g2rpo_env.report.redaction import REDACTIONS, redact_record
from g2rpo_env.report.suspicions import RULES, find_suspicions

VIEWER = Path(__file__).parent / "viewer"
SCHEMA = "g2rpo-page/1"

POLICY = (
    "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
"""Content security policy of the page: its own script and styles, and no network."""

EPISODES, TOKENS = 10_000, 2_000_000
"""Episodes and tokens that a page holds at most, unless it is told otherwise."""

MOST_RUNS = 24

SUMMARY = "summary.json"
"""File of a folder of runs with the results of all rows, the base included."""


@dataclass(frozen=True)
class PageOptions:
    """What goes into a page.

    Attributes:
        updates: Updates whose tokens are kept; None for all that are recorded.
        episodes: Most episodes with tokens, >= 0, over all runs.
        tokens: Most tokens, >= 0, over all runs.
        redact: What is left out: names of :data:`~g2rpo_env.report.redaction.REDACTIONS`.
        title: Title of the page; None makes one of the runs.
        tokenizer: Folder of a tokenizer, for rollouts of other libraries that hold token ids alone.
    """

    updates: frozenset[int] | None = None
    episodes: int = EPISODES
    tokens: int = TOKENS
    redact: frozenset[str] = frozenset()
    title: str | None = None
    tokenizer: Path | None = None

    def __post_init__(self) -> None:
        for name in ("episodes", "tokens"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        unknown = sorted(self.redact - set(REDACTIONS))
        if unknown:
            raise ConfigurationError(f"redact={','.join(unknown)!r} must be of {', '.join(REDACTIONS)}")


@dataclass
class Budget:
    """Episodes and tokens that may still be taken."""

    episodes: int
    tokens: int

    def takes(self, episodes: int, tokens: int) -> bool:
        """Take a group, if it fits as a whole."""
        fits = episodes <= self.episodes and tokens <= self.tokens
        if fits:
            self.episodes -= episodes
            self.tokens -= tokens
        return fits


@dataclass(frozen=True)
class Page:
    """A page and what is to be said of it.

    Attributes:
        html: The page.
        notes: A sentence for each thing that was left out.
    """

    html: str
    notes: tuple[str, ...]


@dataclass
class RunData:
    """What a page holds of a run: its index, and an encoded chunk per recorded update."""

    index: dict[str, Any]
    chunks: dict[str, str] = field(default_factory=dict)
    note: str = ""


# -- choosing ---------------------------------------------------------------------------------------------------------


def order_updates(count: int) -> list[int]:
    """Return the places 0..count-1 in the order in which they are kept: first, last, then always between two others.

    >>> order_updates(5)
    [0, 4, 2, 1, 3]
    """
    ends = [0, count - 1][: min(count, 2)]
    order, spans = ends, [(0, count - 1)]
    while spans:
        spans = [span for span in spans if span[1] - span[0] > 1]
        middles = [(low + high) // 2 for low, high in spans]
        order += middles
        spans = [half for (low, high), m in zip(spans, middles, strict=True) for half in ((low, m), (m, high))]
    return order


def keep_groups(records: Sequence[Mapping[str, Any]], budget: Budget) -> list[bool]:
    """Return which records are kept: those of whole groups, in their order, as long as the budget lasts."""
    sizes: dict[int, list[int]] = {}
    for record in records:
        size = sizes.setdefault(record["group"], [0, 0])
        size[0] += 1
        size[1] += len(record["tokens"])
    kept = {group: budget.takes(*size) for group, size in sizes.items()}
    return [kept[record["group"]] for record in records]


def read_updates(
    run: RunFiles, options: PageOptions, budget: Budget
) -> Iterator[tuple[int, list[dict[str, Any]], int]]:
    """Yield (update, records, records left out unread) of each update that may be kept, the most wanted first."""
    files = [(u, f) for u, f in run.rollouts if options.updates is None or u is None or u in options.updates]
    for place in order_updates(len(files)):
        update, path = files[place]
        if budget.episodes <= 0 or budget.tokens <= 0:
            yield update or 0, [], count_lines(path) if run.foreign is None and is_there(run.root, path) else 0
            continue
        for found, records, unread in hold_updates(run, update, path, budget):
            if options.updates is None or found in options.updates:
                yield found, records, unread


def hold_updates(
    run: RunFiles, update: int | None, path: Path, budget: Budget
) -> Iterator[tuple[int, list[dict[str, Any]], int]]:
    """Yield (update, records, unread) of a file, which holds one update, or several where it stands alone."""
    held: dict[int, list[dict[str, Any]]] = {}
    unread: dict[int, int] = {}
    groups: set[tuple[int, int]] = set()
    episodes = tokens = 0
    for record in run.read(update, path):
        key = (record["update"], record["group"])
        if key not in groups and (episodes > budget.episodes or tokens > budget.tokens):
            unread[key[0]] = unread.get(key[0], 0) + 1
            continue
        groups.add(key)
        held.setdefault(key[0], []).append(record)
        episodes, tokens = episodes + 1, tokens + len(record["tokens"])
    for found in sorted({*held, *unread}):
        yield found, held.get(found, []), unread.get(found, 0)


def count_lines(path: Path) -> int:
    """Return the lines of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


# -- one run ----------------------------------------------------------------------------------------------------------


def make_run(run: RunFiles, options: PageOptions, budget: Budget, number: int) -> RunData:
    """Return index and chunks of a run.

    Args:
        run: The run.
        options: What is kept.
        budget: Episodes and tokens that may be taken for this run.
        number: Number of the run in the page.

    Raises:
        DataError: a record is damaged.
    """
    builder, chunks, total = IndexBuilder(run, options.redact), {}, 0
    for update, records, unread in read_updates(run, options, budget):
        total += len(records) + unread
        kept = keep_groups(records, budget)
        if not any(kept):
            continue
        bits = find_suspicions(records, builder.truth)
        chunk = ChunkBuilder(update)
        chunk.weight_sum = float(sum(sum(record["weights"]) for record in records))
        for record, is_kept, bit in zip(records, kept, bits, strict=True):
            if is_kept:
                builder.add(record, bit)
                chunk.add(redact_record(record, options.redact, builder.number_of(record["problem_id"])))
        name = f"chunk-{number}-{update}"
        if name in chunks:
            raise DataError(f"{run.root}: update {update} is recorded in two files of rollouts, and must be in one")
        chunks[name] = encode(chunk.build())
        builder.add_chunk(name, update, len(chunk))
    index = builder.build()
    found = len(index["episodes"]["update"])
    note = f"{run.label}: {found:,} of {total:,} recorded episodes hold tokens in this page." if found < total else ""
    index["cut"] = note
    return RunData(index, chunks, note)


# -- the page ---------------------------------------------------------------------------------------------------------


def find_runs(paths: Sequence[Path], tokenizer: Path | None = None) -> list[RunFiles]:
    """Return the runs of one folder or more, with labels that differ; the tokenizer as of :func:`~.reader.read_runs`.

    Raises:
        DataError: there is no run, too many, a file is damaged, or two that were named are of different tasks.
    """
    named = [read_runs(path, tokenizer=tokenizer) for path in paths]
    runs = [run for found in named for run in found]
    if len(runs) > MOST_RUNS:
        raise DataError(f"run={str(paths[0])!r} holds {len(runs)} runs, and a page has at most {MOST_RUNS}")
    if len(paths) > 1:
        check_same_task(paths, [found[0] for found in named])
    labels: dict[str, int] = {}
    for run in runs:
        labels[run.label] = labels.get(run.label, 0) + 1
    if max(labels.values()) == 1:
        return runs
    return [
        RunFiles(**{**vars(run), "label": f"{run.label} ({number})" if labels[run.label] > 1 else run.label})
        for number, run in enumerate(runs, 1)
    ]


def check_same_task(paths: Sequence[Path], runs: Sequence[RunFiles]) -> None:
    """Raise DataError where runs that are to be compared are of different tasks."""
    known = [(path, run) for path, run in zip(paths, runs, strict=True) if run.facts.get("env")]
    for path, run in known[1:]:
        for name in ("env", "task"):
            here, there = run.facts.get(name), known[0][1].facts.get(name)
            if here != there:
                raise DataError(
                    f"run={str(path)!r} has {name}={_shorten(here)} and {str(known[0][0])!r} has {_shorten(there)}: "
                    "two runs in one page must be of one task"
                )


def _shorten(value: Any) -> str:
    text = make_visible(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def make_page(paths: Sequence[Path], options: PageOptions | None = None) -> Page:
    """Return the page of one run folder or more, of folders of runs, or of files of rollouts.

    Raises:
        DataError: a file is damaged, or no run is there.
    """
    options = options or PageOptions()
    runs = find_runs(paths, options.tokenizer)
    whole, parts = Budget(options.episodes, options.tokens), []
    for number, run in enumerate(runs):
        left = len(runs) - number
        share = Budget(whole.episodes // left, whole.tokens // left)
        before = (share.episodes, share.tokens)
        parts.append(make_run(run, options, share, number))
        whole.takes(before[0] - share.episodes, before[1] - share.tokens)
    index = {
        "schema": SCHEMA,
        "version": __version__,
        "redacted": sorted(options.redact),
        "rules": [[name, *texts] for name, texts in RULES.items()],
        "runs": [part.index for part in parts],
        "pairs": pair_results(runs),
        "rows": make_rows(paths, runs),
    }
    title = make_visible(options.title or " and ".join(run.label for run in runs[:2]) + " – g2rpo-env")
    index["title"] = title
    data = [("index", encode(index)), *(item for part in parts for item in part.chunks.items())]
    return Page(render(title, data), tuple(part.note for part in parts if part.note))


def make_rows(paths: Sequence[Path], runs: Sequence[RunFiles]) -> list[list[Any]]:
    """Return [label, number of its run or None, accuracy, low, high] of what was measured at the end.

    Those of summary.json of folders of runs stand first that are no run, such as the base of a comparison.
    """
    rows: list[list[Any]] = []
    labels = {run.label for run in runs}
    for path in paths:
        summary = read_object(path, SUMMARY) if path.is_dir() else {}
        for label, entry in list(summary.items())[:MOST_RUNS]:
            if label not in labels and isinstance(entry, dict) and is_number(entry.get("accuracy")):
                rows.append([label, None, entry["accuracy"], *get_interval(entry)])
    for number, run in enumerate(runs):
        if is_number(run.result.get("accuracy")):
            rows.append([run.label, number, run.result["accuracy"], *get_interval(run.result)])
    return rows


def get_interval(entry: Mapping[str, Any]) -> list[Any]:
    """Return the interval of a result as two numbers, two times None where it has none."""
    found = entry.get("interval")
    return found if isinstance(found, list) and len(found) == 2 and all(map(is_number, found)) else [None, None]


def render(title: str, data: Sequence[tuple[str, str]]) -> str:
    """Return the HTML of a page from encoded data."""
    from jinja2 import Environment
    from markupsafe import Markup

    script = (VIEWER / "dist" / "viewer.js").read_text(encoding="utf-8")
    style = (VIEWER / "dist" / "viewer.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = Environment(autoescape=True).from_string((VIEWER / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        policy=Markup(POLICY.format(hash=digest)),
        style=Markup(css_palette() + style),
        script=Markup(script),
        data=data,
    )


def write_page(html: str, out: Path) -> None:
    """Write a page beside its place and rename it, so that a full disk leaves no half one.

    Raises:
        StorageError: it could not be written; what was there before is whole.
    """
    half = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=out.parent, suffix=".part", delete=False) as file:
            half = Path(file.name)
            file.write(html)
        half.chmod(0o666 & ~_get_umask())
        os.replace(half, out)
    except OSError as error:
        if half is not None:
            half.unlink(missing_ok=True)
        raise StorageError(f"out={str(out)!r} could not be written: {error.strerror or error}") from None


def _get_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
