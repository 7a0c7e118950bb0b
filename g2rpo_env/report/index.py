"""The index of a run in a page: curves, groups, problems and a line per recorded episode, all as columns."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.report.reader import RunFiles, is_count, is_number
from g2rpo_env.report.redaction import hide_paths, redact_problem
from g2rpo_env.report.suspicions import get_text
from g2rpo_env.verdict import Outcome

MEMBER_COLUMNS = ("reward", "correct", "guided", "reveal", "sampled", "truncated", "advantage", "answer")
"""Fields of a group with an entry per member."""

EPISODE_COLUMNS = ("update", "group", "place", "outcome", "stage", "roles", "flags")
"""What filters need of a recorded episode besides its group; ``place`` is its place in its chunk."""

EMPTY_PROBLEM: dict[str, Any] = {"prompt": "", "steps": [], "final": None, "answer": None, "level": None, "hint": None}

MOST_METRICS, MOST_PAIRS, MOST_PLACES = 200, 4000, 40
RESAMPLES, MOST_PROBLEMS = 2000, 20_000
"""Of the interval of a paired difference; of more problems than that the first are taken."""


class IndexBuilder:
    """Collects what a page says of a run besides its tokens.

    Args:
        run: The run.
        redact: What is left out.
    """

    def __init__(self, run: RunFiles, redact: Collection[str] = ()) -> None:
        self.run, self.redact = run, redact
        self._problems: dict[str, dict[str, Any]] = {p["problem_id"]: dict(p) for p in run.problems}
        self._numbers = {name: number for number, name in enumerate(self._problems)}
        self._groups: dict[tuple[int, int], dict[str, Any]] = {(g["update"], g["group"]): g for g in run.groups}
        self._derived: set[tuple[int, int]] = set()
        self._episodes: dict[str, list[Any]] = {name: [] for name in EPISODE_COLUMNS}
        self._places: dict[int, int] = {}
        self._chunks: list[list[Any]] = []
        for group in run.groups:
            self.number_of(group["problem_id"])

    @property
    def truth(self) -> dict[str, str] | None:
        """Problem id -> true answer, where the task lets wrong answers pass."""
        task = self.run.facts.get("task")
        grading = task.get("grading") if isinstance(task, dict) else None
        if not isinstance(grading, dict) or not (grading.get("passing") or grading.get("spot")):
            return None
        return {name: problem["answer"] for name, problem in self._problems.items() if problem["answer"] is not None}

    def number_of(self, problem_id: str) -> int:
        """Return the number of a problem; a new one gets the next."""
        self._problems.setdefault(problem_id, {"problem_id": problem_id, **EMPTY_PROBLEM})
        return self._numbers.setdefault(problem_id, len(self._numbers))

    def add(self, record: Mapping[str, Any], flags: int) -> None:
        """Add a recorded episode and the rules of suspicion that it meets."""
        update = record["update"]
        key = (update, record["group"])
        self.number_of(record["problem_id"])
        problem = self._problems[record["problem_id"]]
        if not problem["prompt"] and record["prompt_reveal"] is None:
            problem["prompt"] = get_text(record, Role.PROMPT)
        if key not in self._groups:
            self._derived.add(key)
            empty = {"update": update, "group": key[1], "problem_id": record["problem_id"]}
            self._groups[key] = {**empty, **{name: [] for name in MEMBER_COLUMNS}}
        if key in self._derived:
            for name, value in describe_member(record).items():
                self._groups[key][name].append(value)
        place = self._places[update] = self._places.get(update, -1) + 1
        values = (
            update,
            key[1],
            place,
            list(Outcome).index(record["verdict"]["outcome"]),
            record["stage"],
            sum(1 << role for role in set(record["roles"])),
            flags,
        )
        for name, value in zip(EPISODE_COLUMNS, values, strict=True):
            self._episodes[name].append(value)

    def add_chunk(self, name: str, update: int, episodes: int) -> None:
        """Add the name of the chunk that holds the tokens of an update."""
        self._chunks.append([name, update, episodes])

    def build(self) -> dict[str, Any]:
        """Return the index as plain data."""
        run = self.run
        groups = sorted(self._groups.values(), key=lambda group: (group["update"], group["group"]))
        return {
            "label": run.label,
            "facts": flatten(
                {k: v for k, v in run.facts.items() if k not in ("argv", "recipe", "task", "guidance", "versions")}
            ),
            "parts": {name: flatten(run.facts.get(name)) for name in ("recipe", "task", "guidance", "versions")},
            "config": flatten(run.config.get("options", {k: v for k, v in run.config.items() if k != "argv"})),
            "command": make_command(run.facts),
            "env": short(run.facts.get("env")),
            "agent": short(run.facts.get("agent") or run.label),
            "seed": run.facts.get("seed") if is_number(run.facts.get("seed")) else None,
            "metrics": make_metrics(run.metrics),
            "seconds": sum_seconds(run.timings),
            "evaluations": {
                "update": [row["update"] for row in run.evaluations],
                "accuracy": [row["accuracy"] for row in run.evaluations],
                "low": [row["interval"][0] if row["interval"] else None for row in run.evaluations],
                "high": [row["interval"][1] if row["interval"] else None for row in run.evaluations],
                "problems": [row["problems"] for row in run.evaluations],
            },
            "result": make_result(run.result),
            "groups": self._build_groups(groups),
            "answers": self._answers,
            "problems": self._build_problems(),
            "episodes": self._episodes,
            "chunks": sorted(self._chunks, key=lambda chunk: chunk[1]),
            "recorded": bool(run.rollouts),
            "every_group": bool(run.groups),
        }

    @property
    def _answers(self) -> list[str]:
        found = (a for group in self._groups.values() for a in group["answer"] if a is not None)
        return list(dict.fromkeys(found))

    def _build_groups(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        numbers = {answer: number for number, answer in enumerate(self._answers)}
        columns: dict[str, list[Any]] = {
            "update": [group["update"] for group in groups],
            "group": [group["group"] for group in groups],
            "problem": [self._numbers[group["problem_id"]] for group in groups],
            "size": [len(group["reward"]) for group in groups],
        }
        for name in MEMBER_COLUMNS:
            columns[name] = [value for group in groups for value in group[name]]
        columns["answer"] = [None if answer is None else numbers[answer] for answer in columns["answer"]]
        columns["advantage"] = [None if a is None else float(f"{a:.4g}") for a in columns["advantage"]]
        for name in ("correct", "guided", "truncated"):
            columns[name] = [int(value) for value in columns[name]]
        return columns

    def _build_problems(self) -> list[list[Any]]:
        names = ("problem_id", "prompt", "steps", "final", "answer", "level", "hint")
        problems = (redact_problem(p, self.redact, self._numbers[name]) for name, p in self._problems.items())
        return [[problem[name] for name in names] for problem in problems]


def describe_member(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of an episode in the columns of its group."""
    return {
        "reward": record["reward"],
        "correct": record["verdict"]["outcome"] == Outcome.CORRECT,
        "guided": record["reveal"] > 0,
        "reveal": record["reveal"],
        "sampled": record["roles"].count(int(Role.SAMPLED)),
        "truncated": record["truncated"],
        "advantage": record["advantage"],
        "answer": record["verdict"]["answer"],
    }


# -- small files ------------------------------------------------------------------------------------------------------


def short(value: Any) -> str:
    """Return a value as a short text without paths of the machine."""
    return "" if value is None else hide_paths(value if isinstance(value, str) else json.dumps(value))[:200]


def flatten(value: Any, name: str = "") -> list[list[str]]:
    """Return nested data as pairs of texts, (dotted name, value), without paths of the machine."""
    return [[hide_paths(key), hide_paths(text)] for key, text in _flatten(value, name, 0)][:MOST_PAIRS]


def _flatten(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value and depth < MOST_PLACES:
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else key, depth + 1)
    elif value is not None or name:
        yield name, value if isinstance(value, str) else json.dumps(value)


def make_command(facts: Mapping[str, Any]) -> str:
    """Return the command line that made a run, as far as the run says; empty where it does not."""
    command, argv = facts.get("command"), facts.get("argv")
    if not isinstance(command, str):
        return ""
    words = [word for word in argv if isinstance(word, str)] if isinstance(argv, list) else []
    return hide_paths(shlex.join(["g2rpo-env", command, *words]))


def make_metrics(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return [name, values] of each metric that is a number somewhere; ``update`` comes first."""
    rows = [row for row in rows if is_count(row.get("update"))]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if is_number(value))
    ordered = ["update", *(name for name in names if name != "update")] if rows else []
    return [
        [name, [row[name] if is_number(row.get(name)) else None for row in rows]] for name in ordered[:MOST_METRICS]
    ]


def sum_seconds(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return [update, seconds since the start] of each timed update."""
    rows = [row for row in rows if is_count(row.get("update")) and is_number(row.get("seconds"))]
    total = np.cumsum([row["seconds"] for row in rows])
    return [[row["update"], round(float(seconds), 2)] for row, seconds in zip(rows, total, strict=True)]


def make_result(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the page says of the final evaluation; None where there is none."""
    interval = result.get("interval")
    if not is_number(result.get("accuracy")):
        return None
    is_pair = isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval))
    found = {name: result[name] for name in ("update", "problems", "sampled_tokens") if is_number(result.get(name))}
    return {
        **found,
        "accuracy": result["accuracy"],
        "interval": interval if is_pair else None,
        "split": short(result.get("split")),
    }


# -- pairs of runs ----------------------------------------------------------------------------------------------------


def get_answers(result: Mapping[str, Any]) -> dict[str, float]:
    """Return problem id -> share of right answers at the end of a run; empty where the run does not say."""
    ids, rows = result.get("problem_ids"), result.get("correct")
    if not isinstance(ids, list) or not isinstance(rows, list) or len(ids) != len(rows):
        return {}
    if not all(isinstance(row, list) and row and all(value in (0, 1) for value in row) for row in rows):
        return {}
    return {str(name): sum(row) / len(row) for name, row in zip(ids, rows, strict=True)}


def pair_results(runs: Sequence[RunFiles]) -> list[list[float]]:
    """Return [i, j, difference, low, high, problems] for each two runs that answered the same problems at the end.

    The difference is the accuracy of run j minus that of run i, with the 95 % interval of a bootstrap over problems.
    """
    answers = [get_answers(run.result) for run in runs]
    pairs = []
    for j in range(len(runs)):
        for i in range(j):
            common = sorted(answers[i].keys() & answers[j].keys())[:MOST_PROBLEMS]
            if common and runs[i].facts.get("env") == runs[j].facts.get("env"):
                difference = np.array([answers[j][name] - answers[i][name] for name in common])
                pairs.append([i, j, *map(float, bootstrap(difference)), len(common)])
    return pairs


def bootstrap(difference_P: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of paired differences with its 95 % percentile interval (2,000 resamples, seeded)."""
    rng, size = np.random.default_rng(0), len(difference_P)
    block = max(1, min(RESAMPLES, 2**20 // size))  # rows of picks that are in memory at once
    means = [
        difference_P[rng.integers(size, size=(min(block, RESAMPLES - start), size))].mean(axis=1)
        for start in range(0, RESAMPLES, block)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(difference_P.mean()), float(low), float(high)
