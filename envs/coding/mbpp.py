"""MBPP: 974 small Python problems in words, each with three asserts and a reference solution.

    {"task_id": 2, "text": "Write a function to find the similar elements ...", "code": "def similar_elements(...",
     "test_list": ["assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)", ...], "test_setup_code": ""}

Source: Austin et al. 2021, arXiv 2108.07732; data under CC BY 4.0, github.com/google-research/google-research.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from g2rpo_env.envs.coding.programs import CodeProblem, steps_and_final
from g2rpo_env.envs.coding.rows import text_of, texts_of
from g2rpo_env.envs.coding.verifier import CodeTask
from g2rpo_env.envs.dataset import PlacedRow, RowSource, read_hub
from g2rpo_env.envs.files import is_hub_name, local_path, read_rows
from g2rpo_env.envs.options import CodeOptions, accept_options
from g2rpo_env.errors import ConfigurationError, DataError

HUB_NAME = "google-research-datasets/mbpp"
TEMPLATE = '"""\n{text}\n{tests}\n"""\n'
SPLITS = {"train": (601, 974), "validation": (511, 600), "test": (11, 510), "prompt": (1, 10), "warmstart": (601, 974)}
"""First and last ``task_id`` of each split (section 2.1 of the paper); ``warmstart`` is ``train``."""


@dataclass(frozen=True)
class Rows:
    """Where the rows of MBPP come from and how they become problems; the arguments of :class:`MBPP`."""

    data: str | Path | None = None
    sanitized: bool = False
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        if self.template.count("{text}") != 1 or self.template.count("{tests}") > 1:
            raise ConfigurationError(
                f"template={self.template!r} must hold '{{text}}' exactly once and '{{tests}}' at most once"
            )

    def load(self, split: str) -> MBPPSource:
        """Return the source of one split.

        Raises:
            ConfigurationError: there is no such split, or the rows hold none of it.
            DataError: the rows cannot be read.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        first, last = SPLITS[split]
        numbered = [(self._number(row, where), where, row) for where, row in self._read(split)]
        problems = [self._problem(*placed) for placed in numbered if first <= placed[0] <= last]
        if not problems:
            raise ConfigurationError(f"split={split!r} is empty: the data hold no task_id in [{first}, {last}]")
        return MBPPSource(problems, split, self)

    def _read(self, split: str) -> list[PlacedRow]:
        config = "sanitized" if self.sanitized else "full"
        if self.data is None or is_hub_name(self.data):
            return read_hub(str(self.data or HUB_NAME), config, "train" if split == "warmstart" else split)
        rows = read_rows(self.data, config if (local_path(self.data) / config).is_dir() else None)
        if self.sanitized and "prompt" not in rows[0][1]:
            raise ConfigurationError(
                f"sanitized=True needs the sanitised file, whose rows have the field 'prompt'; {str(self.data)!r} is "
                "the full set"
            )
        return rows

    @staticmethod
    def _number(row: dict[str, Any], where: str) -> int:
        number = row.get("task_id")
        if isinstance(number, str) and number.isascii() and number.isdigit():  # as CSV has it
            return int(number)
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError(f"{where}: field 'task_id' must be a whole number, got {number!r:.80}")
        return number

    def _problem(self, number: int, where: str, row: dict[str, Any]) -> CodeProblem:
        text = text_of(row, "text" if "text" in row else "prompt", where)
        code, asserts = text_of(row, "code", where), texts_of(row, "test_list", where)
        setup = text_of(row, "test_setup_code", where, default="")
        if row.get("test_imports"):
            setup = "\n".join([*texts_of(row, "test_imports", where), setup])
        tests = "\n".join(asserts)
        before, _, rest = self.template.partition("{text}")  # one after the other: a text may hold '{tests}' itself
        prompt = before.replace("{tests}", tests) + text + rest.replace("{tests}", tests)
        steps, final = steps_and_final(code)
        return CodeProblem(f"MBPP/{number}", prompt, steps, final, code, asserts=asserts, setup=setup)


class MBPPSource(RowSource):
    """The rows of one split; ids are ``"MBPP/601"``, the number of the task."""

    splits: tuple[str, ...] = tuple(SPLITS)

    def __init__(self, problems: Sequence[CodeProblem], split: str, rows: Rows) -> None:
        super().__init__(problems, split)
        self.rows = rows

    def with_split(self, split: str) -> MBPPSource:
        """Return the source on another split."""
        return self if split == self.split else self.rows.load(split)


class MBPP(CodeTask):
    """The task of ``g2rpo_env/MBPP-v0``: a text and its asserts in, a whole program out.

    Splits by number of the task: ``train`` 601-974 (``warmstart`` is the same), ``validation`` 511-600, ``test``
    11-510, ``prompt`` 1-10. Steps are the logical lines of the reference solution.

    Args:
        data: mbpp.jsonl, sanitized-mbpp.json, a Hub name, or None for google-research-datasets/mbpp on the Hub.
        split: ``train``, ``validation``, ``test``, ``prompt`` or ``warmstart``.
        max_new_tokens: Budget of sampled tokens.
        sanitized: Take the 427 problems that its authors checked by hand; a local file must be the sanitised one.
        template: Prompt with ``{text}`` and, if the asserts are to be shown, ``{tests}`` in it.
        options: See :class:`g2rpo_env.envs.options.CodeOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: a file cannot be read; the message names file and line.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(CodeOptions)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        max_new_tokens: int = 512,
        sanitized: bool = False,
        template: str = TEMPLATE,
        **options: Unpack[CodeOptions],
    ) -> None:
        super().__init__(Rows(data, sanitized, template).load(split), max_new_tokens, **options)
