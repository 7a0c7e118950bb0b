"""Any data set of mathematics as a task: a field mapping, splits that share no question, checked answers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from g2rpo_env.envs.dataset import PlacedRow, Row, RowSource, find_value
from g2rpo_env.envs.files import Tables, load_tables
from g2rpo_env.envs.mathematics.equality import MathVerifier
from g2rpo_env.envs.mathematics.layout import BOX_CLOSING, MISSING, RULES, TAG_RULES, Layout
from g2rpo_env.envs.mathematics.prompts import frame_prompt, template_text
from g2rpo_env.envs.options import MathOptions, accept_options, task_options
from g2rpo_env.envs.rewards import Accuracy, Rewards, ThinkFormat
from g2rpo_env.envs.splits import Shares, pick_split, question_key
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.problem import SPLITS, Problem
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import load_tokenizer
from g2rpo_env.verdict import Verifier

Prepare = Callable[[Row, str], Row | None]
"""(row, its place) -> the row as a layout reads it, or None to leave it out."""

_CALCULATOR = re.compile(r"<<(?=\S)(?=[^<>]*=)[-+*/().,\d\s%$=^xX]+(?<=\S)>>")


def as_it_is(row: Row, where: str) -> Row:
    """Return a row unchanged."""
    return row


def strip_calculator(text: str) -> str:
    """Return a text without the annotations of GSM8K's calculator.

    >>> strip_calculator("30+10=<<30+10=40>>40, 1 << 3 = 8 >> 0")
    '30+10=40, 1 << 3 = 8 >> 0'
    """
    return _CALCULATOR.sub("", text)


def prepare_solution(solution: str, row: Row, where: str) -> Row:
    """Return a row whose field of the solution, or of several solutions, has no annotations of a calculator."""
    found = find_value(row, solution, where)
    texts = found if isinstance(found, list) else [found]
    if not texts or not all(isinstance(text, str) for text in texts):
        return row
    bare = [strip_calculator(text) for text in texts]
    return {**row, solution: bare if isinstance(found, list) else bare[0]}


class MathRows:
    """The problems of a data set in splits.

    :class:`g2rpo_env.envs.splits.Shares` says what is in which; no question is in two.

    Args:
        tables: The rows.
        layout: How they become problems.
        prepare: Applied to every row before.
        validation_fraction: Share of the training rows that ``validation`` takes where the data names none.
        test_fraction: The same for ``test``; the two together are at most 1.
        divide: Pool all splits of the data and divide all rows anew.
        skip_bad: Leave out rows that are malformed, with a warning that counts them.

    Attributes:
        splits: Split -> its problems.
        left_out: Problems of ``train`` or ``validation`` whose question is in a later split too.
        unwanted: Rows that ``prepare`` or ``skip_bad`` left out.

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
        skip_bad: bool = False,
    ) -> None:
        shares = Shares(validation_fraction, test_fraction, divide)
        self.tables = tables
        self._faults: list[str] | None = [] if skip_bad else None
        made = {
            origin: [self._problem(f"{origin}/{index}", placed, layout, prepare) for index, placed in enumerate(rows)]
            for origin, rows in tables.rows.items()
        }
        named = {origin: [one for one in problems if one is not None] for origin, problems in made.items()}
        total = sum(map(len, made.values()))
        self.unwanted = total - sum(map(len, named.values()))
        if self._faults:
            count = len(self._faults)
            warnings.warn(f"{count} of {total} rows of {tables.name} are left out; {self._faults[0]}", stacklevel=2)
        self.splits, self.left_out = shares.apply(named)
        self._warn_copies()

    def _problem(self, name: str, placed: PlacedRow, layout: Layout, prepare: Prepare) -> tuple[Problem, bytes] | None:
        where, row = placed
        try:
            ready = prepare(row, where)
            if ready is None:
                return None
            problem = layout.problem(ready, name, where)
        except DataError as error:
            if self._faults is None:
                raise
            self._faults.append(str(error))
            return None
        return problem, question_key(layout.read_question(ready, where))

    def _warn_copies(self) -> None:
        """Say so where most problems of a split are copies: an interval over them would be much too narrow."""
        for split, problems in self.splits.items():
            distinct = len({(problem.prompt, problem.answer) for problem in problems})
            if 0 < distinct * 2 <= len(problems):
                warnings.warn(
                    f"{split} of {self.tables.name} holds {distinct} problems in {len(problems)} rows: the others are "
                    "copies, and accuracies and their intervals count them as problems of their own",
                    stacklevel=2,
                )

    def source(self, split: str) -> MathSource:
        """Return the source of one split; ``warmstart`` is the training problems.

        Raises:
            ConfigurationError: there is no such split, or it is empty.
        """
        remedy = "divide=True divides all rows anew, with validation_fraction and test_fraction"
        if self.unwanted:
            total = sum(map(len, self.tables.rows.values()))
            remedy += f"; {self.unwanted} of {total} rows were left out by the options or the rules of the task"
        problems = pick_split(self.splits, split, self.tables.name, remedy)
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
        data: A file (JSON, JSON Lines, CSV, TSV, Parquet or Arrow, packed or not), a folder of such files, or the name
            of a Hub data set.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        layout: How rows become problems; its template is that of the options.
        prepare: Applied to every row before.
        skip_bad: Leave out rows that are malformed, with a warning that counts them.
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
        skip_bad: bool = False,
        **options: Unpack[MathOptions],
    ) -> None:
        tokenizer = load_tokenizer(options["tokenizer"])
        text, frame = frame_prompt(tokenizer, options["template"], options["system"])
        layout = replace(layout, template=text)
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
            MathRows(tables, layout, prepare, *fractions, options["divide"], skip_bad).source(split),
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
        data: A file (JSON, JSON Lines, CSV, TSV, Parquet or Arrow, packed or not), a folder of such files, or the name
            of a Hub data set.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        question: Field of the question, a text or chat messages. Any field may be inside another one:
            ``extra_info.question``.
        solution: Field of the worked solution, or of a list of them, of which the first is taken. None, as an empty
            field, means that nothing can be revealed.
        answer: Field of the final answer, or None to take it from the solution.
        mark: With ``answer=None``: the answer is the rest of the line after the last such mark, such as ``####``; None
            for the content of the last ``\\boxed{}``.
        steps: How solutions are cut: ``lines``, ``sentences`` (and display equations) or ``paragraphs``.
        level: Field of the difficulty, or None: the number of steps then.
        hint: Field of a hint, or None; guidance with ``place="hint"`` puts it into the prompt.
        closing: Ends a solution that does not state its answer, with ``{answer}`` in it.
        calculator: Keep annotations such as ``<<48/2=24>>``, which GSM8K has in its solutions.
        skip_bad: Leave out rows that cannot be used, with a warning that counts them, instead of refusing the data.
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
        calculator: bool = False,
        skip_bad: bool = False,
        **options: Unpack[MathOptions],
    ) -> None:
        if data is None:
            raise ConfigurationError("data=None must be a path or the name of a Hub data set")
        layout = Layout(question, solution, answer, mark, steps, level, hint=hint, closing=closing)
        prepare = as_it_is if calculator or solution is None else partial(prepare_solution, solution)
        super().__init__(data, split, layout, prepare, skip_bad, **options)
        source = self.source
        assert isinstance(source, MathSource)
        rows = [placed for split_rows in source.rows.tables.rows.values() for placed in split_rows]
        for name, field in (("level", level), ("hint", hint)):
            if field is not None and all(find_value(row, field, where, MISSING) is MISSING for where, row in rows):
                raise ConfigurationError(
                    f"{name}={field!r} must be a field of {data}; the fields are {', '.join(map(repr, rows[0][1]))}"
                )
        if lacking := sum(layout.lacks_solution(row, where) for where, row in rows):
            total = len(rows)
            warnings.warn(
                f"{lacking} of {total} rows of {data} have nothing in the field {solution!r}: they are never guided",
                stacklevel=2,
            )


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
