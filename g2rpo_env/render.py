"""Contexts as people see them: marked text, coloured text, frames of a video.

Every function takes ``(tokenizer, tokens_T, role_T)``. Tokens are decoded run by run, a run being neighbours of one
role; a character whose bytes lie in two runs shows as U+FFFD in both.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.errors import MissingDependencyError
from g2rpo_env.tokenizer import decode

RGB = tuple[int, int, int]


class Ink(NamedTuple):
    """A colour of the palette: red, green, blue in 0..255 for light and for dark paper."""

    light: RGB
    dark: RGB


PALETTE = {
    "prompt": Ink((110, 110, 110), (150, 150, 150)),
    "revealed": Ink((0, 158, 115), (64, 201, 155)),
    "sampled": Ink((0, 114, 178), (86, 180, 233)),
    "environment": Ink((230, 159, 0), (240, 228, 66)),
    "more": Ink((8, 81, 156), (107, 174, 214)),
    "up": Ink((5, 113, 176), (107, 174, 214)),
    "down": Ink((230, 97, 1), (253, 141, 60)),
    "right": Ink((0, 120, 88), (0, 190, 140)),
    "wrong": Ink((176, 68, 0), (255, 138, 76)),
    "accent": Ink((148, 64, 118), (224, 150, 192)),
}
"""The one palette of terminal, frames, notebooks and the viewer: Okabe and Ito's colours for roles and verdicts,
ColorBrewer's for values, blue for more and up, orange for down."""


def css_palette() -> str:
    """Return the palette as custom properties of CSS: ``--revealed: 0 158 115`` and so on, by colour scheme."""
    light, dark = (
        "".join(f"--{name}:{' '.join(map(str, getattr(ink, paper)))};" for name, ink in PALETTE.items())
        for paper in Ink._fields
    )
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"


class Color(NamedTuple):
    """Colour of a role: its name in a terminal, the parameter of the terminal's colour command, and red, green, blue in
    0..255 of the frames.
    """

    name: str
    ansi: str
    rgb: RGB


COLORS = {
    Role.PROMPT: Color("dim", "2", PALETTE["prompt"].dark),
    Role.REVEALED: Color("green", "32", PALETTE["revealed"].dark),
    Role.SAMPLED: Color("cyan", "36", PALETTE["sampled"].dark),
    Role.ENVIRONMENT: Color("yellow", "33", PALETTE["environment"].dark),
}
BACKGROUND = (16, 16, 20)

COLUMNS, ROWS = 80, 24
"""Size of a frame in cells; the last row is the legend, the one above it is empty."""

CELL_HEIGHT, CELL_WIDTH = 22, 10
"""Size of a cell in pixels. Frames of even height and width are what video codecs take."""

FONT_SIZE, BASELINE = 18, 17
"""Height of the letters and distance of their foot from the top of the cell, in pixels."""

TAB = "    "


# -- text -------------------------------------------------------------------------------------------------------------


def marked_text(tokenizer: Any, tokens_T: np.ndarray, role_T: np.ndarray) -> str:
    """Return tokens as text with brackets around runs of one role.

    Prompt and sampled text stand bare, revealed text in ``[ ]``, environment text in ``{ }``.
    """
    marks = {Role.REVEALED: ("[", "]"), Role.ENVIRONMENT: ("{", "}")}
    pieces = []
    cuts = [0, *(np.flatnonzero(np.diff(role_T)) + 1).tolist(), len(role_T)]
    for begin, end in zip(cuts[:-1], cuts[1:], strict=True):
        if end > begin:
            left, right = marks.get(Role(int(role_T[begin])), ("", ""))
            pieces.append(left + decode(tokenizer, tokens_T[begin:end], begins=not begin) + right)
    return "".join(pieces)


def role_runs(tokenizer: Any, tokens_T: np.ndarray, role_T: np.ndarray) -> Iterator[tuple[Role, str]]:
    """Yield role and text of each run of neighbours that share a role."""
    cuts = np.flatnonzero(np.diff(role_T, prepend=-1, append=-1))
    for begin, end in pairwise(cuts.tolist()):
        yield Role(int(role_T[begin])), decode(tokenizer, tokens_T[begin:end], begins=not begin)


def escape(text: str) -> str:
    r"""Return text with every control character but line break and tab written out.

    What a policy samples must not drive the terminal: an escape character could clear the screen or set its title.

    >>> print(escape("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], text)


INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code)
    for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for code in range(first, last + 1)
}
"""Characters that leave no ink although Unicode counts them among letters, marks and symbols."""


def make_visible(text: str) -> str:
    r"""Return text with every character that leaves no ink written out, but for the space.

    These are control, bidirectional, zero-width, private and unassigned characters, halves of surrogate pairs,
    variation selectors, and spaces other than the space. The viewer does the same, in ``src/visible.mjs``.

    >>> print(make_visible("a\n\u202eb\u200b c"))
    a\n\u202eb\u200b c
    """
    return "".join(map(_visible_character, text)) if not (text.isascii() and text.isprintable()) else text


@lru_cache(maxsize=4096)
def _visible_character(char: str) -> str:
    category = unicodedata.category(char)
    if char != " " and (category[0] == "C" or category in ("Zs", "Zl", "Zp") or char in INVISIBLE):
        code = ord(char)
        short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
        return short or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")
    return char


def wants_colors() -> bool:
    """Whether standard output is a terminal and the variable NO_COLOR is unset or empty."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def colored_text(tokenizer: Any, tokens_T: np.ndarray, role_T: np.ndarray, color: bool | None = None) -> str:
    """Return tokens as text for a terminal, control characters written out.

    Args:
        tokenizer: Decodes the tokens.
        tokens_T: int (T,), token ids.
        role_T: int (T,), a Role per token.
        color: True: prompt dim, revealed text green, sampled cyan, environment text yellow. False: no colours, roles
            marked as in :func:`marked_text`. None: True if standard output is a terminal and NO_COLOR is not set.
    """
    if not (wants_colors() if color is None else color):
        return escape(marked_text(tokenizer, tokens_T, role_T))
    runs = role_runs(tokenizer, tokens_T, role_T)
    return "".join(f"\x1b[{COLORS[role].ansi}m{escape(text)}\x1b[0m" for role, text in runs)


def show(tokenizer: Any, tokens_T: np.ndarray, role_T: np.ndarray) -> None:
    """Print tokens with :func:`colored_text`; characters that standard output cannot encode are written out."""
    text = colored_text(tokenizer, tokens_T, role_T)
    encoding = sys.stdout.encoding or "utf-8"  # None where standard output is no file
    print(text.encode(encoding, "backslashreplace").decode(encoding))


# -- frames -----------------------------------------------------------------------------------------------------------


def frame(tokenizer: Any, tokens_T: np.ndarray, role_T: np.ndarray) -> np.ndarray:
    """Return a picture of the tokens, coloured by role, and a legend.

    Text is wrapped at COLUMNS characters; of a text that is longer than the frame the last rows are shown. The font
    holds ASCII; other characters show as boxes.

    Returns:
        uint8 (ROWS * CELL_HEIGHT, COLUMNS * CELL_WIDTH, 3), the same shape for every text.

    Raises:
        MissingDependencyError: Pillow is missing.
    """
    legend = [pair for role in Role for pair in ((role, role.name.lower()), (Role.PROMPT, "  "))]
    rows = wrap(role_runs(tokenizer, tokens_T, role_T))[2 - ROWS :]
    rows += [[] for _ in range(ROWS - 1 - len(rows))] + wrap(legend)
    cells = [(i, j, char, role) for i, row in enumerate(rows) for j, (char, role) in enumerate(row)]

    alpha = np.zeros((ROWS, COLUMNS, CELL_HEIGHT, CELL_WIDTH), np.float32)
    ink = np.zeros((ROWS, COLUMNS, 3), np.float32)
    for i, j, char, role in cells:
        alpha[i, j] = glyph(char)
        ink[i, j] = COLORS[role].rgb
    alpha = alpha.transpose(0, 2, 1, 3)[..., None]  # row, y, column, x, 1
    paper = np.array(BACKGROUND, np.float32)
    picture = paper + alpha * (ink[:, None, :, None] - paper)
    return picture.round().astype(np.uint8).reshape(ROWS * CELL_HEIGHT, COLUMNS * CELL_WIDTH, 3)


def wrap(runs: Iterable[tuple[Role, str]]) -> list[list[tuple[str, Role]]]:
    """Return rows of at most COLUMNS (character, role) from (role, text); tabs become spaces."""
    rows: list[list[tuple[str, Role]]] = [[]]
    for role, text in runs:
        for char in escape(text).replace("\t", TAB):
            if char == "\n" or len(rows[-1]) == COLUMNS:
                rows.append([])
            if char != "\n":
                rows[-1].append((char, role))
    return rows


@lru_cache(maxsize=4096)
def glyph(char: str) -> np.ndarray:
    """Return one character, centred in its cell: float32 (CELL_HEIGHT, CELL_WIDTH), ink in [0, 1], read-only.

    Pillow's font is proportional. A cell of its own for every character makes columns line up; a character that is
    wider than the cell is squeezed into it.

    Raises:
        MissingDependencyError: Pillow is missing.
    """
    image, draw, font = _pillow()
    width = max(CELL_WIDTH, round(font.getlength(char)))
    cell = image.new("L", (width, CELL_HEIGHT))
    draw.Draw(cell).text((width / 2, BASELINE), char, fill=255, font=font, anchor="ms")
    ink = np.asarray(cell.resize((CELL_WIDTH, CELL_HEIGHT)), np.float32) / 255
    ink.flags.writeable = False
    return ink


@lru_cache(maxsize=1)
def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingDependencyError(
            "render_mode='rgb_array' needs Pillow, of the extra 'video': pip install 'g2rpo-env[video]'"
        ) from error
    return Image, ImageDraw, ImageFont.load_default(FONT_SIZE)


RENDERERS: dict[str, Callable[[Any, np.ndarray, np.ndarray], Any]] = {
    "ansi": marked_text,
    "human": show,
    "rgb_array": frame,
}
"""Render mode of an environment -> what makes its picture from (tokenizer, tokens_T, role_T)."""
