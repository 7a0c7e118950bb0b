r"""Worked solutions cut into steps: lines, sentences and display equations, paragraphs.

Pure functions. The steps joined are the text, character for character, and every step holds something besides white
space: blank text belongs to the step before it, at the start to the first one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

MAX_DISPLAY = 20_000
"""Characters within which a display equation must end; without an end so near it is none."""
MAX_INLINE = 2_000
"""The same for a formula between single dollars; a dollar sign without an end so near is a currency sign."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_PARAGRAPH = re.compile(r".*?(?:\n[ \t\r]*(?:\n[ \t\r]*)+|\Z)", re.DOTALL)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")
_NEXT = re.compile(r"\\begin\s*\{([^{}]*)\}|\\.|\$\$?|[.!?]+|\n[ \t\r]*\n", re.DOTALL)
_AFTER_SENTENCE = re.compile(r"[)\]}\"'’”»*_]*\s+")
_AFTER_DISPLAY = re.compile(r"[ \t]*[.,;:!?]*\s*")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|etc|resp|Dr|Mr|Mrs|Ms|St|Eq|Eqs|Fig|No|approx|w\.r\.t))$")
_IN_FORMULA = re.compile(r"\\.|[{}]|\$", re.DOTALL)


def lines(text: str) -> tuple[str, ...]:
    r"""Return the lines of a text, line breaks included.

    >>> lines("3*4=12\n\n12+1=13\n")
    ('3*4=12\n\n', '12+1=13\n')
    """
    return _join_blank(_LINE.findall(text))


def paragraphs(text: str) -> tuple[str, ...]:
    r"""Return the paragraphs between blank lines, each with the blank lines behind it.

    >>> paragraphs("Let me see.\n2+2.\n\nWait.\n")
    ('Let me see.\n2+2.\n\n', 'Wait.\n')
    """
    return _join_blank(match.group() for match in _PARAGRAPH.finditer(text))


def sentences(text: str) -> tuple[str, ...]:
    r"""Return the sentences and the display equations of a LaTeX text.

    No cut falls into a formula (``$...$``, ``\(...\)``, ``$$...$$``, ``\[...\]``) or an environment
    (``\begin{...}...\end{...}``). A display equation is a step of its own, punctuation behind it included; so is an
    environment. Blank lines end a step as well.

    >>> sentences(r"Let $x = 1.5. y$ hold. Then \[x^2 = 2.25.\] Done.")
    ('Let $x = 1.5. y$ hold. ', 'Then ', '\\[x^2 = 2.25.\\] ', 'Done.')
    """
    cuts: list[int] = []
    position = 0
    while True:
        found = _NEXT.search(text, position)
        if found is None:
            break
        start, position = found.span()
        token = found.group()
        if token in ("$", "$$", "\\(", "\\[") or found[1] is not None:
            end = _formula_end(text, start, token, found[1])
            if end is None:
                continue  # nothing ends it: a currency sign, a bracket
            position = end
            if token not in ("$", "\\("):
                position = _AFTER_DISPLAY.match(text, end).end()  # type: ignore[union-attr]
                cuts += [start, position]
        elif token[0] == "\n":
            position = _BLANK_LINE.match(text, start).end()  # type: ignore[union-attr]
            cuts.append(position)
        elif token[0] in ".!?":
            after = _AFTER_SENTENCE.match(text, position)
            if after and not (token == "." and _ABBREVIATION.search(text, max(0, start - 8), start)):
                position = after.end()
                cuts.append(position)
    return _join_blank(text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))


def _formula_end(text: str, start: int, token: str, environment: str | None) -> int | None:
    """Return where the formula or environment ends that begins at ``start``, or None if nothing ends it."""
    inside = start + len(token)
    if environment is not None:
        # Nothing may be cut in an environment: one that does not end takes the rest.
        end = _environment_end(text, inside, environment)
        return len(text) if end is None else end
    if token == "$":
        return _dollar_end(text, inside)
    closing = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}[token]
    while True:
        found = text.find(closing, inside, start + MAX_DISPLAY)
        if found < 0:
            return None
        if not _is_escaped(text, found):
            return found + len(closing)
        inside = found + 1


def _is_escaped(text: str, position: int) -> bool:
    before = position
    while before and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1


def _dollar_end(text: str, inside: int) -> int | None:
    """Return where a formula between single dollars ends; a dollar between braces, as in \\text{$x$}, ends none."""
    blank = _BLANK_LINE.search(text, inside, inside + MAX_INLINE)  # TeX allows no paragraph in it
    limit = blank.start() if blank else min(len(text), inside + MAX_INLINE)
    first, depth = None, 0
    for found in _IN_FORMULA.finditer(text, inside, limit):
        if found.group() == "$":
            first = found.end() if first is None else first
            if depth <= 0:
                return found.end()
        else:
            depth += {"{": 1, "}": -1}.get(found.group(), 0)
    return first  # braces that do not close say nothing


def _environment_end(text: str, inside: int, name: str) -> int | None:
    depth = 1
    for found in re.finditer(rf"\\(begin|end)\s*\{{{re.escape(name)}\}}", text[inside:]):
        depth += 1 if found[1] == "begin" else -1
        if not depth:
            return inside + found.end()
    return None


def _join_blank(pieces: Iterable[str]) -> tuple[str, ...]:
    """Return the pieces with blank ones joined to their neighbours; a blank text has no steps but itself."""
    steps: list[str] = []
    blank = ""
    for piece in pieces:
        if piece.strip():
            steps.append(blank + piece)
            blank = ""
        elif steps:
            steps[-1] += piece
        else:
            blank += piece
    return (*steps, blank) if blank else tuple(steps)


SPLITTERS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "lines": lines,
    "sentences": sentences,
    "paragraphs": paragraphs,
}
"""Ways to cut a solution, by name."""
