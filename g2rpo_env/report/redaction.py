"""What must not be passed on: prompts and solutions on request, paths of the machine always."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from g2rpo_env.episode import Role

REDACTIONS = ("prompts", "solutions")

HIDDEN = "▒"
"""Stands for a token that is left out."""

PATH = re.compile(r"(?<![\w.~/\\])(?:[A-Za-z]:[\\/]|\\\\|~?/)(?:[^\s\\/'\"=,;]+[\\/])+")
"""The folders of an absolute path; its last part is no secret."""


def hide_paths(text: str) -> str:
    """Return text without the folders of absolute paths.

    >>> hide_paths("--out /data/me/runs/demo --env g2rpo_env/Addition-v0")
    '--out …/demo --env g2rpo_env/Addition-v0'
    """
    return PATH.sub("…/", text)


def redact_record(record: Mapping[str, Any], redact: Collection[str], number: int) -> dict[str, Any]:
    """Return a record without what is left out.

    Args:
        record: The record, normalized.
        redact: Names of :data:`REDACTIONS`.
        number: Number of its problem, which stands in the place of its id.
    """
    if not redact:
        return dict(record)
    start, end = record["prompt_reveal"] or (0, 0)
    roles = record["roles"]
    hidden = [
        (role == Role.PROMPT and "prompts" in redact)
        or ((role == Role.REVEALED or start <= place < end) and "solutions" in redact)
        for place, role in enumerate(roles)
    ]
    changed = {
        "tokens": [0 if hide else token for token, hide in zip(record["tokens"], hidden, strict=True)],
        "texts": [HIDDEN if hide else text for text, hide in zip(record["texts"], hidden, strict=True)],
        "top": record["top"] and [None if h else one for one, h in zip(record["top"], hidden, strict=True)],
        "train_prefix": None,
        "verdict": {**record["verdict"], "message": ""},
    }
    if "prompts" in redact:
        changed["problem_id"] = get_redacted_id(number)
    return {**record, **changed}


def redact_problem(problem: Mapping[str, Any], redact: Collection[str], number: int) -> dict[str, Any]:
    """Return a row of problems.jsonl without what is left out; arguments as of :func:`redact_record`."""
    changed = dict(problem)
    if "prompts" in redact:
        changed |= {"problem_id": get_redacted_id(number), "prompt": HIDDEN, "hint": None}
    if "solutions" in redact:
        changed |= {"steps": [], "final": None, "answer": None, "hint": None}
    return changed


def get_redacted_id(number: int) -> str:
    """Return what stands in the place of a problem's id, which may be its prompt."""
    return f"problem {number}"
