"""Problems whose answer is a program: their tests, the program in a completion, and steps at logical lines."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass

from g2rpo_env.envs.coding.checks import CodeCheck
from g2rpo_env.problem import Problem

PYTHON = ("", "python", "python3", "py")
"""Names of the language behind an opening fence that are taken; a block of another language is no answer."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)")


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem with the tests of its programs; see :class:`CodeCheck` for the three kinds.

    Attributes:
        head: Code that a completion continues, such as the prompt of HumanEval; empty where it is a whole program.
        entry_point: With ``test``: the function that ``check`` is given.
        test: Source that defines ``check(candidate)``.
        asserts: Statements such as ``"assert add(1, 2) == 3"``.
        setup: Trusted source that runs before the tests.
        cases: Pairs of standard input and expected standard output.
        compare: How outputs are compared: ``exact``, ``whitespace`` or ``numeric``.
        tolerance: Largest difference of numbers under ``numeric``.
    """

    head: str = ""
    entry_point: str | None = None
    test: str | None = None
    asserts: tuple[str, ...] = ()
    setup: str = ""
    cases: tuple[tuple[str, str], ...] = ()
    compare: str = "whitespace"
    tolerance: float = 1e-6

    def check(self, program: str) -> CodeCheck:
        """Return the question to the sandbox about a program."""
        return CodeCheck(
            program,
            entry_point=self.entry_point,
            test=self.test,
            asserts=self.asserts,
            setup=self.setup,
            cases=self.cases,
            compare=self.compare,
            tolerance=self.tolerance,
            name=self.problem_id,
        )

    def program(self, completion: str) -> str:
        """Return the program that a completion stands for.

        The last complete fenced block, otherwise the completion, continues :attr:`head`. A block that defines
        ``entry_point`` itself replaces it; what ``head`` defines beside, such as its imports, stays where it can
        stand alone.
        """
        block = fenced_block(completion)
        if block is None:
            return self.head + completion
        if self.entry_point is None or not re.search(rf"(?m)^(async +)?def +{self.entry_point}\b", block):
            return self.head + block
        return f"{self.head}\n{block}" if is_program(self.head) else block


def fenced_block(text: str) -> str | None:
    """Return the last complete fenced block of Python, or of no named language; None if there is none.

    A fence is a line of three or more backticks or tildes, closed by a line of at least as many (CommonMark 4.5).

    >>> fenced_block("Try:\\n```python\\nx = 1\\n```\\nIt prints:\\n```text\\n1\\n```\\n```\\nopen")
    'x = 1\\n'
    """
    found, fence, language, lines = None, "", "", [""]
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        match = _FENCE.fullmatch(line)
        if not fence and match:
            fence, language, lines = match[1], match[2].strip().lower(), []
        elif fence and match and match[1].startswith(fence) and not match[2].strip():
            found = "".join(lines) if language in PYTHON else found
            fence = ""
        elif fence:
            lines.append(line + "\n")
    return found


def is_program(text: str) -> bool:
    """Whether a text of the data set is Python by itself."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def logical_lines(code: str, head: str = "") -> tuple[str, ...]:
    """Split code at the ends of its logical lines: never inside a bracket, a string or a continued line.

    Comments and empty lines belong to the line that follows them, those at the end to the last one. The parts joined
    are the code, byte for byte. Code that is no Python is one part.

    Args:
        code: The code.
        head: Code that stands before it, such as ``"def f(x):\\n"``.

    >>> logical_lines(" y = [1,\\n      2]\\n\\n return y\\n", "def f():\\n")
    (' y = [1,\\n      2]\\n', '\\n return y\\n')
    """
    text = head + code
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text, newline="\n").readline))
    except (tokenize.TokenError, SyntaxError):
        return (code,)
    ends = [starts[token.end[0]] for token in tokens if token.type == tokenize.NEWLINE]
    cuts = [0, *(end - len(head) for end in ends[:-1] if 0 < end - len(head) < len(code)), len(code)]
    return tuple(code[a:b] for a, b in zip(cuts, cuts[1:], strict=False))


def steps_and_final(code: str, head: str = "") -> tuple[tuple[str, ...], str]:
    """Return all logical lines of a solution but the last, and the last, which guidance never shows."""
    *steps, final = logical_lines(code, head)
    return tuple(steps), final
