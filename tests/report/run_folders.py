"""Run folders of version 2 for tests: made of generated episodes, with the files that training writes."""

import json
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FIXED = {
    "valid": True, "terminated": True, "truncated": False, "stage": 0, "parent": None, "train_prefix": None, "seed": 0,
    "shaped_reward": None, "prompt_reveal": None, "credits": None, "logprobs_before": None, "logprobs_after": None,
    "entropies_after": None,
}  # fmt: skip

PROMPT, REVEALED, SAMPLED, ENVIRONMENT = range(4)


def make_record(pieces: Sequence[tuple[int, Sequence[str]]], **changes: Any) -> dict[str, Any]:
    """Return a record of version 2 from (role, texts of its tokens), with channels that look like those of training."""
    texts = [text for _, some in pieces for text in some]
    roles = [role for role, some in pieces for _ in some]
    rng = random.Random(zlib.crc32("".join(texts).encode("utf-8", "surrogatepass")))
    own = [role in (REVEALED, SAMPLED) for role in roles]
    # As measured in training: most tokens are certain, and stay so; the others change by hundredths.
    sure = [rng.random() < 0.6 for _ in roles]
    draw = [round(-0.002 - 0.005 * rng.random() if one else -rng.expovariate(1.2), 6) for one in sure]
    change = [rng.gauss(0, 0.0002 if one else 0.03) for one in sure]
    doubt = [0.025 + 0.05 * rng.random() if one else 0.3 + 0.7 * rng.random() for one in sure]
    weight = round(1 / max(1, sum(own)), 6)
    weights = [weight if one else 0.0 for one in own]
    record = {
        "version": 2,
        "update": 1,
        "tokens": [4 + zlib.crc32(text.encode("utf-8", "surrogatepass")) % 50000 for text in texts],
        "roles": roles,
        "logprobs": [x if role == SAMPLED else None for x, role in zip(draw, roles, strict=True)],
        "problem_id": "p",
        "group": 0,
        "member": 0,
        "reveal": roles.count(REVEALED),
        "reward": 0.0,
        "verdict": {"outcome": "wrong", "answer": None, "message": "", "score": None},
        **FIXED,
        "texts": texts,
        "logprobs_before": [x if role == REVEALED else None for x, role in zip(draw, roles, strict=True)],
        "logprobs_after": [round(x + c, 6) if o else None for x, c, o in zip(draw, change, own, strict=True)],
        "entropies_after": [round(x, 6) if one else None for x, one in zip(doubt, own, strict=True)],
        "advantage": -0.5,
        "weights": weights,
        "loss_mask": [int(weight > 0) for weight in weights],
        "selected": True,
    }
    record.update(changes)
    if record["advantage"] is None:
        record |= {"weights": [0.0] * len(texts), "loss_mask": [0] * len(texts), "selected": False}
    return record


def make_group_row(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the line of groups.jsonl of the episodes of one group."""
    first = records[0]
    return {
        "update": first["update"],
        "group": first["group"],
        "problem_id": first["problem_id"],
        "reward": [r["reward"] for r in records],
        "correct": [r["verdict"]["outcome"] == "correct" for r in records],
        "guided": [r["reveal"] > 0 for r in records],
        "reveal": [r["reveal"] for r in records],
        "sampled": [r["roles"].count(SAMPLED) for r in records],
        "truncated": [r["truncated"] for r in records],
        "advantage": [r["advantage"] for r in records],
        "answer": [r["verdict"]["answer"] and r["verdict"]["answer"][:80] for r in records],
    }


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    problems: Sequence[Mapping[str, Any]] = (),
    groups: Sequence[Mapping[str, Any]] | None = None,
    accuracy: Sequence[float] = (0.1, 0.5, 0.8),
    right: Sequence[int] = (1, 1, 1, 0),
    **facts: Any,
) -> Path:
    """Write a run folder: run.json, config.json, curves, groups, problems, rollouts and a result."""
    by_update: dict[int, list[Mapping[str, Any]]] = {}
    by_group: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for record in records:
        by_update.setdefault(record["update"], []).append(record)
        by_group.setdefault((record["update"], record["group"]), []).append(record)
    updates = sorted(by_update)
    last = max(updates, default=1)
    rows = [make_group_row(some) for some in by_group.values()] if groups is None else groups
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "schema": "g2rpo-run/2", "command": "train", "argv": ["--env", "g2rpo_env/Addition-v0", "--out", str(folder)],
        "label": folder.name, "env": "g2rpo_env/Addition-v0", "task": {"digits": 2}, "guidance": {"length": 6.0},
        "seed": 0, "recipe": {"loss": "ClippedSurrogate", "advantage": "GroupNormalized"}, "agent": "g2rpo-a",
        "updates": last, "sampled_tokens": None, "problems": 4, "group_size": 4, "parameters": 361344,
        "initial_weights": "0123456789abcdef", "tokenizer": {"name": "characters", "vocab_size": 258}, "data": {},
        "versions": {"python": "3.11.7", "g2rpo_env": "0.1.0"}, "code": "fedcba9876543210", "device": "cpu",
        "dtype": "float32", "threads": 1, "started": "2026-01-01T00:00:00", **facts,
    }  # fmt: skip
    config = {"argv": run["argv"], "options": {"env": run["env"], "seed": 0, "out": str(folder)}}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "config.json").write_text(json.dumps(config))
    metrics = [
        {
            "update": u,
            "reward": round(0.2 + 0.5 * u / last, 3),
            "reward_guided": 0.7,
            "reward_unguided": round(0.6 * u / last, 3),
            "groups_with_signal": 0.5,
            "sampled_tokens": 400,
            "sampled_length": 12.5,
            "truncated": 0.02,
            "reveal_length": 12.0 - 6 * u / last,
            "loss": 0.0,
            "grad_norm": 0.4,
            "clip_fraction": 0.0,
            "own_metric": u * 0.5,
        }
        for u in range(1, last + 1)
    ]
    write_lines(folder / "metrics.jsonl", metrics)
    write_lines(folder / "timings.jsonl", [{"update": u, "seconds": 0.5} for u in range(1, last + 1)])
    write_lines(
        folder / "evaluations.jsonl",
        [
            {"update": i * last // 2, "accuracy": a, "interval": [a - 0.05, a + 0.05], "problems": 64, "split": "test"}
            for i, a in enumerate(accuracy)
        ],
    )
    result = {
        "update": last, "sampled_tokens": 400 * last, "accuracy": sum(right) / len(right), "interval": [0.6, 0.9],
        "split": "test", "problems": len(right), "problem_ids": [f"t{i}" for i in range(len(right))],
        "correct": [[one] for one in right],
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    write_lines(folder / "groups.jsonl", rows)
    write_lines(folder / "problems.jsonl", problems)
    for update, some in by_update.items():
        write_lines(folder / "rollouts" / f"{update:06d}.jsonl", some)
    return folder


# -- sums, as in the shipped tasks ------------------------------------------------------------------------------------


def make_problem(a: int, b: int) -> dict[str, Any]:
    """Return the line of problems.jsonl of a sum of two digits each."""
    ones, tens = a % 10 + b % 10, a // 10 + b // 10 + (a % 10 + b % 10) // 10
    steps = [f"{a % 10}+{b % 10}+0={ones:02d}\n", f"{a // 10}+{b // 10}+{ones // 10}={tens:02d}\n"]
    return {
        "update": 1, "problem_id": f"{a}+{b}", "prompt": f"{a}+{b}=", "steps": steps, "final": f"#{a + b}",
        "answer": str(a + b), "level": 2, "hint": None,
    }  # fmt: skip


def make_sum(
    problem: Mapping[str, Any], answer: str | None, shown: int = 0, steps: bool = True, **changes: Any
) -> dict:
    """Return the record of an answer to a sum.

    Args:
        problem: Line of problems.jsonl.
        answer: What the model answered; None for no answer.
        shown: Tokens of the solution that it was shown.
        steps: Whether it wrote steps before the answer.
        **changes: Fields of the record.
    """
    solution = "".join(problem["steps"])
    own = (solution[shown:] if steps else "") + (f"#{answer}" if answer is not None else "??")
    if shown > len(solution):
        own = ""  # the answer itself is shown
    whole = solution + problem["final"]
    right = answer == problem["answer"]
    pieces = [(PROMPT, problem["prompt"]), (REVEALED, whole[:shown]), (SAMPLED, [*own, "<eos>"])]
    facts = {
        "problem_id": problem["problem_id"],
        "reward": float(right),
        "verdict": {
            "outcome": "correct" if right else "no_answer" if answer is None else "wrong",
            "answer": answer,
            "message": "" if right else "the answer differs",
            "score": None,
        },
    }
    return make_record(pieces, **{**facts, **changes})


def make_run_of_sums(updates: Iterable[int] = (1, 3, 6), drift: int = 0) -> tuple[list[dict], list[dict]]:
    """Return (records, problems) of a run in which each question that a person may ask has an answer.

    Group 0 teaches nothing (all wrong), 1 is mixed with guided members, 2 is always solved, 3 has answers without any
    step, and one whose answer was shown.
    """
    sums = [make_problem(47, 38), make_problem(12, 34), make_problem(20, 11), make_problem(55, 16)]
    records = []
    for update in updates:
        first = 4 * update
        wrong = str(75 + drift)
        records += [
            make_sum(sums[0], wrong, group=first, member=m, update=update, advantage=None if drift else 0.0)
            for m in range(4)
        ]
        mixed = [("46", 9, 1.2), ("46", 9, 1.2), (None if drift else "45", 0, -1.2), ("36", 0, -1.2)]
        records += [
            make_sum(sums[1], answer, shown, group=first + 1, member=m, update=update, advantage=advantage)
            for m, (answer, shown, advantage) in enumerate(mixed)
        ]
        records += [make_sum(sums[2], "31", group=first + 2, member=m, update=update, advantage=0.0) for m in range(4)]
        records += [
            make_sum(sums[3], "71", 0, False, group=first + 3, member=0, update=update, advantage=0.9),
            make_sum(sums[3], "71", 21, group=first + 3, member=1, update=update, advantage=0.9),
            make_sum(sums[3], "61", 0, group=first + 3, member=2, update=update, advantage=-0.9),
            make_sum(sums[3], None, 0, group=first + 3, member=3, update=update, advantage=-0.9, truncated=True),
        ]
    return records, sums


def make_many(folder: Path, episodes: int, top: bool) -> Path:
    """Write a run of so many episodes of about 67 tokens, 256 an update."""
    records = []
    for number in range(episodes):
        update, place = divmod(number, 256)
        problem = make_problem(10 + place // 8 % 80, 10 + (update * 7) % 80)
        row = make_sum(
            problem, str(number % 150), 9 * (place % 8 < 2), group=place // 8 + 32 * update, update=update + 1
        )
        fill = 67 - len(row["tokens"])
        row = make_record(
            [
                (0, row["texts"][:6]),
                (1, row["texts"][6 : 6 + 9]),
                (2, row["texts"][15:] + list("1+2+0=03\n" * 9)[:fill]),
            ],
            **{name: row[name] for name in ("problem_id", "group", "update", "verdict", "reward")},
            member=place % 8,
            advantage=1.2 if place % 8 < 2 else -0.4,
        )
        if top:
            row["top"] = [
                None if role < 2 else [[token + n, "0123456789"[(token + n) % 10], -0.1 - 3 * n] for n in range(5)]
                for token, role in zip(row["tokens"], row["roles"], strict=True)
            ]
        records.append(row)
    return write_run(folder, records)
