"""Tests, run in a process that holds no untrusted code: functions of the program are stubs that ask its own process.

What a test compares is plain data that was rebuilt here, so ``==``, ``abs`` and ``isinstance`` mean what they say.
Standard library only.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from g2rpo_env.envs.coding.wire import OpaqueUse

_RECORD = "__record_case__"
_LEFT, _RIGHT = "__left__", "__right__"


class TestError(Exception):
    """Tests that cannot be run: the fault of the data, not of the program."""

    __test__ = False  # not a test of pytest's


class CandidateError(Exception):
    """An exception of the program whose class does not exist here."""


class Unsendable(Exception):
    """An argument that is no plain data; the expression has to be evaluated where the program is."""


class Program(Protocol):
    """The untrusted program, far away."""

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a function of the program, as plain data."""
        ...

    def evaluate(self, text: str) -> Any:
        """Return the value of an expression in the program's namespace."""
        ...

    def execute(self, text: str) -> None:
        """Execute statements in the program's namespace."""
        ...


@dataclass
class Score:
    """Cases that passed and failed so far, and what the first failure was."""

    passed: int = 0
    failed: int = 0
    message: str = ""
    planned: int = 0
    """Cases that are known before the run."""

    def record(self, passed: bool, message: str = "") -> None:
        """Count one case."""
        if passed:
            self.passed += 1
        else:
            self.failed += 1
            self.message = self.message or message

    @property
    def share(self) -> float:
        """Share of cases that passed; those that were never reached did not."""
        return self.passed / max(self.passed + self.failed, self.planned, 1)


@dataclass
class Stub:
    """A function of the program."""

    program: Program
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.program.call(self.name, args, kwargs)


# -- HumanEval: check(candidate) --------------------------------------------------------------------------------------


def run_check(program: Program, entry_point: str, test: str, setup: str, score: Score) -> None:
    """Run ``check`` with the entry point's stub; one case per assert that is reached.

    Names that neither test nor setup defines are functions of the program too.

    Raises:
        TestError: the tests do not compile, or define no ``check``.
    """
    code, score.planned, free = _compile_check(test, setup)
    scope: dict[str, Any] = {"__name__": "tests", _RECORD: score.record}
    scope.update((name, Stub(program, name)) for name in free)
    try:
        exec(code, scope)
    except Exception as error:
        raise TestError(f"the tests cannot be loaded: {brief(error)}") from None
    scope[entry_point] = Stub(program, entry_point)  # the setup may hold its head without a body
    check = scope.get("check")
    if not callable(check):
        raise TestError("the tests define no check(candidate)")
    try:
        check(scope[entry_point])
    except Exception as error:
        score.record(False, brief(error))
    else:
        if not score.passed + score.failed:  # its asserts are in helpers, in methods of unittest, or it raises itself
            score.record(True)


@lru_cache(maxsize=64)
def _compile_check(test: str, setup: str) -> tuple[Any, int, tuple[str, ...]]:
    tree = _parse(f"{setup}\n{test}")
    planned = sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) if _is_flat(tree) else 0
    free = tuple(sorted(free_names(tree)))
    recorded = ast.fix_missing_locations(_Recording().visit(tree))
    return compile(recorded, "<tests>", "exec", dont_inherit=True), planned, free


def _is_flat(tree: ast.AST) -> bool:
    """Whether every assert stands directly in ``check``, so that they can be counted before the run."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "check":
            inside = sum(isinstance(statement, ast.Assert) for statement in node.body)
            return inside == sum(isinstance(other, ast.Assert) for other in ast.walk(tree))
    return False


class _Recording(ast.NodeTransformer):
    """Turns each assert into a recorded case, so that one failure does not hide the others.

    An assert inside try or with is left alone: what catches it is part of the test. So is one in a helper function, where
    code after it may rely on it: it raises, and the case that called the helper fails.
    """

    def leave(self, node: ast.AST) -> ast.AST:
        """Return a node as it is."""
        return node

    visit_Try = visit_TryStar = visit_With = visit_AsyncWith = visit_AsyncFunctionDef = visit_ClassDef = leave

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name == "check":
            self.generic_visit(node)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        text = repr(f"{ast.unparse(node)[:200]}")
        # A variable of the test keeps its meaning: nothing here binds a name but the caught exception.
        block = ast.parse(
            f"try:\n {_RECORD}(bool(0), {text})\nexcept Exception as __error__:\n"
            f" {_RECORD}(False, type(__error__).__name__ + ': ' + {text})\n"
        ).body[0]
        assert isinstance(block, ast.Try) and isinstance(block.body[0], ast.Expr)
        call = block.body[0].value
        assert isinstance(call, ast.Call) and isinstance(call.args[0], ast.Call)
        call.args[0].args = [node.test]
        return ast.copy_location(block, node)


# -- MBPP: assert statements ------------------------------------------------------------------------------------------


@dataclass
class AssertScope:
    """Names that asserts can use here, and whether the setup has run where the program is."""

    program: Program
    setup: str
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "tests"})
    setup_here: bool = True
    setup_there: bool = False

    def __post_init__(self) -> None:
        try:
            exec(_compile(self.setup), self.names)
        except Exception:  # it needs the program's own classes
            self.setup_here = False

    def there(self) -> None:
        """Run the setup where the program is, once."""
        if self.setup and not self.setup_there:
            self.setup_there = True
            self.program.execute(self.setup)


def run_asserts(program: Program, asserts: list[str], setup: str, score: Score) -> None:
    """Run assert statements, one case each.

    Functions that are defined nowhere here are the program's. Where an assert needs objects of the program's own
    classes, the *left* side of its comparison is evaluated there and compared here; the right side stays here.

    Raises:
        TestError: an assert or the setup does not compile, or cannot be run without telling the program the answer.
    """
    score.planned = len(asserts)
    trees = [_parse(text) for text in asserts]
    _compile(setup)
    scope = AssertScope(program, setup)
    for text, tree in zip(asserts, trees, strict=True):
        try:
            for statement in tree.body:
                _run_statement(statement, scope)
        except TestError:
            raise
        except Exception as error:
            score.record(False, f"{brief(error)} in {text[:200]}")
        else:
            score.record(True)


def _run_statement(statement: ast.stmt, scope: AssertScope) -> None:
    free = free_names(statement) - set(scope.names)
    modules = {name for name in free if name in sys.stdlib_module_names and _is_base(statement, name)}
    scope.names.update((name, importlib.import_module(name)) for name in modules)
    free -= modules
    free = free or _find_tested_builtin(statement)
    if scope.setup_here and free <= set(_find_calls(statement)):
        names = {**scope.names, **{name: Stub(scope.program, name) for name in free}}
        try:
            exec(_code(statement), names)
            scope.names.update((name, value) for name, value in names.items() if name not in free)
            return
        except (Unsendable, OpaqueUse):  # an argument or a result that is no plain data
            pass
    if not isinstance(statement, ast.Assert):
        scope.there()
        scope.program.execute(ast.unparse(statement))
        return
    scope.there()
    expression, values = _left_there(statement.test, scope)
    if not eval(compile(ast.Expression(expression), "<tests>", "eval"), {**scope.names, **values}):
        raise AssertionError


def _left_there(test: ast.expr, scope: AssertScope) -> tuple[ast.expr, dict[str, Any]]:
    """Return a test whose parts that need the program are names, and the values of these, evaluated there."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner, values = _left_there(test.operand, scope)
        return ast.fix_missing_locations(ast.copy_location(ast.UnaryOp(ast.Not(), inner), test)), values
    if isinstance(test, ast.Compare) and len(test.comparators) == 1:
        right, values = test.comparators[0], {_LEFT: scope.program.evaluate(ast.unparse(test.left))}
        if free_names(right) - set(scope.names):
            values[_RIGHT] = scope.program.evaluate(ast.unparse(right))
            right = ast.Name(_RIGHT, ast.Load())
        compare = ast.Compare(ast.Name(_LEFT, ast.Load()), test.ops, [right])
        return ast.fix_missing_locations(ast.copy_location(compare, test)), values
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id not in scope.names:
        name = ast.fix_missing_locations(ast.copy_location(ast.Name(_LEFT, ast.Load()), test))
        return name, {_LEFT: scope.program.evaluate(ast.unparse(test))}
    raise TestError(f"cannot be run without telling the program the answer: {ast.unparse(test)[:200]}")


# -- syntax -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _compile(text: str) -> Any:
    return compile(_parse(text), "<tests>", "exec", dont_inherit=True)


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text, "<tests>")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TestError(f"the tests do not compile: {brief(error)}") from None


def _code(statement: ast.stmt) -> Any:
    return compile(ast.Module([statement], []), "<tests>", "exec", dont_inherit=True)


def free_names(tree: ast.AST) -> set[str]:
    """Return the names that a piece of source uses and neither it nor Python defines.

    >>> sorted(free_names(ast.parse("import math\\ndef f(x): return g(x) + math.pi")))
    ['g']
    """
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return used - bound - set(vars(builtins)) - {"__name__"}


def _find_calls(tree: ast.AST) -> Iterator[str]:
    """Yield names that are only ever called."""
    names = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    loads = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    yield from (name for name in names if loads.count(name) == names.count(name))


def _find_tested_builtin(statement: ast.stmt) -> set[str]:
    """Return the function that an assert tests, where it bears the name of a builtin one, as in ``sum(10, 15) == 6``.

    Only where nothing else could be the program's: otherwise a program could define ``set`` and answer for it.
    """
    if isinstance(statement, ast.Assert):
        left = statement.test.left if isinstance(statement.test, ast.Compare) else statement.test
        if isinstance(left, ast.Call) and isinstance(left.func, ast.Name):
            return {left.func.id}
    return set()


def _is_base(tree: ast.AST, name: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
        for node in ast.walk(tree)
    )


def brief(error: BaseException) -> str:
    """Return the class and message of an exception, as far as it can be printed."""
    try:
        message = str(error)
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}"[:300] if message else type(error).__name__
