"""GSM8K: grade-school word problems with worked solutions, one step per line.

    {"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many in May. ...",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\\n... 48+24 = <<48+24=72>>72 ...\\n#### 72"}

Source: Cobbe et al. 2021, arXiv 2110.14168; data under the MIT licence, github.com/openai/grade-school-math.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from g2rpo_env.envs.dataset import PlacedRow, Row, RowSource, check_row, read_hub
from g2rpo_env.envs.files import find_files, group_files, is_hub_name, list_files, local_path, split_of
from g2rpo_env.envs.formats import read_file, split_name
from g2rpo_env.envs.mathematics.layout import add_tags
from g2rpo_env.envs.mathematics.math_dataset import math_verifier, strip_calculator
from g2rpo_env.envs.mathematics.numeric import MARK, NumberVerifier, parse_number
from g2rpo_env.envs.mathematics.prompts import TEMPLATES, frame_prompt, template_text
from g2rpo_env.envs.mathematics.steps import lines
from g2rpo_env.envs.options import MathOptions, Option, accept_options, task_options
from g2rpo_env.envs.splits import key_share, pick_split, question_key, separate
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.problem import SPLITS, Problem
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import load_tokenizer

HUB_NAME, HUB_CONFIGS = "openai/gsm8k", ("main", "socratic")
FIELDS = ("question", "answer")
_NO_DIGIT = re.compile(r"[^\d./-]")


@dataclass(frozen=True)
class Rows:
    """Where the rows of GSM8K come from and how they become problems; the arguments of :class:`GSM8K`."""

    data: str | Path | None = None
    calculator: bool = False
    template: str = "plain"
    validation_fraction: float = 0.1
    socratic: bool = False
    test_fraction: float = 0.0

    def __post_init__(self) -> None:
        template_text(self.template)
        if not 0 <= self.validation_fraction < 1:
            raise ConfigurationError(f"validation_fraction={self.validation_fraction} must lie in [0, 1)")
        if not 0 <= self.test_fraction <= 1:
            raise ConfigurationError(f"test_fraction={self.test_fraction} must lie in [0, 1]")

    def load(self, split: str) -> GSM8KSource:
        """Return the source of one split.

        Raises:
            ConfigurationError: there is no such split, or it is empty.
            DataError: the rows cannot be read.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        found: dict[str, list[tuple[Problem, bytes]]] = {"train": [], "validation": [], "test": []}
        named = self._read("train" if split in ("train", "warmstart") else "test")
        carved = self.test_fraction if "test" not in named else 0.0
        for name, (prefix, rows) in named.items():
            for index, (where, row) in enumerate(rows):
                key = question_key(row["question"])
                home = "test" if name == "train" and key_share(key) < carved else name
                if home == "test" and "validation" not in named and self._is_held_out(row["question"]):
                    home = "validation"
                found[home].append((self._problem(row, f"{prefix}/{index}", where), key))
        splits, _ = separate(found)
        remedy = (
            "Give a folder with train.jsonl and test.jsonl; validation_fraction is the share of the test rows that "
            "validation takes, and test_fraction takes test rows out of the training rows where there are none. A file "
            "whose name says no split holds training rows"
        )
        problems = pick_split(splits, split, str(HUB_NAME if self.data is None else self.data), remedy)
        return GSM8KSource(problems, split, self)

    def _read(self, stem: str) -> Mapping[str, tuple[str, Sequence[PlacedRow]]]:
        """Return split that the data name -> first part of the ids, and rows; from the Hub only those of ``stem``."""
        config = HUB_CONFIGS[self.socratic]
        if self.data is None or is_hub_name(self.data):
            rows = read_hub(str(self.data or HUB_NAME), config, stem, FIELDS)
            return {"train": ("train", ()), "test": ("test", ()), stem: (stem, rows)}
        path = local_path(self.data)
        if not path.is_dir():
            return {split_of(path, path.parent) or "train": (split_name(path)[0], self._check(read_file(path)))}
        if (path / config).is_dir():  # as it lies on the Hub
            grouped = find_files(path, config)
        else:
            files = [file for file in list_files(path) if ("socratic" in file.name.lower()) == self.socratic]
            if not files:
                raise DataError(f"data={str(path)!r} must hold files such as train{'_socratic' * self.socratic}.jsonl")
            grouped = group_files(files, path)
        return {
            name: (name, self._check([row for file in chosen for row in read_file(file)]))
            for name, chosen in grouped.items()
        }

    @staticmethod
    def _check(rows: Sequence[PlacedRow]) -> Sequence[PlacedRow]:
        for where, row in rows:
            check_row(row, FIELDS, where)
        return rows

    def _is_held_out(self, question: str) -> bool:
        # By the question alone: another template must not move a problem from test to validation.
        return key_share(hashlib.sha256(f"{question}\n".encode()).digest()) < self.validation_fraction

    def _problem(self, row: Row, problem_id: str, where: str) -> Problem:
        text = row["answer"] if self.calculator else strip_calculator(row["answer"])
        worked, mark, answer = text.rpartition(MARK)
        answer = answer.strip()
        number = parse_number(answer)
        if not mark or number is None:
            raise DataError(f"{where}: field 'answer' must end with '#### ' and a number, got {text[-40:]!r}")
        steps = lines(worked) if worked.strip() else ()
        prompt = template_text(self.template).replace("{question}", row["question"])
        bare = str(number) if number.denominator == 1 else _NO_DIGIT.sub("", answer).rstrip(".")
        # Steps and final part joined are the text of the row, character for character.
        final = text[len("".join(steps)) :]
        if self.template == "think":
            steps, final = add_tags(steps, final, bare)
        return Problem(problem_id, prompt, steps, final, bare)


class GSM8KSource(RowSource):
    """The rows of one split; ids are ``"train/0"``, ``"test/17"``: split or name of the file, and row."""

    splits: tuple[str, ...] = SPLITS

    def __init__(self, problems: Sequence[Problem], split: str, rows: Rows) -> None:
        super().__init__(problems, split)
        self.rows = rows

    def with_split(self, split: str) -> GSM8KSource:
        """Return the source on another split."""
        return self if split == self.split else self.rows.load(split)


class GSM8K(Task):
    """The task of ``g2rpo_env/GSM8K-v0``: word problems of primary school, with worked solutions.

    Splits: ``train`` = all rows of train.jsonl (7,473; ``warmstart`` is the same rows), ``validation`` = the test rows
    whose question hashes below ``validation_fraction``, ``test`` = the others. ``validation_fraction=0`` makes
    ``test`` the official 1,319 rows and leaves no validation split. A single file is the split that its name says, and
    training rows if it says none; ``test_fraction`` takes test rows out of them.

    Answers are compared as exact numbers behind ``####``. A named template other than ``plain`` goes with the verifier
    of the other data sets (:func:`g2rpo_env.envs.mathematics.math_dataset.math_verifier`), which also takes boxes, tags
    and phrases.

    Args:
        data: Folder with train.jsonl and test.jsonl (or other formats, packed or not), one file, a Hub name, or None
            for openai/gsm8k on the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart``.
        calculator: Keep the calculator annotations ``<<48/2=24>>`` in the steps.
        socratic: Take the rows whose steps begin with the question they answer, ``How many ...? ** ...``: the files
            train_socratic.jsonl and test_socratic.jsonl, or the configuration ``socratic`` on the Hub.
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: a file cannot be read; the message names file and line.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(
        MathOptions,
        without=("config", "revision", "streaming", "limit", "checksum", "divide"),
        max_new_tokens=320,
        validation_fraction=Option(0.1, "Share of the test rows that ``validation`` takes, in [0, 1)."),
        test_fraction=Option(0.0, "Share of the training rows that are test rows where the data has none, in [0, 1]."),
    )
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        calculator: bool = False,
        socratic: bool = False,
        **options: Unpack[MathOptions],
    ) -> None:
        template, weight = options["template"], options["format_weight"]
        tokenizer = load_tokenizer(options["tokenizer"])
        text, frame = frame_prompt(tokenizer, template, options["system"])
        rows = Rows(data, calculator, text, options["validation_fraction"], socratic, options["test_fraction"])
        bare = not weight and (template == "plain" or template not in TEMPLATES)
        super().__init__(
            rows.load(split),
            NumberVerifier() if bare else math_verifier(template, weight),
            max_new_tokens=options["max_new_tokens"],
            **task_options(options) | {"tokenizer": tokenizer},
            frame=frame,
        )
