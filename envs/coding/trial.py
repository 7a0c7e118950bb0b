"""Tests, run in a process that holds no untrusted code: what is the program's is asked of its own process.

What a test compares is plain data that was rebuilt here, so ``==``, ``abs`` and ``isinstance`` mean what they say; for
objects of the program see references.py. Standard library only.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import re
import symtable
import sys
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from g2rpo_env.envs.coding.exceptions import Control
from g2rpo_env.envs.coding.references import Session
from g2rpo_env.envs.coding.stand_ins import Named, RemoteType

_RECORD = "__record_case__"
_THERE = "__there__"


class TestError(Exception):
    """Tests that cannot be run: the fault of the data, not of the program."""

    __test__ = False  # not a test of pytest's


@dataclass
class Score:
    """Cases that passed and failed so far, and what the first failure was."""

    passed: int = 0
    failed: int = 0
    message: str = ""
    planned: int = 0
    """Cases that are known before the run."""
    session: Session | None = None
    """The program that the tests run on."""

    def record(self, passed: bool, message: str = "") -> None:
        """Count one case; raise what ended the trial, if a test such as one of unittest has caught it."""
        if self.session is not None and self.session.ended is not None:
            raise self.session.ended
        if passed:
            self.passed += 1
        else:
            self.failed += 1
            self.message = self.message or message

    def clear(self) -> None:
        """Forget all cases."""
        self.passed = self.failed = 0
        self.message = ""

    @property
    def share(self) -> float:
        """Share of cases that passed; those that were never reached did not."""
        return self.passed / max(self.passed + self.failed, self.planned, 1)


class Names(dict[str, Any]):
    """The builtin names of tests; a name that nobody else defines is the program's, looked up at each use.

    Args:
        session: The program.
        called: Names that are only ever called: they need no look-up of their own.
    """

    def __init__(self, session: Session, called: Iterable[str]) -> None:
        super().__init__(vars(builtins))
        self.session, self.called = session, {name for name in called if not name[:1].isupper()}

    def __missing__(self, name: str) -> Any:
        if name in sys.stdlib_module_names and name in self.session.modules:
            return importlib.import_module(name)
        if name in self.called:
            return stub_of(self.session, name)
        found = self.session.ask("name", name)
        self.session.objects_wanted |= isinstance(found, type)
        return found


def stub_of(session: Session, name: str) -> Callable[..., Any]:
    """Return a function that calls the program's function of that name, for tests that do nothing else with it.

    A function leaves no references to its arguments on the way, as an object that is called would.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return session.call(name, args, kwargs)

    return call


# -- HumanEval: check(candidate) --------------------------------------------------------------------------------------


def run_check(session: Session, entry_point: str, test: str, setup: str, score: Score) -> None:
    """Run ``check`` with the program's entry point; one case per assert in it that is reached.

    Where ``check`` has no assert of its own (helpers have them, or methods of unittest), its end is the one case. Names
    that neither test nor setup defines are the program's.

    Raises:
        TestError: the tests do not compile, or define no ``check``.
    """
    tests = compile_check(test, setup)
    score.planned, score.session, session.own_classes = tests.planned, session, tests.classes
    scope: dict[str, Any] = {"__name__": "tests", "__builtins__": Names(session, tests.called)}
    scope[_RECORD], scope[_THERE] = partial(record_case, score, tests.asserts), partial(make_there, session)
    session.scope, session.entry_point, session.catches_stop = scope, entry_point, "StopIteration" in test
    try:
        exec(tests.code, scope)
    except Control:
        raise
    except BaseException as error:
        raise TestError(f"the tests cannot be loaded: {brief(error)}") from None
    if entry_point[:1].isupper():
        candidate = scope["__builtins__"][entry_point]
    else:
        candidate = stub_of(session, entry_point) if tests.only_called(entry_point) else Named(session, entry_point)
    check = scope.get("check")
    scope[entry_point] = candidate  # the setup may hold its head without a body
    if not callable(check):
        raise TestError("the tests define no check(candidate)")
    with as_main(scope):
        try:
            check(candidate)
        except Control:
            raise
        except BaseException as error:
            if type(error) is not SystemExit or error.code:  # unittest.main ends so
                score.record(False, brief(error))
    if not score.passed + score.failed:
        score.record(True)


@contextlib.contextmanager
def as_main(scope: dict[str, Any]) -> Iterator[None]:
    """Make the tests the module that ``unittest.main`` looks at, and a command line without arguments."""
    module = types.ModuleType("tests")
    vars(module).update(scope)
    arguments, sys.argv = sys.argv, ["tests"]
    before = {name: sys.modules.get(name) for name in ("__main__", "tests")}
    sys.modules.update(dict.fromkeys(before, module))
    try:
        yield
    finally:
        sys.argv = arguments
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old


def record_case(score: Score, asserts: Sequence[ast.Assert], passed: bool, number: int, error: str = "") -> None:
    """Count one assert; ``error`` is the class of the exception that it raised, its text is made for failures alone."""
    score.record(passed, "" if passed else f"{error}{': ' * bool(error)}{ast.unparse(asserts[number])[:200]}")


@dataclass(frozen=True)
class Tests:
    """Compiled tests: how many cases are known before the run, which unknown names are only ever called."""

    __test__ = False
    code: Any
    planned: int
    asserts: list[ast.Assert]
    """Those that are recorded, by their number."""
    called: frozenset[str]
    classes: frozenset[str]
    handled: frozenset[str]
    """Names that are used otherwise than in a call."""
    parameters: frozenset[str]
    """Parameters of ``check``."""
    packages: frozenset[str]
    """Packages beside the standard library that are imported."""

    def only_called(self, entry_point: str) -> bool:
        """Return whether the tests do nothing with the program's function but call it."""
        return not self.handled & {entry_point, "candidate"} and "candidate" in self.parameters


@lru_cache(maxsize=64)
def compile_check(test: str, setup: str) -> Tests:
    """Return the tests of one program, compiled.

    Raises:
        TestError: they do not compile.
    """
    tree = _parse(f"{setup}\n{test}")
    nodes = walk(tree)
    words = Words(nodes)
    checks = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "check"]
    parameters = frozenset(argument.arg for node in checks for argument in node.args.args)
    known = sum(isinstance(node, ast.Assert) for node in nodes)
    flat = checks and known == sum(isinstance(statement, ast.Assert) for statement in checks[0].body)
    asserts = record_asserts(tree)
    return Tests(
        code=_code(tree, words),
        planned=known if flat else 0,  # every assert stands directly in check
        asserts=asserts,
        called=words.free & words.called,
        classes=frozenset(words.classes),
        handled=frozenset(words.names - words.called),
        parameters=parameters,
        packages=words.packages,
    )


def prepare(test: str, setup: str, asserts: list[str]) -> None:
    """Import the packages beside the standard library that tests use, which takes time that is not the program's.

    Raises:
        TestError: the tests do not compile.
    """
    for name in sorted(_packages(test, setup, asserts)):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def not_installed(test: str, setup: str, asserts: list[str]) -> str:
    """Return a package that tests import and :func:`prepare` could not, "" if there is none."""
    return min((name for name in _packages(test, setup, asserts) if name not in sys.modules), default="")


def _packages(test: str, setup: str, asserts: list[str]) -> frozenset[str]:
    return (compile_check(test, setup) if test else compile_asserts(tuple(asserts), setup)).packages


@lru_cache(maxsize=64)
def top_names(source: str) -> frozenset[str]:
    """Return the names that a source which compiles gives to its module.

    >>> sorted(top_names("from cmath import *\\nclass A:\\n    b = 1\\n"))[:3]
    ['A', 'acos', 'acosh']
    """
    symbols = symtable.symtable(source, "<tests>", "exec").get_symbols()
    names = {one.get_name() for one in symbols if one.is_assigned() or one.is_imported() or one.is_namespace()}
    for node in walk(_parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*":
            with contextlib.suppress(Exception):
                module = importlib.import_module(node.module)
                names |= set(getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"]))
    return frozenset(names)


_FILES = rb"open|[Pp]ath|os"
_DEFINES = re.compile(rb"(?m)^(?:(?:def|class)[ \t]+(\w+)|(\w+)[ \t]*(?::[^=\n]+)?=(?!=))")
"""What a program calls by a name, as far as a look at its text tells."""
_USES = rb"(?m)^(?:[ \t]|def\b|class\b|.*\blambda\b).*\b%s\b"
_ENVIRONMENT = rb"environ|getenv"
UNREACHED: dict[str, bytes] = {
    "patch": rb"", "monkeypatch": rb"", "setrecursionlimit": rb"", "getsource": rb"", "setattr": rb"import",
    "seed": rb"random", "environ": _ENVIRONMENT, "putenv": _ENVIRONMENT, "chdir": _FILES, "tempfile": _FILES,
    "open": _FILES, "write_text": _FILES, "tmp_path": _FILES, "stdin": rb"input|stdin", "perf_counter": rb"sleep",
    **dict.fromkeys(("catch_warnings", "warns", "assertWarns", "assertWarnsRegex"), rb"warn"),
    **dict.fromkeys(("assertLogs", "assertNoLogs", "getLogger", "caplog"), rb"logg"),
    **dict.fromkeys(("wait_for", "create_task", "TaskGroup", "as_completed"), rb"async"), "globals": rb"",
    **dict.fromkeys(("getcontext", "localcontext"), rb"decimal"), "argv": rb"arg[vp]",
    "set_int_max_str_digits": rb"",
}  # fmt: skip
"""What tests may do to the process they share with a program, and what a program mentions that sees it."""


def unreached(test: str, setup: str, asserts: list[str], program: bytes, entry_point: str | None = None) -> str:
    """Return the name of what tests do to their process and this program cannot see in its own, "" if there is none.

    That is also a name that both define, such as a constant: in plain Python there is one of them.
    """
    text = "\n".join([test, *asserts])
    if word := next((word for word in _words_of(f"{setup}\n{text}") if re.search(UNREACHED[word], program)), ""):
        return word
    taken = top_names(text) - {entry_point, "check"}
    mine = (found[1] or found[2] for found in _DEFINES.finditer(program))
    both = sorted(taken & {name.decode("utf-8", "replace") for name in mine})
    return next((name for name in both if re.search(_USES % name.encode(), program)), "")


@lru_cache(maxsize=64)
def _words_of(text: str) -> tuple[str, ...]:
    if not any(word in text for word in UNREACHED):
        return ()
    nodes = list(ast.walk(_parse(text)))
    found = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    found |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return tuple(sorted(found & set(UNREACHED)))


_BLOCK = f"""try:
    {_RECORD}(bool(0), %d)
except Exception as __error__:
    {_RECORD}(False, %d, type(__error__).__name__)
"""
"""What an assert becomes: nothing here binds a name but the caught exception, so variables of tests keep theirs."""


def record_asserts(tree: ast.Module) -> list[ast.Assert]:
    """Turn each assert of ``check`` into a recorded case, so that one failure does not hide the others; return them.

    An assert inside try or with is left alone: what catches it is part of the test. So is one in a helper function,
    where code after it may rely on it: it raises, and the case that called the helper fails.
    """
    places = list(_find_asserts(tree.body))
    asserts = []
    blocks = ast.parse("".join(_BLOCK % (number, number) for number in range(len(places)))).body
    for (body, index), block in zip(places, blocks, strict=True):
        node = body[index]
        assert isinstance(node, ast.Assert) and isinstance(block, ast.Try) and isinstance(block.body[0], ast.Expr)
        call = block.body[0].value
        assert isinstance(call, ast.Call) and isinstance(call.args[0], ast.Call)
        call.args[0].args = [node.test]
        body[index] = ast.copy_location(block, node)
        asserts.append(node)
    return asserts


def _find_asserts(body: list[ast.stmt]) -> Iterator[tuple[list[ast.stmt], int]]:
    """Yield where the asserts stand that are cases: a list of statements and an index."""
    for index, node in enumerate(body):
        if isinstance(node, ast.Assert):
            yield body, index
        elif isinstance(node, ast.FunctionDef) and node.name == "check":
            yield from _find_asserts(node.body)
        elif isinstance(node, ast.If | ast.For | ast.While):
            yield from _find_asserts(node.body)
            yield from _find_asserts(node.orelse)
        elif isinstance(node, ast.Match):
            for case in node.cases:
                yield from _find_asserts(case.body)


class _Deriving(ast.NodeTransformer):
    """Lets a class of the tests that derives from one of the program be made where that is."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        names = [base.id for base in node.bases if isinstance(base, ast.Name)]
        if not names or len(names) < len(node.bases) or node.keywords or node.decorator_list:
            return node
        free = sorted(free_names(node) | set(names))
        values = ", ".join(f"{name!r}: lambda: {name}" for name in free)
        block = ast.parse(
            f"if (__made__ := {_THERE}({node.name!r}, {ast.unparse(node)!r}, [{', '.join(names)}], {{{values}}})):\n"
            f"    {node.name} = __made__\nelse:\n    pass"
        ).body[0]
        assert isinstance(block, ast.If)
        block.orelse = [node]
        return ast.copy_location(block, node)


def make_there(session: Session, name: str, source: str, bases: list[Any], values: dict[str, Any]) -> Any:
    """Return a class of the tests, made where the program's class is that it derives from; None if it does not."""
    if not any(isinstance(base, RemoteType | Named) for base in bases):
        return None
    known = {}
    for key, value in values.items():
        with contextlib.suppress(NameError):
            known[key] = value()
    session.ask("exec", source, (), known)
    return session.ask("name", name)


# -- MBPP: assert statements ------------------------------------------------------------------------------------------


def run_asserts(session: Session, asserts: list[str], setup: str, score: Score) -> None:
    """Run assert statements, one case each, after the setup, all in one namespace.

    Names that are defined nowhere here are the program's; modules of the standard library may be used unimported.

    Raises:
        TestError: an assert or the setup does not compile.
    """
    score.planned, score.session = len(asserts), session
    tests = compile_asserts(tuple(asserts), setup)
    session.own_classes = tests.classes
    session.modules |= tests.modules
    scope: dict[str, Any] = {"__name__": "tests", "__builtins__": Names(session, tests.called)}
    scope[_THERE] = partial(make_there, session)
    session.scope, session.catches_stop = scope, any("StopIteration" in text for text in asserts)
    if tests.before is not None:
        try:
            exec(tests.before, scope)
        except Control:
            raise
        except BaseException as error:
            raise TestError(f"the setup cannot be run: {brief(error)}") from None
    for case in tests.cases:
        names = () if case.free - scope.keys() else case.tested - scope.keys()
        scope.update((name, Named(session, name)) for name in names)
        try:
            exec(case.code, scope)
        except Control:
            raise
        except BaseException as error:
            score.record(False, f"{brief(error)} in {case.text[:200]}")
        else:
            score.record(True)
        for name in names:
            del scope[name]


@dataclass(frozen=True)
class Case:
    """One assert: its free names, and the name of a builtin function that it may test."""

    text: str
    code: Any
    free: frozenset[str]
    tested: frozenset[str]


@dataclass(frozen=True)
class Asserts:
    """Compiled asserts and what stands before them; for the rest see Tests."""

    before: Any
    cases: list[Case]
    called: frozenset[str]
    """Unknown names that all of them only ever call."""
    classes: frozenset[str]
    modules: frozenset[str]
    """Modules of the standard library of which something is used."""
    packages: frozenset[str]


@lru_cache(maxsize=64)
def compile_asserts(asserts: tuple[str, ...], setup: str) -> Asserts:
    """Return the asserts of one program, compiled.

    Raises:
        TestError: an assert or the setup does not compile.
    """
    before = _parse(setup)
    trees = [_parse(text) for text in asserts]
    first, *words = (Words(walk(tree)) for tree in (before, *trees))
    return Asserts(
        before=_code(before, first) if before.body else None,
        cases=[
            Case(text, _code(tree, found), found.free, frozenset(_find_tested_builtin(tree)))
            for text, tree, found in zip(asserts, trees, words, strict=True)
        ],
        called=frozenset().union(*(one.free for one in words)).difference(*(one.names - one.called for one in words)),
        classes=frozenset(first.classes).union(*(found.classes for found in words)),
        modules=frozenset().union(*(found.bases for found in words)) & sys.stdlib_module_names,
        packages=first.packages.union(*(found.packages for found in words)),
    )


# -- syntax -----------------------------------------------------------------------------------------------------------


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text, "<tests>")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TestError(f"the tests do not compile: {brief(error)}") from None


def _code(tree: ast.Module, words: Words) -> Any:
    if words.classes:
        tree = _Deriving().visit(tree)
    try:
        return compile(tree, "<tests>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TestError(f"the tests do not compile: {brief(error)}") from None


def walk(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a tree as ast.walk gives them, in a third of its time and without marks that say "read"."""
    nodes = [tree]
    for node in nodes:  # which grows
        for value in vars(node).values():
            if type(value) is list:
                nodes += [part for part in value if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST) and type(value) is not ast.Load:
                nodes.append(value)
    return nodes


class Words:
    """What one look at all nodes of a piece of source tells about its names.

    Attributes:
        free: Names that it uses and neither it nor Python defines.
        names: All names in expressions.
        called: Names that are only ever called.
        bases: Names that attributes are taken of.
        classes: Names of classes that it defines.
        packages: Packages beside the standard library that it imports.
    """

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        by: defaultdict[type, list[Any]] = defaultdict(list)
        for node in nodes:
            by[type(node)].append(node)
        found = Counter(node.id for node in by[ast.Name])
        calls = Counter(node.func.id for node in by[ast.Call] if isinstance(node.func, ast.Name))
        self.names = set(found)
        self.called = {name for name, count in calls.items() if found[name] == count}
        self.bases = {node.value.id for node in by[ast.Attribute] if isinstance(node.value, ast.Name)}
        self.classes = {node.name for node in by[ast.ClassDef]}
        used = {node.id for node in by[ast.Name] if isinstance(node.ctx, ast.Load)}
        bound = {node.id for node in by[ast.Name] if not isinstance(node.ctx, ast.Load)} | self.classes
        bound |= {node.name for kind in (ast.FunctionDef, ast.AsyncFunctionDef, ast.ExceptHandler) for node in by[kind]}
        bound |= {node.arg for node in by[ast.arg]}
        bound |= {(node.asname or node.name).split(".")[0] for node in by[ast.alias]}
        self.free = frozenset(used - bound - set(vars(builtins)) - {"__name__"})
        imported = {alias.name for node in by[ast.Import] for alias in node.names}
        imported |= {node.module for node in by[ast.ImportFrom] if node.module and not node.level}
        self.packages = frozenset({name.split(".")[0] for name in imported} - sys.stdlib_module_names)


def free_names(tree: ast.AST) -> set[str]:
    """Return the names that a piece of source uses and neither it nor Python defines.

    >>> sorted(free_names(ast.parse("import math\\ndef f(x): return g(x) + math.pi")))
    ['g']
    """
    return set(Words(walk(tree)).free)


def _find_tested_builtin(tree: ast.Module) -> set[str]:
    """Return the function that an assert tests, where it bears the name of a builtin one, as in ``sum(10, 15) == 6``.

    Only where nothing else could be the program's: otherwise a program could define ``set`` and answer for it.
    """
    if tree.body and isinstance(statement := tree.body[-1], ast.Assert):
        left = statement.test.left if isinstance(statement.test, ast.Compare) else statement.test
        if isinstance(left, ast.Call) and isinstance(left.func, ast.Name):
            return {left.func.id}
    return set()


def brief(error: BaseException) -> str:
    """Return the class and message of an exception, as far as it can be printed."""
    try:
        message = str(error)
    except Control:
        raise
    except BaseException:  # it may ask the program
        message = ""
    return f"{type(error).__name__}: {message}"[:300] if message else type(error).__name__
