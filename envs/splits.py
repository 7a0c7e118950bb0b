"""Which row belongs to which split: what the data name is served, what they lack is taken out of the training rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import SPLITS, Problem

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""How files, folders and Hub splits are called, and the split that they are."""

P = TypeVar("P", bound=Problem)


def question_key(question: str) -> bytes:
    """Return the key of all copies of one question: a digest of its words, whatever their case and spacing."""
    return hashlib.sha256(" ".join(question.casefold().split()).encode()).digest()


def key_share(key: bytes) -> float:
    """Return where a digest lies in [0, 1)."""
    return int.from_bytes(key[:8], "big") / 2**64


@dataclass(frozen=True)
class Shares:
    """How the problems of a data set are divided.

    A split that the data name is served as it is. Test and validation problems that they do not name are taken out of
    their training rows, by a hash of the question alone.

    Attributes:
        validation: Share of the training rows that ``validation`` takes where the data name none, in [0, 1].
        test: The same for ``test``; the two together are at most 1.
        divide: Pool all splits of the data and divide all rows anew.

    Raises:
        ConfigurationError: the shares break their rule.
    """

    validation: float = 0.0
    test: float = 0.0
    divide: bool = False

    def __post_init__(self) -> None:
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 1):
            raise ConfigurationError(
                f"validation_fraction={self.validation} and test_fraction={self.test} must be at least 0 and "
                "together at most 1"
            )

    def apply(self, named: Mapping[str, Sequence[tuple[P, bytes]]]) -> tuple[dict[str, list[P]], int]:
        """Return the problems by split, and how many were left out.

        Training problems whose question is also in validation or test are left out, and validation problems that are
        in test.

        Args:
            named: Split that the data name -> its problems, each with the key of its question.
        """
        test = 0.0 if "test" in named and not self.divide else self.test
        validation = 0.0 if "validation" in named and not self.divide else self.validation
        found: dict[str, list[tuple[P, bytes]]] = {"test": [], "validation": [], "train": []}
        for origin, problems in named.items():
            for problem, key in problems:
                share = key_share(key)
                carved = "test" if share < test else "validation" if share < test + validation else "train"
                found[carved if self.divide or origin == "train" else origin].append((problem, key))
        return separate(found)


def separate(found: Mapping[str, Sequence[tuple[P, bytes]]]) -> tuple[dict[str, list[P]], int]:
    """Return the problems by split without those whose question an earlier one of test, validation, train has; and
    how many these are."""
    seen: set[bytes] = set()
    kept: dict[str, list[P]] = {"train": [], "validation": [], "test": []}
    for split in ("test", "validation", "train"):
        kept[split] = [problem for problem, key in found[split] if key not in seen]
        seen.update(key for _, key in found[split])
    return kept, sum(map(len, found.values())) - sum(map(len, kept.values()))


def pick_split(splits: Mapping[str, Sequence[P]], split: str, data: str, remedy: str) -> Sequence[P]:
    """Return the problems of a split; ``warmstart`` has those of ``train``.

    Args:
        splits: Split -> its problems.
        split: The split that is asked for.
        data: Name of the data, for the message.
        remedy: What to do where the split is empty, for the message.

    Raises:
        ConfigurationError: there is no such split, or it is empty.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
    problems = splits["train" if split == "warmstart" else split]
    if not problems:
        there = ", ".join(f"{name} ({len(found)})" for name, found in splits.items() if found) or "none"
        raise ConfigurationError(f"split={split!r} of data={data!r} is empty; there are {there}. {remedy}")
    return problems
