"""Rational arithmetic on what an answer states, by a small parser with bounds on size; no code is evaluated."""

from __future__ import annotations

import math
import re
from fractions import Fraction

MAX_LENGTH = 400
MAX_DEPTH = 25
MAX_BITS = 8192

_TOKEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+|\\frac|\\sqrt|\\cdot|[-+*/^!(){}:])", re.ASCII)
_PLAIN = re.compile(r"[-+]?\d{1,300}", re.ASCII)


class RefusedError(Exception):
    """The text is nothing that is read here, or too big."""


class TokenReader:
    """The common part of parsers by recursive descent: their tokens, and the place they have read to."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def peek(self, ahead: int = 0) -> str:
        """Return a token without taking it, ``""`` behind the last one."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        """Take the next token; raises RefusedError if there is none, or not the one that is wanted."""
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise RefusedError
        self.at += 1
        return token


def rational(text: str) -> Fraction | None:
    """Return the rational number that a normalised text states, or None if it states none or too big a one.

    >>> rational(r"3\\frac{1}{2}"), rational("2^{10}"), rational("9^{9^{9}}"), rational("x")
    (Fraction(7, 2), Fraction(1024, 1), None, None)
    """
    if _PLAIN.fullmatch(text):
        return Fraction(int(text))
    if not text or len(text) > MAX_LENGTH:
        return None
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(match[1])
        position = match.end()
    parser = _Parser(tokens)
    try:
        value = parser.ratio()
        return value if parser.at == len(tokens) else None
    except (RefusedError, ZeroDivisionError, ValueError, OverflowError):
        return None


def ratio(text: str) -> tuple[Fraction, ...] | None:
    """Return the parts of a ratio such as ``2:4:6`` in terms of its first part, or None.

    >>> ratio("2:4:6") == ratio("1:2:3"), ratio("0:1"), ratio("5")
    (True, None, None)
    """
    parts = [rational(part.strip()) for part in text.split(":")]
    if len(parts) < 2 or None in parts or not parts[0]:
        return None
    return tuple(part / parts[0] for part in parts if part is not None)


class _Parser(TokenReader):
    def ratio(self) -> Fraction:
        value = self.sum()
        if self.peek() == ":":
            self.take()
            value /= self.sum()
        return value

    def sum(self) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RefusedError
        value = self.product()
        while self.peek() in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        self.depth -= 1
        return _bound(value)

    def product(self) -> Fraction:
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= 1 if self.take() == "+" else -1
        value, mixed = self.power()
        while True:
            token = self.peek()
            if token in ("*", "\\cdot", "/"):
                self.take()
                inner = -1 if self.peek() == "-" else 1
                if inner < 0:
                    self.take()
                other = self.power()[0] * inner
                value, mixed = _bound(value / other if token == "/" else value * other), False
            elif token == "\\frac" and mixed:  # 3\frac{1}{2} is a mixed number
                value, mixed = value + self.power()[0], False
            elif token in ("(", "{", "\\sqrt", "\\frac") or (token.isdigit() and self.tokens[self.at - 1] == "!"):
                value, mixed = _bound(value * self.power()[0]), False
            elif mixed and token.isdigit() and self.tokens[self.at + 1 : self.at + 2] == ["/"]:
                above = int(self.take())
                self.take("/")
                value, mixed = value + Fraction(above, int(self.take())), False
            else:
                return sign * value

    def power(self) -> tuple[Fraction, bool]:
        whole = self.peek().isdigit()
        value = self.atom()
        while self.peek() == "!":
            self.take()
            if value.denominator != 1 or not 0 <= value <= 300:
                raise RefusedError
            value, whole = Fraction(math.factorial(int(value))), False
        if self.peek() != "^":
            return value, whole
        self.take()
        if self.peek() == "-":
            self.take()
            exponent = -self.atom()
        else:
            exponent = self.atom()
        size = max(value.numerator.bit_length(), value.denominator.bit_length())
        if exponent.denominator != 1 or abs(exponent) * size > MAX_BITS:
            raise RefusedError
        return value ** int(exponent), False

    def atom(self) -> Fraction:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            if len(token) > 300:
                raise RefusedError
            return Fraction(token.rstrip(".") if token[0] != "." else "0" + token)
        if token in "({":
            value = self.sum()
            self.take(")" if token == "(" else "}")
            return value
        if token == "\\frac":
            above, below = self.group(), self.group()
            return above / below
        if token == "\\sqrt":
            value = self.group()
            if value < 0:
                raise RefusedError
            root_above, root_below = math.isqrt(value.numerator), math.isqrt(value.denominator)
            if root_above**2 != value.numerator or root_below**2 != value.denominator:
                raise RefusedError
            return Fraction(root_above, root_below)
        raise RefusedError

    def group(self) -> Fraction:
        self.take("{")
        value = self.sum()
        self.take("}")
        return value


def _bound(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > 2 * MAX_BITS:
        raise RefusedError
    return value
