"""Problems whose answer is a program: their tests, the program in a completion, and steps at logical lines."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from g2rpo_env.envs.coding.checks import CodeCheck
from g2rpo_env.problem import Problem

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_PYTHON = re.compile(r"(?:lang(?:uage)?-)?(?:i?python|py)[\d.]*")
"""Names of the language behind an opening fence that are taken; a block of another language is no answer."""
_END_OF_THOUGHT = re.compile(r"(?m)^[ \t]*</think>[ \t\r]*$")
_OPENS = re.compile(r"(?m)^(?:async[ \t]+def|def|class)[ \t]+(\w+)")
_INDENTED = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n)*[ \t]+[^\s#]")
_DECORATORS = re.compile(r"(?:^@.*\n)+\Z", re.MULTILINE)


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem with the tests of its programs; see :class:`CodeCheck` for the three kinds.

    Attributes:
        head: Code that a completion continues, such as the prompt of HumanEval; empty where it is a whole program.
        tail: Code of the data set behind every program, such as what makes a method callable by its name.
        entry_point: With ``test``: the function that ``check`` is given.
        test: Source that defines ``check(candidate)``.
        asserts: Statements such as ``"assert add(1, 2) == 3"``.
        setup: Trusted source that runs before the tests.
        cases: Pairs of standard input and expected standard output.
        compare: How outputs are compared: ``exact``, ``whitespace`` or ``numeric``.
        tolerance: Largest difference of numbers under ``numeric``.
    """

    head: str = ""
    tail: str = ""
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

        The last complete fenced block (:func:`fenced_block`), otherwise the answer (:func:`answer_part`), is taken.
        With a :attr:`head` it goes on with it, or, if it defines what the head leaves open, replaces it: of the head
        then stays what can stand alone, such as imports and helpers. :attr:`tail` follows in any case.
        """
        block = fenced_block(completion)
        return self.join(answer_part(completion) if block is None else block)

    def join(self, code: str) -> str:
        """Return the program of some code: after the head, or instead of its last function or class; then the tail."""
        if not self.head or not is_whole(code, self.head, self.entry_point):
            code = self.head + code
        elif base := alone(self.head):
            code = f"{base}\n{code}"
        return f"{code}\n{self.tail}" if self.tail else code


def is_whole(code: str, head: str, entry_point: str | None = None) -> bool:
    """Whether code defines by itself what a head leaves open, its last function or class, or the entry point.

    >>> is_whole("def f(x):\\n    return x\\n", "def f(x):\\n"), is_whole("    return x\\n", "def f(x):\\n")
    (True, False)
    """
    opened = _OPENS.findall(head)[-1:]
    if _INDENTED.match(code):  # it begins inside of something
        return False
    return any(name in (entry_point, *opened) for name in _OPENS.findall(code))


def alone(head: str) -> str:
    """Return what of a head can stand alone: all of it, or what is before the function or class that it leaves open.

    >>> alone("import math\\n\\ndef f(x):\\n")
    'import math\\n\\n'
    """
    if is_program(head):
        return head
    last = [match.start() for match in _OPENS.finditer(head)][-1:]
    before = _DECORATORS.sub("", head[: last[0]]) if last else ""
    return before if is_program(before) else ""


def answer_part(completion: str) -> str:
    """Return a completion without the thought at its beginning, which ends with ``</think>``.

    The opening tag may stand in the prompt. A thought without an end is no thought: all of the completion is taken.

    >>> answer_part("<think>Add.</think>\\nreturn 1"), answer_part("Add.\\n</think>\\nreturn 1"), answer_part("'</think>'")
    ('\\nreturn 1', '\\nreturn 1', "'</think>'")
    """
    if completion.lstrip().startswith("<think>"):
        _, mark, rest = completion.partition("</think>")
        return rest if mark else completion
    end = _END_OF_THOUGHT.search(completion)
    return completion[end.end() :] if end else completion


def fenced_block(text: str) -> str | None:
    """Return the last complete fenced block of Python, or of no named language; None if there is none.

    Blocks are those of CommonMark 4.5: backticks or tildes, with attributes behind the language, indented, in list
    items and quotes. Complete is a block with a closing fence, or one whose list item or quote ends before the text
    does. A thought (:func:`answer_part`) is not looked at.

    >>> fenced_block("Try:\\n```python\\nx = 1\\n```\\nIt prints:\\n```text\\n1\\n```\\n```\\nopen")
    'x = 1\\n'
    """
    text = answer_part(text)
    if "```" not in text and "~~~" not in text:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n") + "\n"
    parser = _markdown()
    tokens: list[Token] = []
    parser.block.parse(text, parser, {}, tokens)
    last = len(text.rstrip().split("\n"))
    for token in reversed(tokens):
        if token.type == "fence" and names_python(token.info):
            assert token.map is not None
            begin, end = token.map
            if end - begin - 1 > token.content.count("\n") or end < last:
                return token.content
    return None


def names_python(info: str) -> bool:
    """Whether what stands behind an opening fence names Python, or no language.

    >>> [names_python(info) for info in ("", "python title='x'", "{.python .numbered}", "Python3", "py", "pycon", "c")]
    [True, True, True, True, True, False, False]
    """
    info = info.strip().lower()
    if info.startswith("{"):  # attributes alone: {.python #id key="value"}, {python}
        words = [word for word in info.strip("{}").split() if not word.startswith("#") and "=" not in word]
        language = next((word for word in words if word.startswith(".")), words[0] if words else "")
        return not language or _PYTHON.fullmatch(language.lstrip(".")) is not None
    language = re.split(r"[\s{,;:=]", info, maxsplit=1)[0]
    return not language or _PYTHON.fullmatch(language.lstrip(".")) is not None


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    """Return a parser of CommonMark without raw HTML, in which a line such as ``<details>`` would hide a fence."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").disable(["html_block", "reference"])


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
