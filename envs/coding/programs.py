"""Problems whose answer is a program: their tests, the program in a completion, and steps at logical lines."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
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
_DEFINES = re.compile(r"(?m)^[ \t]*(?:async[ \t]+def|def|class|import|from)[ \t]")
_INDENTED = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n)*[ \t]+[^\s#]")
_BEGINNING = re.compile(r"(?m)^([ \t]*)(?:async[ \t]+def|def|class)[ \t]+\w")
_FUTURES = re.compile(r"^from __future__ import (?:\([^()]*\)|[\w, ]+)[ \t]*\n", re.MULTILINE)
"""What must stand before all other code."""
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
        elif base := alone(self.head, frozenset(_OPENS.findall(code))):
            futures, code = _FUTURES.findall(code), _FUTURES.sub("", code)
            code = "".join([*futures, f"{base}\n{code}"])
        return f"{code}\n{self.tail}" if self.tail else code


def is_whole(code: str, head: str, entry_point: str | None = None) -> bool:
    """Whether code is whole by itself, and not the rest of what a head leaves open.

    It is whole if it does not begin indented and the head ends with a line, or if it defines the head's last function
    or class, or the entry point.

    >>> is_whole("def f(x):\\n    return x\\n", "def f(x):\\n"), is_whole("    return x\\n", "def f(x):\\n")
    (True, False)
    """
    if not code.strip() or _INDENTED.match(code):
        return False
    opened = _OPENS.findall(head)[-1:]
    return head.endswith("\n") or any(name in (entry_point, *opened) for name in _OPENS.findall(code))


@lru_cache(maxsize=1024)
def alone(head: str, defined: frozenset[str] = frozenset()) -> str:
    """Return what of a head can stand before code that defines some names.

    That is all of it, or what is before the function or class at its end that it leaves open or that the code defines:
    a signature may use names that nothing imports, such as ``List``.

    >>> alone("import math\\n\\ndef f(x):\\n"), alone("n = 1\\ndef f(x: List):\\n  'Double.'\\n", frozenset({"f"}))
    ('import math\\n\\n', 'n = 1\\n')
    """
    last = [match.start() for match in _OPENS.finditer(head) if match[1] in defined or not is_program(head)][-1:]
    if is_program(head) and not (last and len(ast.parse(head[last[0] :]).body) == 1):
        return head
    before = _DECORATORS.sub("", head[: last[0]]) if last else ""
    return before if is_program(before) else ""


def answer_part(completion: str) -> str:
    """Return a completion without the thought at its beginning, which ends with ``</think>``.

    The opening tag may stand in the prompt. A thought without an end is no thought: all of the completion is taken.

    >>> [answer_part(text) for text in ("<think>Add.</think>x = 1", "Add.\\n</think>\\nx = 1", "x = '</think>'")]
    ['x = 1', '\\nx = 1', "x = '</think>'"]
    """
    if completion.lstrip().startswith("<think>"):
        _, mark, rest = completion.partition("</think>")
        return rest if mark else completion
    end = _END_OF_THOUGHT.search(completion)
    return completion[end.end() :] if end else completion


def fenced_block(text: str) -> str | None:
    """Return the last complete fenced block of Python, or of no named language; None if there is none.

    A thought (:func:`answer_part`) is not looked at.

    >>> fenced_block("Try:\\n```python\\nx = 1\\n```\\nIt prints:\\n```text\\n1\\n```\\n```\\nopen")
    'x = 1\\n'
    """
    return next(fenced_blocks(answer_part(text)), None)


def fenced_blocks(text: str) -> Iterator[str]:
    """Yield the complete fenced blocks of Python, or of no named language, the last one first.

    Blocks of no named language that define and import nothing come after all others: they may be what a program prints.
    Blocks are those of CommonMark 4.5: backticks or tildes, with attributes behind the language, indented, in list
    items and quotes. Complete is a block with a closing fence, or one whose list item or quote ends before the text
    does.
    """
    if "```" not in text and "~~~" not in text:
        return
    text = text.replace("\r\n", "\n").replace("\r", "\n") + "\n"
    parser = _markdown()
    tokens: list[Token] = []
    parser.block.parse(text, parser, {}, tokens)
    last = len(text.rstrip().split("\n"))
    doubtful = []
    for token in reversed(tokens):
        if token.type == "fence" and names_python(token.info):
            assert token.map is not None
            begin, end = token.map
            if end - begin - 1 > token.content.count("\n") or end < last:
                if token.info.strip() or _DEFINES.search(token.content):
                    yield token.content
                else:
                    doubtful.append(token.content)
    yield from doubtful


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
    """Whether a text of the data set is Python by itself; nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<data>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def defined_names(program: str) -> set[str]:
    """Return the names that a program of the data set binds anywhere: functions, methods, classes, variables, imports.

    >>> sorted(defined_names("import math as m\\nclass A:\\n  def f(self): x = 1\\n"))
    ['A', 'f', 'm', 'x']
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


def is_open(code: str) -> bool:
    """Whether code of the data set is a function or class, perhaps after other code, or the beginning of one.

    >>> [is_open(code) for code in ("def f(x):\\n", "import math\\n", "Write f:\\n\\ndef f(x):\\n\\nin Python.")]
    [True, False, False]
    """
    if not _OPENS.search(code):
        return False
    last = _BEGINNING.findall(code)[-1]
    return is_program(code) or is_program(f"{code.rstrip()}\n{last} pass\n")


def find_head(text: str, entry_point: str | None = None) -> str:
    """Return the code in a prompt that a completion may go on with: the beginning of a function or class.

    That is the whole prompt, or else the last fenced block in it that is one, or else the lines that begin with the
    function in prose, after the imports there. With an entry point it must be of that name.

    Returns:
        The code, ending with a line, or ``""`` if there is none.

    >>> find_head("Add.\\n\\ndef add(a, b):\\n    # the sum\\n\\nIn Python, please.", "add")
    'def add(a, b):\\n    # the sum\\n'
    """

    def fits(code: str) -> bool:
        return is_open(code) and (entry_point is None or entry_point in _OPENS.findall(code))

    if fits(text):
        return text
    for block in fenced_blocks(text):
        if fits(block):
            return block
    lines = text.split("\n")
    for number in reversed(range(len(lines))):
        opened = _OPENS.match(lines[number])
        if opened and entry_point in (None, opened[1]):
            return _read_signature(lines, number)
    return ""


def _read_signature(lines: Sequence[str], number: int) -> str:
    """Return the function or class that begins in a line of prose, as far as what follows belongs to it."""
    imports = "".join(line + "\n" for line in lines[:number] if re.match(r"(?:from[ \t].+[ \t])?import[ \t]", line))
    imports = imports if is_program(imports) else ""
    for end in range(number + 1, min(len(lines), number + 30) + 1):
        if is_open("\n".join(lines[number:end]) + "\n"):
            break
    else:
        return ""
    signature = "\n".join(lines[number:end]) + "\n"
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t"):
        end += 1
    body = "\n".join(lines[number:end]).rstrip() + "\n"
    return imports + (body if is_open(body) else signature)


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
