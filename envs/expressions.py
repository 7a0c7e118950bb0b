"""Expressions in whole numbers: read, written, evaluated and reduced step by step, without ``eval``."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_EXACT = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_WHOLE = {**_EXACT, "/": operator.floordiv}
MAX_LENGTH = 200
"""Characters of the longest text that is read; what is longer is no answer to a task of ours."""
_TOKEN = re.compile(r"\s*(\d{1,9}|[-+*/()])")


@dataclass(frozen=True)
class Operation:
    """Two expressions and the sign between them."""

    sign: str
    left: Expression
    right: Expression


Expression = int | Operation


def parse(text: str) -> Expression:
    """Return the expression of a text with ``+ - * /``, brackets and numbers of up to nine digits.

    Raises:
        ValueError: it is no such text, or longer than :data:`MAX_LENGTH`.

    >>> parse("2*(3+4)")
    Operation(sign='*', left=2, right=Operation(sign='+', left=3, right=4))
    """
    if len(text) > MAX_LENGTH or not text.isascii():
        raise ValueError("no expression: too long, or not ASCII")
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"no expression: {text[position]!r} at character {position}")
        tokens.append(match[1])
        position = match.end()
    tokens.reverse()
    found = _operations(tokens, 1)
    if tokens:
        raise ValueError(f"no expression: {tokens[-1]!r} is left over")
    return found


def _operations(tokens: list[str], precedence: int) -> Expression:
    """Read operations that bind at least as strongly; tokens are taken from the end of the list."""
    left = _atom(tokens)
    while tokens and PRECEDENCE.get(tokens[-1], 0) >= precedence:
        sign = tokens.pop()
        left = Operation(sign, left, _operations(tokens, PRECEDENCE[sign] + 1))
    return left


def _atom(tokens: list[str]) -> Expression:
    token = tokens.pop() if tokens else "the end"
    if token.isdigit():
        return int(token)
    if token != "(":
        raise ValueError(f"no expression: a number or a bracket must stand where {token!r} is")
    inner = _operations(tokens, 1)
    if not tokens or tokens.pop() != ")":
        raise ValueError("no expression: a bracket is not closed")
    return inner


def render(expression: Expression, precedence: int = 1) -> str:
    """Return the text with as few brackets as keep the order of the operations.

    >>> render(parse("(2*3)-(4-1)"))
    '2*3-(4-1)'
    """
    if isinstance(expression, int):
        return str(expression)
    own = PRECEDENCE[expression.sign]
    text = render(expression.left, own) + expression.sign + render(expression.right, own + 1)
    return f"({text})" if own < precedence else text


def value(expression: Expression) -> Fraction:
    """Return the exact value; raises ZeroDivisionError."""
    if isinstance(expression, int):
        return Fraction(expression)
    return _EXACT[expression.sign](value(expression.left), value(expression.right))


def numbers(expression: Expression) -> Iterator[int]:
    """Yield the numbers from left to right."""
    if isinstance(expression, int):
        yield expression
    else:
        yield from numbers(expression.left)
        yield from numbers(expression.right)


def whole_value(expression: Expression, least: int, greatest: int) -> int | None:
    """Return the value if every operation gives a whole number in [least, greatest]; None otherwise.

    >>> whole_value(parse("7-2*3"), 0, 99), whole_value(parse("2*3-7"), 0, 99), whole_value(parse("7/2"), 0, 99)
    (1, None, None)
    """
    if isinstance(expression, int):
        return expression
    left = whole_value(expression.left, least, greatest)
    right = whole_value(expression.right, least, greatest)
    if left is None or right is None or (expression.sign == "/" and (right == 0 or left % right)):
        return None
    result = _WHOLE[expression.sign](left, right)
    return result if least <= result <= greatest else None


def reduce(expression: Operation) -> tuple[Operation, Expression]:
    """Return the first operation on two numbers, and the expression with its result in its place.

    >>> first, rest = reduce(parse("3+(4-1)*2"))
    >>> render(first), render(rest)
    ('4-1', '3+3*2')
    """
    if isinstance(expression.left, Operation):
        first, left = reduce(expression.left)
        return first, Operation(expression.sign, left, expression.right)
    if isinstance(expression.right, Operation):
        first, right = reduce(expression.right)
        return first, Operation(expression.sign, expression.left, right)
    return expression, int(value(expression))
