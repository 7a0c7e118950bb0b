"""GSM8K: grade-school word problems with worked solutions, one step per line.

    {"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many in May. ...",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\\n... 48+24 = <<48+24=72>>72 ...\\n#### 72"}

Source: Cobbe et al. 2021, arXiv 2110.14168; data under the MIT licence, github.com/openai/grade-school-math.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Unpack

from g2rpo_env.envs.dataset import PlacedRow, Row, RowSource, read_hub, read_jsonl
from g2rpo_env.envs.mathematics.numeric import MARK, NumberVerifier, parse_number
from g2rpo_env.envs.mathematics.steps import lines
from g2rpo_env.envs.options import TaskOptions, accept_options
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.problem import SPLITS, Problem
from g2rpo_env.task import Task

HUB_NAME, HUB_CONFIGS = "openai/gsm8k", ("main", "socratic")
FIELDS = ("question", "answer")
_ANNOTATION = re.compile(r"<<[^<>]*>>")
_NO_DIGIT = re.compile(r"[^\d./-]")


@dataclass(frozen=True)
class Rows:
    """Where the rows of GSM8K come from and how they become problems; the arguments of :class:`GSM8K`."""

    data: str | Path | None = None
    calculator: bool = False
    template: str = "{question}\n"
    validation_fraction: float = 0.1
    socratic: bool = False

    def __post_init__(self) -> None:
        if self.template.count("{question}") != 1:
            raise ConfigurationError(f"template={self.template!r} must hold '{{question}}' exactly once")
        if not 0 <= self.validation_fraction < 1:
            raise ConfigurationError(f"validation_fraction={self.validation_fraction} must lie in [0, 1)")

    def load(self, split: str) -> GSM8KSource:
        """Return the source of one split.

        Raises:
            ConfigurationError: there is no such split.
            DataError: the rows cannot be read.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        path = None if self.data is None else Path(self.data)
        if path is not None and path.is_file():
            return GSM8KSource(self._problems(read_jsonl(path, FIELDS), path.stem), split, self)
        stem = {"train": "train", "warmstart": "train"}.get(split, "test")
        rows = self._read(path, stem)
        problems = self._problems(rows, stem)
        if stem == "test":
            wanted = [self._is_held_out(row["question"]) == (split == "validation") for _, row in rows]
            problems = list(compress(problems, wanted))
        if not problems:
            raise ConfigurationError(
                f"split={split!r} is empty with validation_fraction={self.validation_fraction}: validation problems "
                "are taken from the test rows"
            )
        return GSM8KSource(problems, split, self)

    def _read(self, path: Path | None, stem: str) -> list[PlacedRow]:
        if path is not None and path.is_dir():
            return read_jsonl(path / f"{stem}{'_socratic' if self.socratic else ''}.jsonl", FIELDS)
        if path is not None and path.suffix:
            raise DataError(f"data={str(path)!r} must be a folder with train.jsonl and test.jsonl, or a .jsonl file")
        return read_hub(HUB_NAME if path is None else str(self.data), HUB_CONFIGS[self.socratic], stem, FIELDS)

    def _is_held_out(self, question: str) -> bool:
        # By the question alone: another template must not move a problem from test to validation.
        digest = hashlib.sha256(f"{question}\n".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.validation_fraction * 2**64

    def _problems(self, rows: list[PlacedRow], name: str) -> list[Problem]:
        return [self._problem(row, f"{name}/{i}", where) for i, (where, row) in enumerate(rows)]

    def _problem(self, row: Row, problem_id: str, where: str) -> Problem:
        text = row["answer"] if self.calculator else _ANNOTATION.sub("", row["answer"])
        worked, mark, answer = text.rpartition(MARK)
        answer = answer.strip()
        number = parse_number(answer)
        if not mark or number is None:
            raise DataError(f"{where}: field 'answer' must end with '#### ' and a number, got {text[-40:]!r}")
        steps = lines(worked) if worked.strip() else ()
        prompt = self.template.replace("{question}", row["question"])
        bare = str(number) if number.denominator == 1 else _NO_DIGIT.sub("", answer).rstrip(".")
        # Steps and final part joined are the text of the row, character for character.
        return Problem(problem_id, prompt, steps, text[len("".join(steps)) :], bare)


class GSM8KSource(RowSource):
    """The rows of one split; ids are ``"train/0"``, ``"test/17"``: file and row."""

    splits: tuple[str, ...] = SPLITS

    def __init__(self, problems: Sequence[Problem], split: str, rows: Rows) -> None:
        super().__init__(problems, split)
        self.rows = rows

    def with_split(self, split: str) -> GSM8KSource:
        """Return the source on another split; a single file has only the split it was given for."""
        if split == self.split:
            return self
        if self.rows.data is not None and Path(self.rows.data).is_file():
            raise ConfigurationError(
                f"split={split!r} cannot be made from data={str(self.rows.data)!r}, one file that serves as "
                f"{self.split!r}: give a folder with train.jsonl and test.jsonl"
            )
        return self.rows.load(split)


class GSM8K(Task):
    """The task of ``g2rpo_env/GSM8K-v0``: word problems of primary school, with worked solutions.

    Splits: ``train`` = all rows of train.jsonl (7,473; ``warmstart`` is the same rows), ``validation`` = the test rows
    whose question hashes below ``validation_fraction``, ``test`` = the others. ``validation_fraction=0`` makes
    ``test`` the official 1,319 rows and leaves no validation split. A single file serves as the split it is given for.

    Args:
        data: Folder with train.jsonl and test.jsonl, a .jsonl file, a Hub name, or None for openai/gsm8k on the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart``.
        max_new_tokens: Budget of sampled tokens.
        calculator: Keep the calculator annotations ``<<48/2=24>>`` in the steps.
        template: Prompt with ``{question}`` in it; end it with a line break, so that no token spans the boundary.
        validation_fraction: Share of the test rows that ``validation`` takes, in [0, 1).
        socratic: Take the rows whose steps begin with the question they answer, ``How many ...? ** ...``: the files
            train_socratic.jsonl and test_socratic.jsonl, or the configuration ``socratic`` on the Hub.
        options: See :class:`g2rpo_env.envs.options.TaskOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: a file cannot be read; the message names file and line.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(TaskOptions)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        max_new_tokens: int = 320,
        calculator: bool = False,
        template: str = "{question}\n",
        validation_fraction: float = 0.1,
        socratic: bool = False,
        **options: Unpack[TaskOptions],
    ) -> None:
        rows = Rows(data, calculator, template, validation_fraction, socratic)
        super().__init__(rows.load(split), NumberVerifier(), max_new_tokens=max_new_tokens, **options)
