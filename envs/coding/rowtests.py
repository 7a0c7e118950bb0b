"""Tests and solutions of rows of public code sets, in the spellings these have, as a CodeProblem takes them.

What is not read is refused with the rule that it breaks: a test that is left out would let wrong programs pass.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from g2rpo_env.envs.dataset import parse_json
from g2rpo_env.errors import DataError

Tests = dict[str, Any]
"""Arguments of a CodeProblem: ``test`` with ``entry_point`` and perhaps ``tail``, ``asserts`` or ``cases``.

``calls``, pairs of arguments and right results, with ``entry_point`` become such a test by :func:`finish`.
"""

CALLS = """
import json

def __plain__(value):
    if isinstance(value, (list, tuple)):
        return [__plain__(part) for part in value]
    if isinstance(value, dict):
        return {str(key): __plain__(part) for key, part in value.items()}
    return value

def __same__(got, wanted):
    return __plain__(got) == __plain__(wanted)
"""
"""Head of tests that call a function: values are of JSON, which has neither tuples nor keys that are numbers."""

METHOD = """
try:
    {name}
except NameError:
    def {name}(*arguments, **named):
        return {owner}().{name}(*arguments, **named)
"""
"""Tail of programs whose tests call a method: it can be called by its name."""

IMPORTS = """from typing import *
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from copy import copy, deepcopy
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush, heappushpop, heapreplace, nlargest, nsmallest
from itertools import accumulate, chain, combinations, count, groupby, permutations, product, zip_longest
from math import ceil, comb, factorial, floor, gcd, inf, log, log2, sqrt
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys

"""
"""Head of programs that are called by name: the sites they come from have these names ready."""

_INPUTS = ("input", "inputs", "stdin")
_OUTPUTS = ("output", "outputs", "expected_output", "stdout")
_NESTED = ("test_cases", "ground_truth", "tests", "cases")
_SCRIPTS = ("stdin", "stdin_stdout")
_CALLS = ("functional", "function_call")
_ENTRY = re.compile(r"(?:([A-Za-z_]\w*)\(\)\.)?([A-Za-z_]\w*)")
_PACKED = re.compile(r"eJ[A-Za-z0-9+/=\s]{20,}")
_PYTHON_LANGUAGES = (3, "3", "python", "python3", "py", "PYTHON3")


def read_tests(value: Any, where: str, entry_point: str | None = None) -> Tests:
    """Return the tests in a field, whatever their kind.

    Args:
        value: The field: Python source; a list of asserts; cases of scripts or of calls, see :func:`read_cases`; each
            also as JSON text.
        where: The place of the field, for messages.
        entry_point: The function or method that calls are of, where the field does not say it.

    Raises:
        DataError: it is none of them, or what it holds is not run here.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value = parse_json(value, where)
    if isinstance(value, dict):
        inner = next((part for part in _NESTED if part in value), None)
        if inner is not None and not isinstance(value.get("inputs"), list):
            return read_tests(value[inner], f"{where}[{inner!r}]", entry_point)
    if isinstance(value, str):
        return read_source(value, where, entry_point)
    if isinstance(value, list | tuple) and value and all(isinstance(text, str) for text in value):
        return {"asserts": tuple(_statement(text, where) for text in value)}
    cases, name = read_cases(value, where, entry_point)
    return {"cases": cases} if name is None else {"calls": cases, "entry_point": name}


def finish(found: Sequence[Tests], where: str) -> Tests:
    """Return the tests of one or several fields of a row as one.

    Raises:
        DataError: they cannot be joined.
    """
    tests = found[0]
    if len(found) > 1:
        kind = next((kind for kind in ("cases", "calls") if all(kind in tests for tests in found)), None)
        if kind is None or len({tests.get("entry_point") for tests in found}) > 1:
            raise DataError(f"{where}: public and private tests must be cases of scripts, or calls of one function")
        tests = {**tests, kind: tuple(case for tests in found for case in tests[kind])}
    return call_tests(tests["calls"], tests["entry_point"], where) if "calls" in tests else tests


def read_source(text: str, where: str, entry_point: str | None = None) -> Tests:
    """Return tests that are Python source: ``check(candidate)``, functions ``test_...``, or statements with asserts.

    Raises:
        DataError: they do not compile, need a test runner, or test nothing.
    """
    if _PACKED.match(text):
        raise DataError(
            f"{where} is packed (base64 of compressed pickles), and unpickling would run whatever its author wrote; "
            "write the tests as JSON, or name others, such as fields=('cases=public_test_cases',)"
        )
    tree = _parse(text, where)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if any(function.name == "check" for function in functions):
        if entry_point is None:
            raise DataError(f"{where} needs 'entry_point', the name of the function that check(candidate) is given")
        return {"test": text, **_entry(entry_point, where)}
    _refuse_unread(tree, where)
    tests = [function for function in functions if function.name.startswith("test")]
    if tests:
        return _test_functions(tree, tests, where, entry_point)
    statements: list[str] = []
    parts: list[str] = []
    for node in tree.body:
        parts.append(ast.unparse(node))
        if isinstance(node, ast.Assert):
            statements.append("\n".join(parts))
            parts = []
    if parts:
        statements.append("\n".join(parts))
    if not statements:
        raise DataError(f"{where} tests nothing, got {text!r:.80}")
    if any(isinstance(node, ast.ClassDef) for node in tree.body):
        raise DataError(f"{where} holds classes of tests; it must define check(candidate), test functions or asserts")
    return {"asserts": tuple(_statement(statement, where) for statement in statements)}


def _refuse_unread(tree: ast.Module, where: str) -> None:
    """Refuse what pytest would run and is not run here: without it, wrong programs would pass."""
    collected = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef)]
    if unread := [name for name in collected if name.startswith(("test", "Test"))]:
        raise DataError(f"{where} holds {unread[0]!r}: classes of tests and asynchronous tests are not run here")


def _test_functions(tree: ast.Module, tests: Sequence[ast.FunctionDef], where: str, entry_point: str | None) -> Tests:
    """Return ``check(candidate)`` for functions that pytest would call; names imported from ``solution`` are free.

    One that is imported under another name is given that name where the import stood.
    """
    imports = {module for node in ast.walk(tree) for module in _modules(node)}
    if needed := imports & {"pytest", "hypothesis", "unittest"}:
        raise DataError(f"{where} needs {min(needed)}, which does not run in the sandbox")
    if taking := [test.name for test in tests if test.args.args or test.decorator_list]:
        raise DataError(f"{where}: test functions must take no arguments and have no decorators, got {taking[0]!r}")
    imported: list[str] = []
    body: list[ast.stmt] = []
    for node in tree.body:
        if not (isinstance(node, ast.ImportFrom) and node.module == "solution"):
            body.append(node)
            continue
        imported += [name.name for name in node.names if name.name != "*"]
        body += ast.parse("\n".join(f"{name.asname} = {name.name}" for name in node.names if name.asname)).body
    if entry_point is None and not imported:
        raise DataError(f"{where} needs 'entry_point', or an import from 'solution' that names what is tested")
    source = ast.unparse(ast.Module(body, []))
    calls = "".join(f"    assert {test.name}() is None\n" for test in tests)
    return {"test": f"{source}\n\ndef check(candidate):\n{calls}", **_entry(entry_point or imported[0], where)}


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name.split(".")[0] for name in node.names]
    return [(node.module or "").split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def _parse(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{where} must be Python statements such as 'assert f(1) == 2' ({error})") from None


def _statement(text: str, where: str) -> str:
    """Return an assert, or statements that test something by calling it."""
    tree = _parse(text, where)
    if not any(isinstance(node, ast.Assert | ast.Call) for node in ast.walk(tree)):
        raise DataError(f"{where} must be Python statements such as 'assert f(1) == 2', got {text!r:.80}")
    return text


def _entry(entry_point: str, where: str) -> Tests:
    """Return the entry point by its bare name, and what makes a method callable so."""
    found = _ENTRY.fullmatch(entry_point.strip())
    if found is None:
        raise DataError(
            f"{where}: entry_point={entry_point!r:.80} must be the name of a function, or of a method: Solution().name"
        )
    owner, name = found.groups()
    return {"entry_point": name, **({"tail": METHOD.format(name=name, owner=owner)} if owner else {})}


# -- cases ----------------------------------------------------------------------------------------------------------


def read_cases(
    value: Any, where: str, entry_point: str | None = None
) -> tuple[tuple[tuple[Any, Any], ...], str | None]:
    """Return pairs, and the function that they call: of standard input and output, or of arguments and results.

    Spellings: ``{"inputs": [...], "outputs": [...]}`` (APPS, TACO; with ``fn_name`` for calls), ``{"input": [...],
    "output": [...]}`` (CodeContests), ``[{"input": ..., "output": ...}]`` (LiveCodeBench, Codeforces; with
    ``testtype`` or ``type``), ``[[input, output]]``; each also as JSON text.

    Raises:
        DataError: it is none of them.

    >>> read_cases('{"inputs": ["1 2"], "outputs": ["3"]}', "here")
    ((('1 2', '3'),), None)
    >>> read_cases([{"input": "1\\n[2]", "output": "3", "testtype": "functional"}], "here", "f")
    ((([1, [2]], [3]),), 'f')
    """
    if isinstance(value, str):
        value = parse_json(value, where)
    name: str | None = None
    if isinstance(value, dict):
        name = value.get("fn_name")
        inputs, outputs = _first(value, _INPUTS), _first(value, _OUTPUTS)
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise DataError(f"{where} must hold as many 'inputs' as 'outputs'")
        pairs = list(zip(inputs, outputs, strict=True))
        if name:
            return _not_empty([(_arguments(a, where), _wanted(b)) for a, b in pairs], where), _name(name, where)
    elif isinstance(value, list | tuple):
        kinds = {_kind(case, where) for case in value if isinstance(case, dict)} or {None}
        if len(kinds) > 1:
            raise DataError(f"{where} must hold cases of one kind: all scripts, or all calls of one function")
        name = kinds.pop() or None
        pairs = [_pair(case, where) for case in value]
        if name is not None:
            called = entry_point if name in _CALLS else name
            if not called:
                raise DataError(f"{where} calls a function that it does not name; entry_point must name it")
            return (
                _not_empty([(_arguments(a, where), _results(b)) for a, b in pairs], where), _name(called, where)
            )  # fmt: skip
    else:
        raise DataError(f"{where} must be a list of cases, got {type(value).__name__}")
    return _not_empty([(_text(a, where), _text(b, where)) for a, b in pairs], where), None


def _not_empty(pairs: list[tuple[Any, Any]], where: str) -> tuple[tuple[Any, Any], ...]:
    if not pairs:
        raise DataError(f"{where} must be pairs of texts, at least one")
    return tuple(pairs)


def _first(value: dict[str, Any], names: Sequence[str]) -> Any:
    return next((value[name] for name in names if name in value), None)


def _kind(case: dict[str, Any], where: str) -> str | None:
    """Return what a case calls: None for a script, the name of a function, or one of ``_CALLS``."""
    kind = case.get("testtype") or case.get("type") or ("function_call" if case.get("fn_name") else "stdin")
    if kind in _SCRIPTS:
        return None
    if kind not in _CALLS:
        raise DataError(f"{where} holds a case of type {kind!r:.80}; it must be one of {', '.join(_SCRIPTS + _CALLS)}")
    metadata = case.get("metadata")
    named = case.get("fn_name") or (metadata.get("func_name") if isinstance(metadata, dict) else None)
    return str(named or kind)


def _pair(case: Any, where: str) -> tuple[Any, Any]:
    if isinstance(case, dict) and any(name in case for name in _INPUTS) and any(name in case for name in _OUTPUTS):
        given, wanted = _first(case, _INPUTS), _first(case, _OUTPUTS)
        # A table has texts alone: the list of arguments is JSON then. LiveCodeBench ("functional") has one per line.
        return (_listed(given), _listed(wanted)) if case.get("type") == "function_call" else (given, wanted)
    if isinstance(case, list | tuple) and len(case) == 2:
        return case[0], case[1]
    raise DataError(f"{where}: a case must be an object with input and output, or a pair, got {case!r:.80}")


def _text(value: Any, where: str) -> str:
    """Return a standard input or output; APPS has some as a list of lines."""
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(line.removesuffix("\n") for line in value) + "\n"
    if not isinstance(value, str):
        raise DataError(f"{where} must be pairs of texts, at least one, got {value!r:.80}; calls need 'fn_name'")
    return value


def _arguments(value: Any, where: str) -> list[Any]:
    """Return the arguments of a call: a list, or a text with a JSON value in each line."""
    if isinstance(value, str):
        return [parse_json(line, f"{where}: argument {line!r:.40}") for line in value.strip("\n").split("\n")]
    if not isinstance(value, list):
        raise DataError(f"{where}: the input of a call must be the list of its arguments, got {value!r:.80}")
    return value


def _wanted(value: Any) -> list[Any]:
    """Return the results that are right: APPS and TACO put some into a list of one, and take both."""
    return [value, value[0]] if isinstance(value, list) and len(value) == 1 else [value]


def _listed(value: Any) -> Any:
    """Return the list that a text is in JSON, anything else as it is."""
    parsed = _parsed(value)
    return parsed if isinstance(parsed, list) else value


def _results(value: Any) -> list[Any]:
    """Return the results that are right: JSON text says one, a value may be in a list of one as in APPS."""
    return [_parsed(value)] if isinstance(value, str) else _wanted(value)


def _parsed(value: Any) -> Any:
    """Return the result of a call that is JSON text, as it is where it is none."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            pass
    return value


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not _ENTRY.fullmatch(name):
        raise DataError(f"{where}: 'fn_name' must be the name of a function, got {name!r:.80}")
    return name


def call_tests(cases: Sequence[tuple[Any, Any]], name: str, where: str) -> Tests:
    """Return tests that call a function, or a method of ``Solution`` of that name, one case each."""
    entry = _entry(name if "." in name else f"Solution().{name}", where)
    lines = "".join(
        f"    assert any([__same__(__got__, wanted) for __got__ in [candidate(*cases[{number}][0])]"
        f" for wanted in cases[{number}][1]])\n"
        for number in range(len(cases))
    )
    source = f"{CALLS}\ndef check(candidate):\n    cases = json.loads({json.dumps(list(cases))!r})\n{lines}"
    return {"test": source, **entry}


# -- solutions ------------------------------------------------------------------------------------------------------


def read_programs(value: Any, where: str) -> list[str]:
    """Return the solutions in a field, in their order: a text, a list of texts, or columns of texts and languages.

    Each also as JSON text. Solutions in a language that is not Python 3 are left out.

    Raises:
        DataError: it is none of them.

    >>> read_programs('["x = 1\\\\n", "x = 2\\\\n"]', "here"), read_programs("[print(n) for n in (1, 2)]", "here")
    (['x = 1\\n', 'x = 2\\n'], ['[print(n) for n in (1, 2)]'])
    """
    if isinstance(value, str):
        decoded = _parsed(value) if value.lstrip()[:1] in ("[", "{", '"') else value
        if isinstance(decoded, str):
            return [_not_a_list(decoded, where).removeprefix("\ufeff")] if decoded.strip() else []
        value = decoded if _is_texts(decoded) or isinstance(decoded, dict) else [value]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        value = {name: [one.get(name) for one in value] for name in ("language", "solution")}
    if isinstance(value, dict):
        texts, languages = value.get("solution"), value.get("language")
        if not (isinstance(texts, list) and isinstance(languages, list) and len(texts) == len(languages)):
            raise DataError(f"{where} must hold as many texts under 'solution' as languages under 'language'")
        value = [text for text, language in zip(texts, languages, strict=True) if language in _PYTHON_LANGUAGES]
    if not _is_texts(value):
        raise DataError(f"{where} must be a text or a list of texts, got {value!r:.80}")
    return [text.removeprefix("\ufeff") for text in value if text.strip()]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _not_a_list(text: str, where: str) -> str:
    """Return a program that is no list of texts in the spelling of Python, which tables hold where JSON was meant."""
    if text.lstrip().startswith(("['", '["')):
        try:
            whole = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return text
        if isinstance(whole, ast.List) and all(isinstance(part, ast.Constant) for part in whole.elts):
            raise DataError(
                f"{where} is a list in the spelling of Python; it must be a text, or JSON of a list of texts"
            )
    return text
