"""Code problems of your own: any local file or Hub data set with tests, by a mapping of its fields.

    {"prompt": "...", "solution": "...", "test_list": ["assert f(1) == 2"]}                      asserts
    {"prompt": "...", "solution": "...", "entry_point": "f", "test": "def check(candidate): ..."}     a check
    {"question": "...", "solutions": ["..."], "input_output": {"inputs": [...], "outputs": [...]}}   scripts

A field ``reasoning`` (as in data sets of chains of thought with code) becomes steps before the code, line by line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from g2rpo_env.envs.coding.checks import RULES
from g2rpo_env.envs.coding.programs import CodeProblem, fenced_block, logical_lines
from g2rpo_env.envs.coding.rows import read_dataset, read_file, text_of, texts_of
from g2rpo_env.envs.coding.verifier import CodeTask
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.options import CodeOptions, accept_options
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.problem import SPLITS

ROLES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "question_content", "problem", "description", "text"),
    "solution": ("solution", "canonical_solution", "code", "solutions"),
    "reasoning": ("reasoning", "reasoning_content", "cot", "thought"),
    "entry_point": ("entry_point",),
    "test": ("test",),
    "asserts": ("asserts", "test_list"),
    "setup": ("setup", "test_setup_code"),
    "cases": ("cases", "input_output", "official_tests", "public_test_cases", "private_test_cases", "examples"),
}
"""Role -> names of fields that are looked for, in this order, where ``fields`` names none."""


@dataclass(frozen=True)
class Rows:
    """Where rows come from and how they become problems; the arguments of :class:`CodeDataset`."""

    data: str | Path
    config: str | None = None
    fields: tuple[str, ...] = ()
    template: str = "{prompt}\n"
    compare: str = "whitespace"

    def __post_init__(self) -> None:
        if self.template.count("{prompt}") != 1:
            raise ConfigurationError(f"template={self.template!r} must hold '{{prompt}}' exactly once")
        for pair in self.fields:
            role, mark, name = pair.partition("=")
            if role not in ROLES or not mark or not name:
                raise ConfigurationError(f"fields: {pair!r} must read ROLE=FIELD, with a role of {', '.join(ROLES)}")

    def load(self, split: str) -> CodeSource:
        """Return the source of one split.

        Raises:
            ConfigurationError: there is no such split.
            DataError: the rows cannot be read.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        path = Path(self.data)
        if path.suffix or path.exists():
            rows, name = read_file(path), path.name.split(".")[0]
        else:
            name = "train" if split == "warmstart" else split
            rows = read_dataset(str(self.data), self.config, name)
        return CodeSource([self._problem(row, f"{name}/{i}", at) for i, (at, row) in enumerate(rows)], split, self)

    def _field(self, row: dict[str, Any], role: str) -> str | None:
        """Return the name of the field of a role; None if the row has none."""
        named = [pair.partition("=")[2] for pair in self.fields if pair.partition("=")[0] == role]
        return next((name for name in named or ROLES[role] if row.get(name)), None)

    def _problem(self, row: dict[str, Any], problem_id: str, where: str) -> CodeProblem:
        names = {role: self._field(row, role) for role in ROLES}
        if names["prompt"] is None:
            raise DataError(f"{where}: no field for the prompt among {sorted(row)}; name it: fields=('prompt=FIELD',)")
        text = text_of(row, names["prompt"], where)
        tests = self._tests(row, names, where)
        head = text if names["test"] and not names["reasoning"] and _continues(text) else ""
        prompt = head or self.template.replace("{prompt}", text)
        steps = self._steps(row, names, head, where)
        return CodeProblem(
            problem_id, prompt, steps[:-1], steps[-1], "".join(steps), head=head, compare=self.compare, **tests
        )

    @staticmethod
    def _steps(row: dict[str, Any], names: dict[str, str | None], head: str, where: str) -> tuple[str, ...]:
        """Return the lines of the reasoning, then those of the solution; with reasoning, in a fenced block."""
        name = names["solution"]
        if name is None:  # problems to test on: there is nothing to reveal
            return ("# no solution is known\n",)
        first = {**row, name: row[name][0]} if isinstance(row[name], list) and row[name] else row
        code = text_of(first, name, where)
        block = fenced_block(code)
        code = code if block is None else block
        if names["reasoning"] is None:
            return logical_lines(code, head)
        lines = text_of(row, names["reasoning"], where).strip("\n").split("\n")
        fence = "```" if "```" not in code else "`" * 8
        *parts, last = logical_lines(code if code.endswith("\n") else code + "\n")
        return (*(line + "\n" for line in lines), f"{fence}python\n", *parts, f"{last}{fence}\n")

    @staticmethod
    def _tests(row: dict[str, Any], names: dict[str, str | None], where: str) -> dict[str, Any]:
        setup = text_of(row, names["setup"], where) if names["setup"] else ""
        if name := names["test"]:
            if names["entry_point"] is None:
                raise DataError(f"{where}: field {name!r} needs 'entry_point', the name of the function it checks")
            entry_point = text_of(row, names["entry_point"], where)
            if not entry_point.isidentifier():
                raise DataError(f"{where}: field 'entry_point' must be the name of a function, got {entry_point!r:.80}")
            return {"test": text_of(row, name, where), "entry_point": entry_point, "setup": setup}
        if name := names["asserts"]:
            return {"asserts": texts_of(row, name, where), "setup": setup}
        if name := names["cases"]:
            return {"cases": read_cases(row[name], f"{where}: field {name!r}")}
        raise DataError(f"{where}: no tests among {sorted(row)}; name them: fields=('asserts=FIELD',), test or cases")


def _continues(text: str) -> bool:
    """Whether a prompt is the beginning of a function, which the completion goes on with."""
    return any(line.startswith(("def ", "async def ")) for line in text.split("\n"))


def read_cases(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of standard input and output.

    Three spellings: ``{"inputs": [...], "outputs": [...]}`` (APPS, TACO), ``[{"input": ..., "output": ...}]``
    (LiveCodeBench, Codeforces), ``[[input, output]]``; each also as JSON text.

    Raises:
        DataError: it is none of them, or cases call a function instead of running a script.

    >>> read_cases('{"inputs": ["1 2"], "outputs": ["3"]}', "here")
    (('1 2', '3'),)
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(f"{where} is not valid JSON ({error.msg} at column {error.colno})") from None
    if isinstance(value, dict):
        if value.get("fn_name"):
            raise DataError(f"{where} calls the function {value['fn_name']!r:.80}; only scripts have cases")
        inputs, outputs = value.get("inputs"), value.get("outputs")
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise DataError(f"{where} must hold as many 'inputs' as 'outputs'")
        pairs = list(zip(inputs, outputs, strict=True))
    elif isinstance(value, list):
        pairs = [_pair(case, where) for case in value]
    else:
        raise DataError(f"{where} must be a list of cases, got {type(value).__name__}")
    if not pairs or not all(isinstance(text, str) for pair in pairs for text in pair):
        raise DataError(f"{where} must be pairs of texts, at least one")
    return tuple((a, b) for a, b in pairs)


def _pair(case: Any, where: str) -> tuple[Any, Any]:
    if isinstance(case, dict):
        if case.get("testtype", "stdin") != "stdin":
            raise DataError(f"{where} holds a case of testtype {case['testtype']!r:.80}; only 'stdin' can be run")
        return case.get("input"), case.get("output")
    if isinstance(case, list | tuple) and len(case) == 2:
        return case[0], case[1]
    raise DataError(f"{where}: a case must be an object with input and output, or a pair, got {case!r:.80}")


class CodeSource(RowSource):
    """The rows of one split; ids are ``"train/0"``: split of the Hub or name of the file, and row."""

    splits: tuple[str, ...] = SPLITS

    def __init__(self, problems: Sequence[CodeProblem], split: str, rows: Rows) -> None:
        super().__init__(problems, split)
        self.rows = rows

    def with_split(self, split: str) -> CodeSource:
        """Return the source on another split; a file has only the split it was given for."""
        if split == self.split:
            return self
        if Path(self.rows.data).exists():
            raise ConfigurationError(
                f"split={split!r} cannot be made from data={str(self.rows.data)!r}, one file that serves as "
                f"{self.split!r}"
            )
        return self.rows.load(split)


class CodeDataset(CodeTask):
    """The task of ``g2rpo_env/CodeDataset-v0``: any file or Hub data set of code problems with tests.

    Steps are the lines of the reasoning, where there is one, and the logical lines of the solution, which then stands
    in a fenced block. A row without a solution has no steps and no ground truth: it can be tested on.

    Args:
        data: File (.jsonl, .json, .parquet, also .gz), which serves as the split it is given for; or a Hub name.
        split: ``train``, ``validation``, ``test`` or ``warmstart``.
        max_new_tokens: Budget of sampled tokens.
        config: Configuration of the Hub data set.
        fields: Texts ``ROLE=FIELD``, such as ``prompt=question``; see :data:`ROLES` for roles and usual names.
        template: Prompt with ``{prompt}`` in it; a prompt that begins a function is taken as it is.
        compare: How outputs of scripts are compared: ``exact``, ``whitespace`` or ``numeric``.
        options: See :class:`g2rpo_env.envs.options.CodeOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: a file cannot be read, or a row lacks prompt or tests; the message names file and line.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(CodeOptions)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        max_new_tokens: int = 1024,
        config: str | None = None,
        fields: Sequence[str] = (),
        template: str = "{prompt}\n",
        compare: str = "whitespace",
        **options: Unpack[CodeOptions],
    ) -> None:
        if data is None:
            raise ConfigurationError("data must be given: a file of code problems with tests, or a Hub name")
        if compare not in RULES:
            raise ConfigurationError(f"compare={compare!r} must be one of {', '.join(RULES)}")
        rows = Rows(data, config, tuple(fields), template, compare)
        super().__init__(rows.load(split), max_new_tokens, **options)
