"""Code: hashes of the modules that made a result, without comments and docstrings, which change nothing."""

from __future__ import annotations

import hashlib
import io
import sys
import tokenize
from ast import AST, Constant, Expr, iter_child_nodes, parse
from collections.abc import Iterable
from pathlib import Path

from g2rpo_env.naming import MOVED_MODULES

ELSEWHERE = (
    "g2rpo_env.cli", "g2rpo_env.report", "g2rpo_env.bench", "g2rpo_env.experiments", "g2rpo_env.study",
    "g2rpo_env.checks", "g2rpo_env.render", "g2rpo_env.controllers.simulator", "g2rpo_env.__main__",
    "g2rpo_env._version",
)  # fmt: skip
"""Modules that no result depends on, but for :data:`COUNTED`."""
COUNTED = (
    "g2rpo_env.experiments.arms", "g2rpo_env.experiments.bases", "g2rpo_env.experiments.environments",
    "g2rpo_env.study.runs",
)  # fmt: skip


def strip_code(source: str) -> str:
    """Return a Python source without comments, docstrings and empty lines.

    >>> strip_code('x = 1  # one\\n\\n\\ndef f():\\n    "Say."\\n    return x\\n')
    'x = 1\\ndef f():\\n    return x'
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for said in _find_texts(parse(source)):
        for row in range(said.lineno - 1, said.end_lineno or said.lineno):
            lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _find_texts(node: AST) -> Iterable[Expr]:
    """Yield the texts that stand alone as statements: docstrings of modules, classes, functions and attributes."""
    for child in iter_child_nodes(node):
        if isinstance(child, Expr) and isinstance(child.value, Constant) and isinstance(child.value.value, str):
            yield child
        yield from _find_texts(child)


def hash_loaded_code() -> dict[str, str]:
    """Return module -> hash of its code, for the modules of this library that are loaded and that results depend on.

    A module that only holds the earlier name of another is left out: the other is counted.
    """
    return {name: hash_module(name) for name in list_counted_modules()}


def list_counted_modules() -> list[str]:
    """Return the names of the modules of :func:`hash_loaded_code`, in order."""
    names = [name for name in sys.modules if name.split(".")[0] == "g2rpo_env" and name not in MOVED_MODULES]
    counted = [name for name in names if name in COUNTED or not name.startswith(ELSEWHERE)]
    return sorted(name for name in counted if getattr(sys.modules[name], "__file__", None))


_HASHES: dict[str, str] = {}


def hash_module(module: str) -> str:
    """Return the hash of a module's code, ``"missing"`` if there is no such module."""
    if module not in _HASHES:
        try:
            __import__(module)
        except ImportError:
            return "missing"
        path = Path(str(sys.modules[module].__file__))
        text = strip_code(path.read_text(encoding="utf-8"))
        _HASHES[module] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _HASHES[module]


def hash_code() -> str:
    """Return 16 hexadecimal digits that stand for the modules of :func:`hash_loaded_code`.

    Comments count here: the files are hashed as they are, which takes milliseconds.
    """
    digest = hashlib.sha256()
    for name in list_counted_modules():
        digest.update(name.encode() + Path(str(sys.modules[name].__file__)).read_bytes())
    return digest.hexdigest()[:16]
