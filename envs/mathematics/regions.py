"""Sets of real numbers in any notation: intervals and their unions against inequalities, without algebra."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from g2rpo_env.envs.mathematics.formulas import SAME, constant, value_at
from g2rpo_env.envs.mathematics.parts import between

MAX_LENGTH = 300
STEPS = (-2.37, -0.61, 0, 0.53, 1.29)
"""Where functions by cases are compared, from each end of an interval."""
_MARK = re.compile(r"[<>]|\\(?:le|ge|ne|cup|in|infty|mathbb|setminus)(?![a-zA-Z])|^\]|\[$")
_SIGN = re.compile(r"\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|\\ne(?![a-zA-Z])|[<>]")
_MEMBER = re.compile(r"\s*([a-zA-Z])\s*\\in(?![a-zA-Z])\s*(.*)", re.DOTALL)
_PLUS_MINUS = re.compile(r"\\pm\s*(.+)", re.DOTALL)
_NAME = re.compile(r"[a-zA-Z]|\\[a-z]+(?<!\\pi)(?<!\\infty)")
_ABSOLUTE = re.compile(r"\|\s*([a-zA-Z])\s*\|")
_REALS = "\\mathbb{R}"
_POSITIVE = frozenset(f"{_REALS}{mark}" for mark in ("^+", "^{+}", "_+", "_{+}"))
_OR = re.compile(r"\bor\b|,?\s*\\cup(?![a-zA-Z])")
_AND = re.compile(r",?\s*\band\b")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "\\ne": "\\ne"}


@dataclass(frozen=True)
class Interval:
    """An interval of real numbers; its ends are mpmath's, and may be infinite."""

    low: Any
    high: Any
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True)
class Region:
    """Disjoint intervals in order, and the name of the variable, ``""`` if none is given."""

    intervals: tuple[Interval, ...]
    name: str


class _RefusedError(Exception):
    """The text states no region that is read here."""


def same_region(gold: str, answer: str) -> bool | None:
    """Return whether two normalised texts state the same set of numbers; None unless both surely state one.

    >>> same_region("(-\\\\infty,1)\\\\cup(2,\\\\infty)", "x<1 or x>2"), same_region("x\\\\le 3", "(-\\\\infty,3)")
    (True, False)
    >>> same_region("(1,2)", "(1,2)") is None   # may as well be a point
    True
    """
    if not (_MARK.search(gold) or _MARK.search(answer)):
        return None
    left, right = read(gold), read(answer)
    if left is None or right is None:
        return None
    if left.name and right.name and left.name != right.name:
        return False
    return len(left.intervals) == len(right.intervals) and all(
        (a.low_closed, a.high_closed) == (b.low_closed, b.high_closed)
        and _equal(a.low, b.low)
        and _equal(a.high, b.high)
        for a, b in zip(left.intervals, right.intervals, strict=True)
    )


def same_by_cases(pieces: list[tuple[str, str]], formula: str) -> bool | None:
    """Return whether a function by cases and a formula of one variable have the same values; None if not found out.

    >>> pieces = [("x", "x\\\\ge 0"), ("-x", "x<0")]
    >>> same_by_cases(pieces, "|x|"), same_by_cases(pieces, "x"), same_by_cases(pieces, "|y|")
    (True, False, None)
    """
    cases = [(value, read(condition) if condition else None) for value, condition in pieces]
    regions = [region for _, region in cases if region is not None]
    names = {region.name for region in regions}
    if len(names) != 1 or len(regions) < len(cases) - 1:
        return None
    name, reached = names.pop(), set()
    ends = {end for region in regions for one in region.intervals for end in (one.low, one.high)}
    for place in (end + step for end in ends if abs(end) < _end("\\infty") for step in STEPS):
        chosen = [value for value, region in cases if region is not None and _holds(region, place)]
        chosen += [value for value, region in cases if region is None and not chosen]
        values = [value_at(text, name, place) for text in (*chosen, formula)]
        if len(chosen) == 1 and None not in values:
            if not _equal(*values):
                return False
            reached.add(chosen[0])
    return True if len(reached) == len({value for value, _ in cases}) else None


def _holds(region: Region, place: Any) -> bool:
    """Whether a number lies in a region."""
    return any(
        (one.low < place or (one.low_closed and one.low == place))
        and (place < one.high or (one.high_closed and one.high == place))
        for one in region.intervals
    )


def read(text: str) -> Region | None:
    """Return the region that a text states, or None."""
    if len(text) > MAX_LENGTH:
        return None
    if ";" in text:  # [0,5; 1[ where the comma is that of a decimal
        text = text.replace(",", ".").replace(";", ",")
    try:
        parts = _OR.split(_without_member(text)[1])
        name, intervals = _without_member(text)[0], []
        for part in parts:
            other, found = _intersect(part.strip().strip(","))
            if name and other and name != other:
                raise _RefusedError
            name = name or other
            intervals += found
        return Region(_join(intervals), name)
    except _RefusedError:
        return None


def _without_member(text: str) -> tuple[str, str]:
    match = _MEMBER.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def _intersect(text: str) -> tuple[str, list[Interval]]:
    """Return the variable of parts that "and" joins, and the intervals that lie in all of them."""
    listed = between(",", text)
    if len(listed) > 1 and all(len(_SIGN.findall(part)) == 1 for part in listed):
        try:  # x<0, x>3 lies in none of both: either is meant
            name, found = _intersect(" and ".join(listed))
        except _RefusedError:
            found = []
        if found:
            return name, found
        parts = [_part(part) for part in listed]
        if len({name for name, _ in parts}) > 1:
            raise _RefusedError
        return parts[0][0], [interval for _, intervals in parts for interval in intervals]
    name, found = _part(_AND.split(text)[0])
    for part in _AND.split(text)[1:]:
        other, intervals = _part(part)
        if name != other:
            raise _RefusedError
        found = [_common(one, two) for one in found for two in intervals if _meet(one, two)]
    return name, found


def _meet(one: Interval, two: Interval) -> bool:
    return bool(max(one.low, two.low) < min(one.high, two.high))


def _common(one: Interval, two: Interval) -> Interval:
    """Return the common part of two intervals that meet."""
    low = max(one, two, key=lambda interval: (interval.low, not interval.low_closed))
    high = min(one, two, key=lambda interval: (interval.high, interval.high_closed))
    return Interval(low.low, high.high, low.low_closed, high.high_closed)


def _part(text: str) -> tuple[str, list[Interval]]:
    """Return variable and intervals of a part between two signs of union."""
    if _SIGN.search(text):
        return _inequality(text)
    name, text = _without_member(text)
    base, minus, holes = text.partition("\\setminus")
    base = "".join(base.split())
    if base in _POSITIVE:
        return name, [Interval(_end("0"), _end("\\infty"), False, False)]
    if minus or base == _REALS:
        if base != _REALS:
            raise _RefusedError
        inside = holes.strip().removeprefix("\\{").removesuffix("\\}")
        return name, _without([_end(hole) for hole in between(",", inside)] if minus else [])
    return name, [_interval(base)]


def _interval(text: str) -> Interval:
    outward = text[:1] == "]" or text[-1:] == "["  # ]1,2[ in the French notation
    if outward:
        text = text.replace("]", "(", 1) if text[:1] == "]" else text
        text = text[:-1] + ")" if text[-1:] == "[" else text
    ends = between(",", text[1:-1])
    if text[:1] not in ("(", "[") or text[-1:] not in (")", "]") or len(ends) != 2:
        raise _RefusedError
    low, high = _end(ends[0]), _end(ends[1])
    if not low < high:
        raise _RefusedError
    return Interval(low, high, text[0] == "[", text[-1] == "]")


def _inequality(text: str) -> tuple[str, list[Interval]]:
    signs = _SIGN.findall(text)
    sides = [side.strip() for side in _SIGN.split(text)]
    if len(signs) == 1 and _NAME.fullmatch(sides[1]):  # 2 < x
        sides, signs = sides[::-1], [_FLIPPED[signs[0]]]
    if len(signs) == 1 and (absolute := _ABSOLUTE.fullmatch(sides[0])) and signs[0] != "\\ne":
        end = _end(sides[1])
        if not end > 0:
            raise _RefusedError
        inside = signs[0] in ("<", "\\le")
        if inside:
            return absolute[1], [Interval(-end, end, signs[0] == "\\le", signs[0] == "\\le")]
        return absolute[1], [*_half(_FLIPPED[signs[0]], -end), *_half(signs[0], end)]
    if len(signs) == 1 and _NAME.fullmatch(sides[0]):
        if signs[0] == "\\ne":
            return sides[0], _without([_end(side) for side in between(",", _PLUS_MINUS.sub(r"\1,-\1", sides[1]))])
        return sides[0], _half(signs[0], _end(sides[1]))
    if len(signs) == 2 and _NAME.fullmatch(sides[1]) and {sign in ("<", "\\le") for sign in signs} <= {True}:
        return sides[1], [_order(sides[0], sides[2], signs)]
    if len(signs) == 2 and _NAME.fullmatch(sides[1]) and {sign in (">", "\\ge") for sign in signs} <= {True}:
        return sides[1], [_order(sides[2], sides[0], [_FLIPPED[sign] for sign in signs[::-1]])]
    raise _RefusedError


def _order(low: str, high: str, signs: list[str]) -> Interval:
    ends = _end(low), _end(high)
    if not ends[0] < ends[1]:
        raise _RefusedError
    return Interval(*ends, signs[0] == "\\le", signs[1] == "\\le")


def _half(sign: str, end: Any) -> list[Interval]:
    infinity = _end("\\infty")
    if abs(end) == infinity:
        raise _RefusedError
    if sign in ("<", "\\le"):
        return [Interval(-infinity, end, False, sign == "\\le")]
    return [Interval(end, infinity, sign == "\\ge", False)]


def _without(points: list[Any]) -> list[Interval]:
    infinity = _end("\\infty")
    ends = [-infinity, *sorted(points), infinity]
    return [Interval(low, high, False, False) for low, high in zip(ends, ends[1:], strict=False) if low < high]


def _end(text: str) -> Any:
    text = "".join(text.split())
    if text.lstrip("+-") == "\\infty" and len(text) <= 7:
        return constant("-1" if text.startswith("-") else "1") * float("inf")
    value = constant(text)
    if value is None:
        raise _RefusedError
    return value


def _join(intervals: list[Interval]) -> tuple[Interval, ...]:
    """Return intervals in order, those that touch or overlap made one."""
    found: list[Interval] = []
    for interval in sorted(intervals, key=lambda one: (one.low, not one.low_closed)):
        last = found[-1] if found else None
        if last and (
            interval.low < last.high or (interval.low == last.high and (last.high_closed or interval.low_closed))
        ):
            longer = interval.high > last.high
            closed = interval.high_closed if longer else last.high_closed
            closed |= interval.high == last.high and interval.high_closed
            found[-1] = Interval(last.low, interval.high if longer else last.high, last.low_closed, closed)
        else:
            found.append(interval)
    return tuple(found)


def _equal(left: Any, right: Any) -> bool:
    if left == right or not (left.context.isfinite(left) and left.context.isfinite(right)):
        return bool(left == right)
    return abs(left - right) <= max(abs(left), abs(right)) * left.context.mpf(10) ** -SAME
