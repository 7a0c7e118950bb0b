"""``g2rpo-env bench verify``: the answer checker on labelled pairs, beside math-verify with its own settings."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.envs.mathematics.equality import MathVerifier
from g2rpo_env.envs.mathematics.pool import SymbolicWorker
from g2rpo_env.errors import ConfigurationError

Grader = Callable[[str, str], bool]

LANES = 64
"""Answers that a rollout finishes together."""


def bench_verify(repeats: int) -> list[Measurement]:
    """Return accuracy and times over the pairs of ``math_pairs/pairs.jsonl`` in the folder that G2RPO_DATA names.

    Raises:
        ConfigurationError: G2RPO_DATA is not set or holds no pairs.
    """
    path = Path(os.environ.get("G2RPO_DATA", "")) / "math_pairs" / "pairs.jsonl"
    if not os.environ.get("G2RPO_DATA") or not path.is_file():
        raise ConfigurationError(f"G2RPO_DATA={os.environ.get('G2RPO_DATA')!r} must name a folder with {path.name}")
    pairs = read_pairs(path)
    verifier = MathVerifier()
    started = time.perf_counter()
    if SymbolicWorker.is_available():
        verifier.worker.start()
    start = Measurement("MathVerifier, start of math-verify's process, once", time.perf_counter() - started, "s")
    rows = score("MathVerifier", lambda gold, text: verifier.check([(gold, text)])[0].correct, pairs)
    rows.append(start)
    rows.append(Measurement("MathVerifier, GSM8K answers", measure_numbers(repeats), "checks/s"))
    rollout = measure_rollout(repeats)
    numbers = [(str(n), f"so there are {n}.\n#### {n}") for n in range(len(pairs))]
    for what, answers in {"GSM8K answers": numbers, "answers of the pairs": [pair[:2] for pair in pairs]}.items():
        share = measure_batch(answers) / rollout
        rows.append(Measurement(f"MathVerifier, {LANES} {what} / a rollout of {LANES} answers", share, "ratio"))
    if SymbolicWorker.is_available():
        rows += score("math-verify", check_with_math_verify, pairs)
    return rows


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Return (gold, completion, expected) of the core pairs, boxed where the file says so."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if row.get("convention"):
            continue
        gold = row["gold"] if row["wrap"] == "none" else rf"\boxed{{{row['gold']}}}"
        text = rf"\boxed{{{row['pred']}}}" if row["wrap"] == "boxed" else row["pred"]
        pairs.append((gold, text, bool(row["expected"])))
    return pairs


def score(name: str, grader: Grader, pairs: list[tuple[str, str, bool]]) -> list[Measurement]:
    """Return share right, both kinds of mistakes, and median, p99 and worst time of a grader."""
    seconds, too_kind, too_strict = [], 0, 0
    for gold, text, expected in pairs:
        started = time.perf_counter()
        correct = grader(gold, text)
        seconds.append(time.perf_counter() - started)
        too_kind += correct and not expected
        too_strict += expected and not correct
    seconds.sort()
    right = 1 - (too_kind + too_strict) / len(pairs)
    figures = {"median": seconds[len(pairs) // 2], "p99": seconds[int(len(pairs) * 0.99)], "worst": seconds[-1]}
    return [
        Measurement(f"{name}, right of {len(pairs)}", right, "ratio"),
        Measurement(f"{name}, false positives", too_kind, "pairs"),
        Measurement(f"{name}, false negatives", too_strict, "pairs"),
        *(Measurement(f"{name}, {what}", 1e6 * value, "µs") for what, value in figures.items()),
    ]


def measure_numbers(repeats: int, count: int = 20_000) -> float:
    """Return checks per second of answers like GSM8K's, each seen for the first time, best of ``repeats``."""
    best = 0.0
    pairs = [(str(n), f"so there are {n}.\n#### {n}") for n in range(count)]
    for _ in range(repeats):
        verifier = MathVerifier()
        started = time.perf_counter()
        verdicts = verifier.check(pairs)
        best = max(best, count / (time.perf_counter() - started))
        assert all(verdict.correct for verdict in verdicts)
    return best


def measure_batch(pairs: list[tuple[str, str]]) -> float:
    """Return the mean seconds of a check of as many pairs as there are lanes, each seen for the first time."""
    verifier = MathVerifier()
    if SymbolicWorker.is_available():
        verifier.worker.start()
    batches = [pairs[start : start + LANES] for start in range(0, len(pairs), LANES)]
    started = time.perf_counter()
    for batch in batches:
        verifier.check(batch)
    return (time.perf_counter() - started) * LANES / len(pairs)


def measure_rollout(repeats: int) -> float:
    """Return the seconds of a rollout of the tiny model, one answer a lane, best of ``repeats``.

    The weights are random, so that answers go on until the budget of 127 tokens: as many as those of GSM8K have.
    """
    from g2rpo_env.agents import CausalLMPolicy
    from g2rpo_env.agents.rollout import collect
    from g2rpo_env.experiments.environments import make_envs

    envs = make_envs("g2rpo_env/Addition-v0", LANES // 8, 8, {"digits": 12})
    policy = CausalLMPolicy.tiny(envs)
    envs.reset(seed=0)
    seconds = []
    for _ in range(repeats + 1):  # the first one prepares the decoder
        started = time.perf_counter()
        collect(policy, envs)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def check_with_math_verify(gold: str, text: str) -> bool:
    """Return the verdict of math-verify with its default settings."""
    from math_verify import parse, verify

    try:
        return bool(verify(parse(gold), parse(text)))
    except Exception:
        return False
