"""Environments, whole and with one broken rule, for the tests of this folder."""

import ast
import functools
import inspect
import json
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from standins import stand_in

from g2rpo_env import Task, TokenEnv
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConformanceError

TASK = Addition(digits=1, max_new_tokens=6)
EOS = TASK.eos_token_id
OPTIONS: dict[str, dict[str, Any]] = {
    "Addition-v0": {"digits": 2},
    "Chain-v0": {"operations": 3},
    "CodeDataset-v0": {"max_new_tokens": 16, "test_fraction": 0.4},
    "Countdown-v0": {"numbers": 3},
    "GSM8K-v0": {"max_new_tokens": 24},
    "HumanEval-v0": {"max_new_tokens": 16},
    "LinearEquation-v0": {"terms": 3},
    "MBPP-v0": {"max_new_tokens": 16},
    "MiniPython-v0": {"operations": 1},
    "Multiplication-v0": {"digits": 2},
    "WordProblem-v0": {"hops": 2},
}
"""Short problems, so that the tests are short."""
FILES = {"GSM8K-v0": "", "MBPP-v0": "mbpp.jsonl", "CodeDataset-v0": "code.jsonl"}
"""Data of the ids that need some, in the folder of the tests."""

DATA_SETS = ("MathDataset-v0", "MATH-v0", "AIME-v0", "SVAMP-v0", "AQuA-v0", "OpenR1Math-v0")


def made(name: str, folder: Path) -> dict[str, Any]:
    """The arguments of a shipped id."""
    if name in DATA_SETS:
        return stand_in(name, folder)
    rows = [
        {
            "task_id": number, "text": f"Add {number}.", "code": f"def f(x):\n    y = x + {number}\n    return y",
            "test_list": [f"assert f(1) == {number + 1}"],
        }
        for number in (*range(1, 4), *range(11, 14), *range(511, 514), *range(601, 604))
    ]  # fmt: skip
    for file in ("mbpp.jsonl", "code.jsonl"):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {**OPTIONS.get(name, {}), **({"data": folder / FILES[name]} if name in FILES else {})}


@functools.cache
def refusal(check: Callable[[Any], None], make: Callable[[], Any]) -> ConformanceError:
    """Return the error of a check on the environment or task that ``make`` makes."""
    with pytest.raises(ConformanceError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(make())
    return caught.value


def unbroken(module: ModuleType, errors: Iterable[ConformanceError]) -> list[str]:
    """Return the rules of a module that raised none of these errors: a check that cannot fail is a defect."""
    rules = {
        node: (node.lineno, node.end_lineno)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if (isinstance(node, ast.Call) and ast.unparse(node.func) == "require")
        or (isinstance(node, ast.Raise) and "ConformanceError" in ast.unparse(node))
    }
    raised = set()
    for error in errors:
        frames = traceback.extract_tb(error.__traceback__)
        raised |= {next((f.lineno for f in reversed(frames) if f.filename == module.__file__), None)} - {None}
    return [ast.unparse(node)[:120] for node, (a, b) in rules.items() if not any(a <= line <= b for line in raised)]


def env_with(task: Task = TASK, **members: Any) -> TokenEnv:
    """A TokenEnv with some members replaced."""
    return type("Broken", (TokenEnv,), members)(task)


def shows(
    reset: Callable[[TokenEnv, Any], Any] | None = None, step: Callable[[TokenEnv, Any], Any] | None = None
) -> TokenEnv:
    """A TokenEnv whose results go through a function of (env, result)."""
    members: dict[str, Any] = {}
    if reset is not None:
        members["reset"] = lambda self, **arguments: reset(self, TokenEnv.reset(self, **arguments))
    if step is not None:
        members["step"] = lambda self, action: step(self, TokenEnv.step(self, action))
    return env_with(**members)


def with_info(result: Any, **changes: Any) -> Any:
    return (*result[:-1], {**result[-1], **changes})


def without(result: Any, key: str) -> Any:
    return (*result[:-1], {k: v for k, v in result[-1].items() if k != key})
