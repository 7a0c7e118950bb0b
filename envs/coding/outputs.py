"""The output of a script against the expected one. Standard library only."""

from __future__ import annotations

import math
from itertools import zip_longest


def same_output(found: bytes, wanted: str, rule: str, tolerance: float) -> bool:
    """Return whether an output is the expected one.

    Args:
        found: The output of the script.
        wanted: The output that is right.
        rule: ``exact``: the same bytes in UTF-8. ``whitespace``: the same words on each line; lines without words at
            the end do not count. ``numeric``: as ``whitespace``, but two words that are finite numbers may differ by
            ``tolerance``, absolutely or relative to the larger one.
        tolerance: See above.

    >>> same_output(b"1  2\\n\\n", "1 2", "whitespace", 0), same_output(b"1\\n2", "1 2", "whitespace", 0)
    (True, False)
    >>> same_output(b"0.3333333", "0.33333333333", "numeric", 1e-6), same_output(b"nan", "1", "numeric", 1e-6)
    (True, False)
    """
    if rule == "exact":
        return found == wanted.encode("utf-8", "surrogatepass")
    lines = [_lines(text) for text in (found.decode("utf-8", "replace"), wanted)]
    if rule == "whitespace":
        return lines[0] == lines[1]
    return all(_same_words(mine, theirs, tolerance) for mine, theirs in zip_longest(*lines))


def _lines(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_words(found: list[str] | None, wanted: list[str] | None, tolerance: float) -> bool:
    if found is None or wanted is None or len(found) != len(wanted):
        return False
    return all(a == b or _close(a, b, tolerance) for a, b in zip(found, wanted, strict=True))


def _close(found: str, wanted: str, tolerance: float) -> bool:
    try:
        a, b = float(found), float(wanted)
    except ValueError:
        return False
    return math.isfinite(a) and math.isfinite(b) and math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
