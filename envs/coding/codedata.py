"""Code problems of your own: any local file or Hub data set with tests, by a mapping of its fields.

    {"prompt": "...", "solution": "...", "test_list": ["assert f(1) == 2"]}                      asserts
    {"prompt": "...", "solution": "...", "entry_point": "f", "test": "def check(candidate): ..."}     a check
    {"question": "...", "solutions": ["..."], "input_output": {"inputs": [...], "outputs": [...]}}   scripts

A field ``reasoning`` (as in data sets of chains of thought with code) becomes steps before the code, line by line.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from g2rpo_env.envs.coding.checks import RULES
from g2rpo_env.envs.coding.programs import (
    CodeProblem,
    defined_names,
    fenced_block,
    find_head,
    is_open,
    is_program,
    is_whole,
    logical_lines,
)
from g2rpo_env.envs.coding.rows import text_of
from g2rpo_env.envs.coding.rowtests import IMPORTS, Tests, finish, read_programs, read_tests
from g2rpo_env.envs.coding.verifier import CodeTask
from g2rpo_env.envs.dataset import PlacedRow, RowSource, find_value, join_messages
from g2rpo_env.envs.files import Tables, load_tables
from g2rpo_env.envs.options import CodeDataOptions, accept_options
from g2rpo_env.envs.splits import Shares, pick_split, question_key
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.problem import SPLITS

ROLES: dict[str, tuple[str, ...]] = {
    "prompt": (
        "prompt", "question", "question_content", "problem", "problem_statement", "problem_description", "description",
        "text", "instruction", "input", "query",
    ),
    "solution": (
        "solution", "canonical_solution", "code", "solutions", "gold_standard_solution", "completion", "output",
    ),
    "reasoning": ("reasoning", "reasoning_content", "cot", "thought"),
    "starter": ("starter_code",),
    "entry_point": ("entry_point", "fn_name", "metadata.func_name"),
    "test": ("test",),
    "asserts": ("asserts", "test_list", "test_cases", "unit_tests"),
    "setup": ("setup", "test_setup_code"),
    "imports": ("test_imports",),
    "cases": (
        "cases", "input_output", "tests", "official_tests", "public_test_cases", "private_test_cases", "public_tests",
        "private_tests", "generated_tests", "verification_info", "reward_model.ground_truth", "examples",
    ),
}  # fmt: skip
"""Role -> names of fields that are looked for, in this order, where ``fields`` names none.

A name with a dot is a field inside a field, which may be JSON text.
"""
TOGETHER = (
    ("public_test_cases", "private_test_cases"),
    ("public_tests", "private_tests", "generated_tests"),
)
"""Fields that hold the tests of a row together: all of them are taken, unless ``fields`` names one."""
NOT_RUN = {
    "generated_checker": "a program of its own judges the answers",
    "interaction_format": "the program talks with another one",
    "input_file": "the program reads a file",
    "input_mode": "the program reads and writes files",
}
"""Fields of rows whose programs take more than standard input and output (``"stdio"``), and what they say."""
NOTHING: tuple[Any, ...] = (None, "", [], {})
NO_SOLUTION = "# no solution is known\n"


@dataclass(frozen=True)
class Rows:
    """Where rows come from and how they become problems; the arguments of :class:`CodeDataset`."""

    data: str | Path
    config: str | None = None
    fields: tuple[str, ...] = ()
    template: str = "{prompt}\n"
    compare: str = "whitespace"
    shares: Shares = field(default_factory=Shares)
    skip_bad: bool = False

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
            ConfigurationError: there is no such split, or it is empty.
            DataError: the rows cannot be read.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        tables = load_tables(self.data, config=self.config)
        splits, left_out = self.shares.apply(self._problems(tables))
        return CodeSource(CodeSplits(tables.name, splits, left_out), split)

    def _problems(self, tables: Tables) -> dict[str, list[tuple[CodeProblem, bytes]]]:
        found: dict[str, list[tuple[CodeProblem, bytes]]] = {}
        faults = []
        for split, rows in tables.rows.items():
            found[split] = []
            for index, placed in enumerate(rows):
                try:
                    found[split].append(self._keyed(placed, f"{tables.prefix(split)}/{index}"))
                except DataError as error:
                    if not self.skip_bad:
                        raise
                    faults.append(str(error))
        if faults:
            total = sum(map(len, tables.rows.values()))
            warnings.warn(f"{len(faults)} of {total} rows of {tables.name} are left out; {faults[0]}", stacklevel=2)
        return found

    def _keyed(self, placed: PlacedRow, problem_id: str) -> tuple[CodeProblem, bytes]:
        where, row = placed
        problem = self._problem(row, problem_id, where)
        return problem, question_key(problem.prompt)

    def _named(self, role: str) -> list[str]:
        """Return the fields of a role that ``fields`` names."""
        return [pair.partition("=")[2] for pair in self.fields if pair.partition("=")[0] == role]

    def _field(self, row: dict[str, Any], role: str, where: str) -> tuple[str, Any]:
        """Return name and value of the field of a role; ``("", None)`` if the row has none."""
        for name in self._named(role) or ROLES[role]:
            value = find_value(row, name, where)
            if value not in NOTHING:
                return name, value
        return "", None

    def _text(self, row: dict[str, Any], role: str, where: str) -> str:
        """Return the field of a role that is a text, or ``""``."""
        name, value = self._field(row, role, where)
        return text_of({name: value}, name, where) if name else ""

    def _problem(self, row: dict[str, Any], problem_id: str, where: str) -> CodeProblem:
        name, value = self._field(row, "prompt", where)
        if not name:
            named = self._named("prompt")
            wanted = f"no field {named[0]!r}" if named else "no field for the prompt"
            raise DataError(f"{where}: {wanted} among {sorted(row)}; name it: fields=('prompt=FIELD',)")
        text = text_of({name: join_messages(value, f"{where}: field {name!r}")}, name, where)
        starter, reasoning = self._text(row, "starter", where), self._text(row, "reasoning", where)
        tests, preamble = self._tests(row, where), ""
        if name == "prompt" and (told := find_statement(row)) and is_program(text):
            text, preamble = told, f"{text}\n\n"
            refuse_classes(preamble, tests.get("test", ""), where)
            tests = {**tests, "setup": preamble + tests.get("setup", "")}
        head = "" if "cases" in tests else self._head(text, starter, tests, preamble)
        if "cases" in tests and is_open(f"{starter.rstrip()}\n") and "input" not in starter and "stdin" not in starter:
            raise DataError(
                f"{where}: the tests give standard input, and the starter code begins a function: name it and give its "
                "arguments as JSON, see 'fn_name'"
            )
        if starter.strip() and starter.strip() not in text:
            text = f"{text.rstrip()}\n\n{starter.rstrip()}\n"
        prompt = text if head == text and not reasoning else self.template.replace("{prompt}", text)
        empty = CodeProblem(problem_id, prompt, (), "", "", head=head, compare=self.compare, **tests)
        code = self._solution(row, empty, where)
        reasoning = "" if code == NO_SOLUTION else reasoning
        steps = _steps(code, "" if is_whole(code, head, empty.entry_point) else head, reasoning)
        return replace(empty, steps=steps[:-1], final=steps[-1], answer="".join(steps))

    @staticmethod
    def _head(text: str, starter: str, tests: Tests, preamble: str = "") -> str:
        """Return what a completion may go on with: code that the row begins, after what tests that call it expect."""
        entry = None if "tail" in tests else tests.get("entry_point")
        line = f"{starter.rstrip()}\n"
        head = preamble + (line if is_open(line) else find_head(text, entry))
        return IMPORTS + head if "tail" in tests else head

    def _solution(self, row: dict[str, Any], problem: CodeProblem, where: str) -> str:
        """Return the first solution that is a program of Python 3, with the head of the problem where it needs one."""
        name, value = self._field(row, "solution", where)
        if name == "output" and self._field(row, "prompt", where)[0] not in ("instruction", "input"):
            name = ""  # the output of an example
        texts = read_programs(value, f"{where}: field {name!r}") if name else []
        if not texts:  # problems to test on: there is nothing to reveal
            return NO_SOLUTION
        codes = [code if (block := fenced_block(code)) is None else block for code in texts]
        bare = replace(problem, tail="")
        programs = [(code, program) for code in codes if is_program(program := bare.join(code))]
        if not programs:
            raise DataError(
                f"{where}: field {name!r} must hold a program of Python 3, alone or as the rest of a function that "
                f"the prompt begins, got {codes[0]!r:.80}"
            )
        fitting = [code for code, program in programs if problem.entry_point in (None, *defined_names(program))]
        if not fitting:
            raise DataError(
                f"{where}: field {name!r} must define {problem.entry_point!r}, which the tests call, "
                f"got {codes[0]!r:.80}"
            )
        return text_of({name: fitting[0]}, name, where)

    def _tests(self, row: dict[str, Any], where: str) -> Tests:
        """Return the tests of a row, of the first role that it has."""
        for name, why in NOT_RUN.items():
            if row.get(name) and row[name] != "stdio":
                raise DataError(f"{where}: field {name!r} says that {why}, which is not done here")
        roles = [found[0] for role in ("test", "asserts", "cases") if (found := self._field(row, role, where))[0]]
        if not roles:
            raise DataError(
                f"{where}: no tests among {sorted(row)}; name them: fields=('asserts=FIELD',), test or cases"
            )
        tests = self._read_tests(row, roles[0], where)
        if "asserts" in tests and len(roles) > 1:  # a script of tests: what else there is counts case by case
            more = self._read_tests(row, roles[1], where)
            tests = {"asserts": more["asserts"] + tests["asserts"]} if "asserts" in more else more
        if "cases" in tests:
            return tests
        imports = self._field(row, "imports", where)[1] or []
        setup = [*(imports if isinstance(imports, list) else [imports]), self._text(row, "setup", where)]
        return {**tests, "setup": "\n".join(map(str, setup)).lstrip("\n")}

    def _read_tests(self, row: dict[str, Any], name: str, where: str) -> Tests:
        """Return the tests in a field and in those that belong to it."""
        entry_point = self._text(row, "entry_point", where) or None
        named = any(pair.partition("=")[2] == name for pair in self.fields)
        group = next((group for group in TOGETHER if name in group and not named), (name,))
        values = {one: find_value(row, one, where) for one in group}
        found = [
            read_tests(value, f"{where}: field {one!r}", entry_point)
            for one, value in values.items()
            if value not in NOTHING and value not in ("[]", "{}", {"input": [], "output": []})
        ]
        if not found:
            raise DataError(f"{where}: field {name!r} holds no tests")
        return finish(found, where)


def find_statement(row: dict[str, Any]) -> str:
    """Return the problem in words of a row whose prompt may be code that stands before every answer, "" without it."""
    found = next((row[name] for name in ("problem_description", "query") if row.get(name)), "")
    return found if isinstance(found, str) else ""


def refuse_classes(preamble: str, test: str, where: str) -> None:
    """Refuse tests that make objects of classes which every answer has, too: they are not passed to a program.

    Raises:
        DataError: they do.
    """
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    known = {node.name: node for node in ast.parse(preamble).body if isinstance(node, kinds)}
    used: set[str] = set()
    trees: list[ast.AST] = [ast.parse(test)]
    while trees:
        names = {node.id for node in ast.walk(trees.pop()) if isinstance(node, ast.Name)} & set(known) - used
        used |= names
        trees += [known[name] for name in names]
    if classes := sorted(name for name in used if isinstance(known[name], ast.ClassDef)):
        raise DataError(f"{where}: the tests pass objects of {classes[0]!r} to the program, which is not done here")


def _steps(code: str, head: str, reasoning: str) -> tuple[str, ...]:
    """Return the lines of the reasoning, then those of the solution; with reasoning, in a fenced block."""
    if not reasoning:
        return logical_lines(code, head)
    lines = reasoning.strip("\n").split("\n")
    fence = "```" if "```" not in code and "~~~" not in code else "`" * 8
    *parts, last = logical_lines(code if code.endswith("\n") else code + "\n", head)
    return (*(line + "\n" for line in lines), f"{fence}python\n", *parts, f"{last}{fence}\n")


@dataclass(frozen=True)
class CodeSplits:
    """The problems of a data set in splits.

    Attributes:
        data: Their name, for messages.
        splits: Split -> its problems.
        left_out: Training and validation problems left out because their prompt is in a later split too.
    """

    data: str
    splits: dict[str, list[CodeProblem]]
    left_out: int


class CodeSource(RowSource):
    """The problems of one split; ids are ``"train/0"``: split of the data or name of the only file, and row."""

    splits: tuple[str, ...] = SPLITS

    def __init__(self, rows: CodeSplits, split: str = "train") -> None:
        remedy = (
            "A file whose name says no split holds training rows: name it test.jsonl, give a folder with a file for "
            "each split, or take problems out of the training rows with test_fraction and validation_fraction"
        )
        super().__init__(pick_split(rows.splits, split, rows.data, remedy), split)
        self.rows = rows

    def with_split(self, split: str) -> CodeSource:
        """Return the source on another split; nothing is read again."""
        return self if split == self.split else CodeSource(self.rows, split)


class CodeDataset(CodeTask):
    """The task of ``g2rpo_env/CodeDataset-v0``: any file or Hub data set of code problems with tests.

    Steps are the lines of the reasoning, where there is one, and the logical lines of the solution, which then stands
    in a fenced block. A row without a solution has no steps and no ground truth: it can be tested on.

    Splits that the data name are served as they are; a file whose name says none holds training rows. Problems of
    ``validation`` and ``test`` come out of them only with the fractions below.

    Args:
        data: File (JSON, JSON Lines, CSV, TSV, Parquet or Arrow, packed or not), folder of such files, or Hub name.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        max_new_tokens: Budget of sampled tokens.
        fields: Texts ``ROLE=FIELD``, such as ``prompt=question``; see :data:`ROLES` for roles and usual names.
        template: Prompt with ``{prompt}`` in it; a prompt that begins a function is taken as it is.
        compare: How outputs of scripts are compared: ``exact``, ``whitespace`` or ``numeric``.
        skip_bad: Leave out rows that cannot be used, with a warning that counts them, instead of refusing the data.
        options: See :class:`g2rpo_env.envs.options.CodeDataOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: a file cannot be read, or a row lacks prompt or tests; the message names file and line.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(CodeDataOptions, validation_fraction=0.0, test_fraction=0.0)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        max_new_tokens: int = 1024,
        fields: Sequence[str] = (),
        template: str = "{prompt}\n",
        compare: str = "whitespace",
        skip_bad: bool = False,
        **options: Unpack[CodeDataOptions],
    ) -> None:
        if data is None:
            raise ConfigurationError("data must be given: a file of code problems with tests, or a Hub name")
        if compare not in RULES:
            raise ConfigurationError(f"compare={compare!r} must be one of {', '.join(RULES)}")
        config = options.pop("config")
        fractions = options.pop("validation_fraction"), options.pop("test_fraction")
        shares = Shares(*fractions, options.pop("divide"))
        rows = Rows(data, config, tuple(fields), template, compare, shares, skip_bad)
        rest: Any = options  # those of CodeOptions
        super().__init__(rows.load(split), max_new_tokens, **rest)
