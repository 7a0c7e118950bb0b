"""Any data set of mathematics as a task: a field mapping, splits that share no question, checked answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from g2rpo_env.encoding import text_frame
from g2rpo_env.envs.dataset import PlacedRow, Row, RowSource
from g2rpo_env.envs.files import Tables, load_tables
from g2rpo_env.envs.mathematics.equality import MathVerifier
from g2rpo_env.envs.mathematics.layout import BOX_CLOSING, RULES, TAG_RULES, Layout
from g2rpo_env.envs.mathematics.prompts import TEMPLATES, chat_frame, template_text
from g2rpo_env.envs.options import MathOptions, accept_options, task_options
from g2rpo_env.envs.rewards import Accuracy, Rewards, ThinkFormat
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import SPLITS, Problem
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import load_tokenizer
from g2rpo_env.verdict import Verifier

Prepare = Callable[[Row, str], Row | None]
"""(row, its place) -> the row as a layout reads it, or None to leave it out."""


def as_it_is(row: Row, where: str) -> Row:
    """Return a row unchanged."""
    return row


def question_key(question: str) -> bytes:
    """Return the key of all copies of one question: a digest of its words, whatever their case and spacing."""
    return hashlib.sha256(" ".join(question.casefold().split()).encode()).digest()


class MathRows:
    """The problems of a data set in splits.

    A split that the data names is served as it is. Test and validation problems that it does not name are taken out of
    its training rows, by a hash of the question alone. Training rows whose question is also in validation or test are
    left out, and validation rows that are in test.

    Args:
        tables: The rows.
        layout: How they become problems.
        prepare: Applied to every row before.
        validation_fraction: Share of the training rows that ``validation`` takes where the data names none.
        test_fraction: The same for ``test``; the two together are at most 1.
        divide: Pool all splits of the data and divide all rows anew.

    Raises:
        ConfigurationError: the fractions break their rule.
        DataError: a row is malformed; the message names it.
    """

    def __init__(
        self,
        tables: Tables,
        layout: Layout,
        prepare: Prepare = as_it_is,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        divide: bool = False,
    ) -> None:
        if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction > 1:
            raise ConfigurationError(
                f"validation_fraction={validation_fraction} and test_fraction={test_fraction} must be at least 0 and "
                "together at most 1"
            )
        self.tables = tables
        named = set() if divide else set(tables.rows)
        test = 0.0 if "test" in named else test_fraction
        validation = 0.0 if "validation" in named else validation_fraction
        self.splits: dict[str, list[Problem]] = {"train": [], "validation": [], "test": []}
        keys: dict[str, bytes] = {}
        for origin, rows in tables.rows.items():
            for index, placed in enumerate(rows):
                made = self._problem(f"{origin}/{index}", placed, layout, prepare)
                if made is None:
                    continue
                problem, key = made
                keys[problem.problem_id] = key
                share = int.from_bytes(key[:8], "big") / 2**64
                carved = "test" if share < test else "validation" if share < test + validation else "train"
                self.splits[carved if divide or origin == "train" else origin].append(problem)
        self.left_out = self._separate(keys)

    @staticmethod
    def _problem(name: str, placed: PlacedRow, layout: Layout, prepare: Prepare) -> tuple[Problem, bytes] | None:
        where, row = placed
        ready = prepare(row, where)
        if ready is None:
            return None
        problem = layout.problem(ready, name, where)
        return problem, question_key(str(ready[layout.question]))

    def _separate(self, keys: Mapping[str, bytes]) -> int:
        """Leave out of a split what a later one of train, validation, test has too; return how many."""
        seen: set[bytes] = set()
        left_out = 0
        for split in ("test", "validation", "train"):
            kept = [problem for problem in self.splits[split] if keys[problem.problem_id] not in seen]
            left_out += len(self.splits[split]) - len(kept)
            self.splits[split] = kept
            seen.update(keys[problem.problem_id] for problem in kept)
        return left_out

    def source(self, split: str) -> MathSource:
        """Return the source of one split; ``warmstart`` is the training problems.

        Raises:
            ConfigurationError: there is no such split, or it is empty.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        problems = self.splits["train" if split == "warmstart" else split]
        if not problems:
            there = ", ".join(f"{name} ({len(found)})" for name, found in self.splits.items() if found) or "none"
            raise ConfigurationError(
                f"split={split!r} of data={self.tables.name!r} is empty; there are {there}. divide=True divides all "
                "rows anew, with validation_fraction and test_fraction"
            )
        return MathSource(problems, split, self)


class MathSource(RowSource):
    """The problems of one split; ids are ``"train/0"``, ``"test/17"``: split of the data and row."""

    splits: tuple[str, ...] = SPLITS

    def __init__(self, problems: Sequence[Problem], split: str, rows: MathRows) -> None:
        super().__init__(problems, split)
        self.rows = rows

    def with_split(self, split: str) -> MathSource:
        """Return the source on another split; nothing is read again."""
        return self if split == self.split else self.rows.source(split)

    def describe(self) -> dict[str, Any]:
        """Return facts about the data: its name, rows read by split, problems by split, rows left out, checksums."""
        tables = self.rows.tables
        return {
            "data": tables.name,
            "rows": {split: len(rows) for split, rows in tables.rows.items()},
            "problems": {split: len(problems) for split, problems in self.rows.splits.items()},
            "left_out": self.rows.left_out,
            "sha256": dict(tables.sha256),
        }


def checksums(text: str | None) -> str | dict[str, str] | None:
    """Return a checksum as given, or ``"file:digest,file:digest"`` by file."""
    if text is None or ":" not in text:
        return text
    return {name.strip(): digest.strip() for name, _, digest in (part.rpartition(":") for part in text.split(","))}


class MathTask(Task):
    """A task over rows of mathematics, the base of MathDataset and of the data sets known by name.

    Args:
        data: A .jsonl, .json, .csv or .parquet file, a folder of them, or the name of a Hub data set.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        layout: How rows become problems; its template is that of the options.
        prepare: Applied to every row before.
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read or has another checksum; the message names file, row and field.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(MathOptions)
    def __init__(
        self,
        data: str | Path,
        split: str,
        layout: Layout,
        prepare: Prepare = as_it_is,
        **options: Unpack[MathOptions],
    ) -> None:
        template, system = options["template"], options["system"]
        if system is not None and template != "chat":
            raise ConfigurationError(f"system={system!r:.40} must come with template='chat', got template={template!r}")
        tokenizer = load_tokenizer(options["tokenizer"])
        frame = None
        if template == "chat":
            frame = chat_frame(tokenizer, system)
        elif template not in TEMPLATES:
            template, frame = text_frame(tokenizer, template_text(template), "{question}")
        layout = replace(layout, template=template)
        tables = load_tables(
            data,
            config=options["config"],
            revision=options["revision"],
            streaming=options["streaming"],
            limit=options["limit"],
            checksum=checksums(options["checksum"]),
        )
        fractions = options["validation_fraction"], options["test_fraction"]
        super().__init__(
            MathRows(tables, layout, prepare, *fractions, options["divide"]).source(split),
            math_verifier(options["template"], options["format_weight"]),
            max_new_tokens=options["max_new_tokens"],
            **task_options(options) | {"tokenizer": tokenizer},
            frame=frame,
        )


class MathDataset(MathTask):
    """The task of ``g2rpo_env/MathDataset-v0``: any data set of mathematics, with a mapping of its fields.

    Splits that the data names (by file, folder or on the Hub) are served as they are; what it lacks of ``validation``
    and ``test`` is taken out of ``train`` by a hash of the question. No question is in two splits.

    Args:
        data: A .jsonl, .json, .csv or .parquet file, a folder of them, or the name of a Hub data set.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        question: Field of the question.
        solution: Field of the worked solution, or None: nothing can be revealed then.
        answer: Field of the final answer, or None to take it from the solution.
        mark: With ``answer=None``: the answer is the rest of the line after the last such mark, such as ``####``; None
            for the content of the last ``\\boxed{}``.
        steps: How solutions are cut: ``lines``, ``sentences`` (and display equations) or ``paragraphs``.
        level: Field of the difficulty, or None: the number of steps then.
        hint: Field of a hint, or None; guidance with ``place="hint"`` puts it into the prompt.
        closing: Ends a solution that does not state its answer, with ``{answer}`` in it.
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read or has another checksum; the message names file, row and field.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(MathOptions)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        question: str = "question",
        solution: str | None = "solution",
        answer: str | None = "answer",
        mark: str | None = None,
        steps: str = "sentences",
        level: str | None = None,
        hint: str | None = None,
        closing: str = BOX_CLOSING,
        **options: Unpack[MathOptions],
    ) -> None:
        if data is None:
            raise ConfigurationError("data=None must be a path or the name of a Hub data set")
        layout = Layout(question, solution, answer, mark, steps, level, hint=hint, closing=closing)
        super().__init__(data, split, layout, **options)


def math_verifier(template: str, format_weight: float = 0.0) -> Verifier:
    """Return the verifier that goes with a template.

    It takes stated answers alone (:data:`g2rpo_env.envs.mathematics.layout.RULES`): a guided episode that only stops
    has said nothing.

    Raises:
        ConfigurationError: the weight is negative or not a number, or the template has no format.
    """
    if not format_weight >= 0:
        raise ConfigurationError(f"format_weight={format_weight} must be at least 0")
    tags = "</think>" in template_text(template)
    verifier = MathVerifier(TAG_RULES if tags else RULES)
    if not format_weight:
        return verifier
    if not tags:
        raise ConfigurationError(
            f"format_weight={format_weight} must come with template='think' or one that asks for its tags, "
            f"got template={template!r}"
        )
    return Rewards(verifier, {Accuracy(): 1.0, ThinkFormat(): float(format_weight)})
