"""Answers of several parts taken apart: lists, tuples, sets, intervals, matrices."""

from __future__ import annotations

import re

_JOIN = re.compile(r"\s*[,;]?\s*(?:\\text\{\s*)?(?<![a-zA-Z\\])(?:and|or)(?![a-z])(?:\s*\})?\s*|\s*,?\s*\\?&\s*|;")
_BRACKETS = (("\\{", "\\}", "{}"), ("(", ")", "()"), ("[", "]", "[]"), ("(", "]", "(]"), ("[", ")", "[)"))
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_NUMBERS = re.compile(r"\[\s*([-0-9./]+(?:\s+[-0-9./]+)+(?:\s*;\s*[-0-9./]+(?:\s+[-0-9./]+)+)+)\s*\]")
_TERM = re.compile(r"([-+]?\s*[^-+ijk]*?)\s*([ijk])(?![a-z])")
_TERMS = re.compile(r"(?:\s*[-+]?\s*[^-+ijk]{0,30}[ijk](?![a-z])\s*){2,3}")
_CASES = re.compile(r"(?:[a-zA-Z]\([a-z]\)\s*=)?\s*\\begin\{cases\}(.*)\\end\{cases\}", re.DOTALL)
_CONDITION = re.compile(r"^\s*(?:if|for|when|where|otherwise|else)?\b\s*")
MAX_CASES = 8
MAX_EXPANDED = 200
_PART = re.compile(r"(?:(?:^|[,;]?\s)\s*(?:and\s+)?)\(([a-e]|i{1,3}|[1-5])\)(?=\s)")
_PART_NAMES = (list("abcde"), ["i", "ii", "iii"], list("12345"))
_ROWS = re.compile(r"\[(\[[^\[\]]*\](?:,\s*\[[^\[\]]*\])*)\]")


def split(text: str) -> tuple[str, list[str]]:
    """Return the kind of brackets around a text and its parts between commas outside all inner brackets.

    A matrix is of the kind ``2x3`` and its parts are its cells; one with a single row or column keeps its shape too.

    >>> split("(1, 2)"), split("1 or 2"), split("\\\\begin{pmatrix}1&2\\\\end{pmatrix}")
    (('()', ['1', '2']), ('', ['1', '2']), ('1x2', ['1', '2']))
    """
    text = text.strip()
    cells = matrix(text)
    if cells:
        return f"{len(cells)}x{len(cells[0])}", [cell for row in cells for cell in row]
    kind = ""
    for opening, ending, name in _BRACKETS:
        if text.startswith(opening) and text.endswith(ending) and _outer(text):
            kind, text = name, text[len(opening) : -len(ending)]
            break
    return kind, [part for part in between(",", _JOIN.sub(",", text)) if part]


def in_order(text: str) -> str:
    """Return the answers to the parts of a question as a tuple, all else as it is.

    >>> in_order("(a) 3, (b) 5"), in_order("(a) 3"), in_order("(1)(2)")
    ('(3, 5)', '(a) 3', '(1)(2)')
    """
    labels = list(_PART.finditer(text)) if text.startswith("(") else []
    names = [label[1] for label in labels]
    if len(labels) < 2 or not any(names == names_[: len(names)] for names_ in _PART_NAMES):
        return text
    ends = [*(label.start() for label in labels[1:]), len(text)]
    parts = [text[label.end() : end].strip(" .,;") for label, end in zip(labels, ends, strict=True)]
    return f"({', '.join(parts)})" if all(parts) else text


def expand(parts: list[str]) -> list[str]:
    """Return parts with "..." between whole numbers as all that it stands for.

    >>> expand(["1", "2", "...", "5"]), expand(["2", "4", "...", "8"]), expand(["1", "2", "...", "n"])
    (['1', '2', '3', '4', '5'], ['2', '4', '6', '8'], ['1', '2', '...', 'n'])
    """
    at = parts.index("...") if "..." in parts else 0
    numbers = [*parts[:at], *parts[at + 1 :]]
    if at < 2 or not all(re.fullmatch(r"-?[0-9]{1,9}", part) for part in numbers):
        return parts
    first, second, before, last = int(parts[0]), int(parts[1]), int(parts[at - 1]), int((*parts, "0")[at + 1])
    step = second - first
    if at + 1 == len(parts) or not step or (last - before) % step or not 0 < (last - before) // step <= MAX_EXPANDED:
        return parts
    return [*parts[:at], *(str(number) for number in range(before + step, last, step)), *parts[at + 1 :]]


def between(sign: str, text: str) -> list[str]:
    """Return the parts between signs outside all brackets.

    >>> between("=", "F = \\\\sum_{k=0}^{n} k")
    ['F', '\\\\sum_{k=0}^{n} k']
    """
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == sign and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return parts


def matrix(text: str) -> list[list[str]] | None:
    """Return the rows of a normalised matrix, or of ``[[1,2],[3,4]]``; None for all else and for ragged rows."""
    rows = None
    if match := _MATRIX.fullmatch(text):
        rows = [[cell.strip() for cell in row.split("&")] for row in match[1].split("\\\\") if row.strip()]
    elif match := _ROWS.fullmatch("".join(text.split())):
        rows = [row.split(",") for row in match[1][1:-1].split("],[")]
    elif match := _NUMBERS.fullmatch(text):  # [1 2; 3 4]
        rows = [row.split() for row in match[1].split(";")]
    if not rows or len({len(row) for row in rows}) != 1 or not all(cell for row in rows for cell in row):
        return None
    return rows


def piecewise(text: str) -> list[tuple[str, str]]:
    """Return value and condition of each case of a normalised function by cases, ``""`` for "otherwise"; else ``[]``.

    >>> piecewise("\\\\begin{cases}x & if x>0 \\\\\\\\ 0 & otherwise\\\\end{cases}")
    [('x', 'x>0'), ('0', '')]
    """
    match = _CASES.fullmatch(text)
    rows = [row.split("&") for row in match[1].split("\\\\") if row.strip()] if match else []
    if not rows or len(rows) > MAX_CASES or any(len(row) != 2 for row in rows):
        return []
    return [(value.strip(" ,;"), _CONDITION.sub("", condition).strip(" ,;.")) for value, condition in rows]


def unit_vectors(text: str) -> str:
    """Return a sum of multiples of the unit vectors i, j and k as a tuple, ``""`` for all else.

    >>> unit_vectors("i - 2j + 3k"), unit_vectors("2i+j"), unit_vectors("2i")
    ('(1,-2,3)', '(2,1)', '')
    """
    terms = _TERM.findall(text) if len(text) <= 100 and _TERMS.fullmatch(text) else []
    values = {name: "".join(factor.split()).removeprefix("+") for factor, name in terms}
    if len(terms) < 2 or len(values) < len(terms):
        return ""
    found = (values.get(name, "0") for name in ("ijk" if "k" in values else "ij"))
    return f"({','.join({'': '1', '-': '-1'}.get(value, value) for value in found)})"


def _outer(text: str) -> bool:
    """Whether the bracket that opens a text closes at its end."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in ")]}":
            return position == len(text) - 1
    return False


def distinct(parts: list[str]) -> list[str]:
    """Return parts without those that stand there twice, in order."""
    return list({squeeze(part): part for part in parts}.values())


def squeeze(text: str) -> str:
    """Return a text without spaces, but for those between two digits: ``3 1/2`` is not ``31/2``."""
    words = text.split()
    if len(words) < 2:
        return words[0] if words else ""
    return re.sub(r"(?<![0-9]) | (?![0-9])", "", " ".join(words))
