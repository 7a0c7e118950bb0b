"""Rules that find episodes a person should read. They say "look here", not "this is cheating"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from g2rpo_env.episode import Role
from g2rpo_env.verdict import Outcome, is_shown

RULES = {
    "copied": (
        "Right, and the answer was shown",
        "The answer is right and already stands in the revealed part of the solution.",
    ),
    "no_steps": (
        "Right without any step",
        "The answer is right although the model wrote nothing between the prompt and the answer.",
    ),
    "same_answer": (
        "The same answer everywhere",
        "One final answer makes up more than a quarter of all answers of the update, over at least four problems.",
    ),
    "repeats": (
        "Text that repeats itself",
        "More than half of the sequences of four tokens that the model wrote occur more than once.",
    ),
    "identical": (
        "Identical members",
        "Another member of the group was shown as much and wrote the same tokens.",
    ),
    "truncated": ("Cut off", "The model spent its budget of tokens before it ended its answer."),
    "error": ("The verifier failed", "The verifier itself failed, so that the answer was not graded."),
    "lenient": (
        "Passed although it differs from the true answer",
        "The task lets some wrong answers pass, and this one differs from the true answer.",
    ),
}
"""Name of a rule -> its title and its meaning; the place of a rule is its bit."""

BIT = {name: 1 << place for place, name in enumerate(RULES)}

GRAM = 4
LONG_ENOUGH = 20
"""A text with fewer tokens is never said to repeat itself."""
COMMON_SHARE, FEWEST_PROBLEMS = 0.25, 4


def find_suspicions(records: Sequence[Mapping[str, Any]], truth: Mapping[str, str] | None = None) -> list[int]:
    """Return the rules that each episode of one update meets, as a sum of :data:`BIT`.

    Args:
        records: All recorded episodes of the update, normalized.
        truth: Problem id -> true answer, where the task lets wrong answers pass; None where it does not.
    """
    common = find_common_answers(records)
    twins = Counter(map(_get_twin_key, records))
    return [_judge(record, common, twins, truth or {}) for record in records]


def find_common_answers(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the final answers that are too common for answers to different problems."""
    answers: dict[str, Counter[str]] = {}
    for record in records:
        if record["verdict"]["answer"] is not None:
            answers.setdefault(record["verdict"]["answer"], Counter())[record["problem_id"]] += 1
    total = sum(sum(counts.values()) for counts in answers.values())
    return {
        answer
        for answer, counts in answers.items()
        if sum(counts.values()) > COMMON_SHARE * total and len(counts) >= FEWEST_PROBLEMS
    }


def get_text(record: Mapping[str, Any], role: Role) -> str:
    """Return the text of all tokens of one role."""
    return "".join(text for text, one in zip(record["texts"], record["roles"], strict=True) if one == role)


def _get_twin_key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    tokens = tuple(record["tokens"])
    return record["group"], record["stage"], record["reveal"], tokens


def _judge(
    record: Mapping[str, Any], common: set[str], twins: Mapping[tuple[Any, ...], int], truth: Mapping[str, str]
) -> int:
    verdict = record["verdict"]
    right, answer = verdict["outcome"] == Outcome.CORRECT, verdict["answer"]
    sampled = [token for token, role in zip(record["tokens"], record["roles"], strict=True) if role == Role.SAMPLED]
    true = truth.get(record["problem_id"])
    found = {
        "copied": right and record["reveal"] > 0 and is_shown(answer, get_text(record, Role.REVEALED)),
        "no_steps": right and record["reveal"] == 0 and not has_steps(get_text(record, Role.SAMPLED), answer),
        "same_answer": answer in common,
        "repeats": is_repetitive(sampled),
        "identical": bool(sampled) and twins[_get_twin_key(record)] > 1,
        "truncated": record["truncated"],
        "error": verdict["outcome"] == Outcome.ERROR,
        "lenient": right and true is not None and answer is not None and not is_same_answer(answer, true),
    }
    return sum(BIT[name] for name, is_met in found.items() if is_met)


def has_steps(text: str, answer: str | None) -> bool:
    """Return whether a text has letters or digits besides its answer and special tokens.

    >>> has_steps("#12<eos>", "12"), has_steps("5+7=12#12<eos>", "12")
    (False, True)
    """
    before = re.sub(r"<[^<>\s]{1,30}>", "", text)
    if answer:
        before = before[: before.rfind(answer)] if answer in before else before
    return any(char.isalnum() for char in before)


def is_repetitive(tokens: Sequence[int]) -> bool:
    """Return whether more than half of the n-grams of a long text occur more than once."""
    if len(tokens) < LONG_ENOUGH:
        return False
    grams = Counter(tuple(tokens[place : place + GRAM]) for place in range(len(tokens) - GRAM + 1))
    return sum(count for count in grams.values() if count > 1) > sum(grams.values()) / 2


def is_same_answer(one: str, other: str) -> bool:
    """Return whether two answers are equal up to spaces, separators of thousands and leading zeros."""
    plain = [text.strip().replace(",", "").replace("$", "").lower() for text in (one, other)]
    try:
        return float(plain[0]) == float(plain[1])
    except ValueError:
        return plain[0] == plain[1]
