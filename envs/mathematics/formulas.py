"""Formulas compared as functions: read by a small parser, evaluated to 80 digits at random points; nothing is executed.

Two formulas that agree at three random points to 65 digits are the same function, and two that differ at one are not
(the probabilistic identity test of Schwartz and Zippel, with real numbers instead of a finite field). It answers in
milliseconds where algebra takes up to seconds, and says None for all that it does not read or that grows too large.
"""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from g2rpo_env.envs.mathematics.exact import RefusedError, TokenReader
from g2rpo_env.envs.mathematics.parts import between

DIGITS = 80
SAME = 65
"""Digits to which two values must agree. No step may be smaller than 2**-96, so that no difference hides below them."""
MAX_LENGTH = 400
MAX_DEPTH = 25
MAX_MAGNITUDE, MIN_MAGNITUDE = 4000, -96  # binary digits before the point
MAX_TERMS = 300
POINTS = 12
NEEDED = 3
ROOTS, ROUGHLY = 4, 10  # points from which solutions are searched; digits to which they are trusted

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[a-zA-Z]+|[a-zA-Z]+|\*\*|[-+*/^!(){}\[\]|_=])", re.ASCII)
_FUNCTIONS = frozenset("sin cos tan sec csc cot sinh cosh tanh asin acos atan exp".split())
_ALIASES = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "log": "log",
    "ln": "ln",
    "sqrt": "sqrt",
    "abs": "abs",
    "floor": "floor",
    "ceil": "ceil",
    "cis": "cis",
    "tg": "tan",
    "ctg": "cot",
    "lg": "lg",
}
_NAMES = {*_FUNCTIONS, *_ALIASES}
_GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell".split()
)
_UNKNOWN_FUNCTIONS = frozenset("fghFGHPQWEV")
_NO_FACTORS = ("**", "\\cdot", "\\choose", "\\over", "\\rfloor", "\\rceil")
_OPENING = {"(": ")", "{": "}", "[": "]"}

Node = Callable[["Point"], Any]


class _UndefinedError(Exception):
    """The formula has no value at a point, or one that is too large or too small."""


@dataclass
class Point:
    """Where a formula is evaluated: a value for each name, found by its hash; remembers the largest term of a sum."""

    number: int
    context: Any
    common_logarithm: bool = False
    bound: dict[str, Any] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    scale: Any = 0

    def value(self, name: str) -> Any:
        """Return the value of a variable."""
        if name in self.bound:
            return self.bound[name]
        if name in self.whole:
            return self.context.mpf(self.number + 2)
        low, high = ((0.3, 3.0), (0.3, 3.0), (-3.0, 3.0), (2.0, 9.0))[self.number % 4]
        return self.context.mpf(random.Random(f"{name} {self.number}").uniform(low, high))

    def check(self, value: Any) -> Any:
        """Return a value that is neither infinite nor too large or small."""
        if isinstance(value, self.context.mpc):
            if abs(value.imag) <= self.context.mpf(10) ** -SAME * abs(value.real):
                value = value.real
            elif abs(value.real) <= self.context.mpf(10) ** -SAME * abs(value.imag):
                value = self.context.mpc(0, value.imag)
        if value == 0:
            return value
        if not self.context.isfinite(value) or not MIN_MAGNITUDE < self.context.mag(value) < MAX_MAGNITUDE:
            raise _UndefinedError
        return value


_local = threading.local()


def _context() -> Any:
    """Return this thread's own context of mpmath; one that is shared would change its precision under us."""
    import mpmath

    if not hasattr(_local, "context"):
        _local.context = mpmath.MPContext()
        _local.context.dps = DIGITS
    return _local.context


@dataclass(frozen=True)
class Formula:
    """A formula that was read.

    Attributes:
        node: Its value at a point.
        names: Its variables.
        imaginary: Whether it holds the imaginary unit.
        logarithm: Whether it holds a logarithm without a base, which is read both ways.
        ambiguous: Whether another reader may read it in another way, as ``1/2x``.
        whole: Its variables in the bounds of sums, which are whole numbers.
    """

    node: Node
    names: frozenset[str]
    imaginary: bool
    logarithm: bool
    ambiguous: bool
    whole: frozenset[str]


def read(text: str) -> Formula | None:
    """Return the formula that a normalised text states, or None."""
    if not text or len(text) > MAX_LENGTH:
        return None
    tokens, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens += _letters(match[1])
        position = match.end()
    parser = _Parser(tokens)
    try:
        node = parser.whole()
    except (RefusedError, RecursionError):
        return None
    if parser.at != len(tokens):
        return None
    return Formula(
        node,
        frozenset(parser.names),
        parser.imaginary,
        parser.logarithm,
        parser.ambiguous,
        frozenset(parser.bounds & parser.names),
    )


def _letters(token: str) -> list[str]:
    """Return a word that is no known function or constant as its letters: ``xy`` is a product."""
    if not token.isalpha() or token in _NAMES or token in ("pi", "degrees"):
        return [token]
    return list(token)


def constant(text: str) -> Any:
    """Return the real number that a text states, as mpmath's, or None.

    >>> int(constant("2\\\\sqrt{4}+1")), constant("x")
    (5, None)
    """
    formula = read(text)
    if formula is None or formula.names or formula.imaginary or formula.logarithm:
        return None
    found = _evaluate(formula.node, Point(0, _context()))
    return found if isinstance(found, _context().mpf) else None


def value_at(text: str, name: str, number: Any) -> Any:
    """Return the real value of a text where its only variable is a number, as mpmath's, or None.

    >>> int(value_at("x^2+1", "x", constant("3"))), value_at("x+y", "x", constant("3"))
    (10, None)
    """
    formula = read(text)
    if formula is None or formula.names - {name}:
        return None
    found = _evaluate(formula.node, Point(0, _context(), bound={name: number}))
    return found if isinstance(found, _context().mpf) else None


def same(gold: str, answer: str, tolerance: float = 0.0) -> bool | None:
    """Return whether two texts state the same function of their variables; None if that was not found out.

    >>> same("x^2-1", "(x-1)(x+1)"), same("x^2-1", "(x+1)^2"), same("\\\\int x", "x")
    (True, False, None)
    """
    left, right = read(gold), read(answer)
    if left is None or right is None:
        return None
    found = _agree(left, right, False, tolerance)
    if not found and (left.logarithm or right.logarithm):
        found = _agree(left, right, True, tolerance) or found
    return None if found is False and (left.ambiguous or right.ambiguous) else found


def same_equation(gold: str, answer: str) -> bool | None:
    """Return whether two equations state the same; None if that was not found out.

    They do if the differences of their sides are in a constant ratio. They do not if a solution of one does not solve
    the other.

    >>> same_equation("y=2x+1", "2x-y+1=0"), same_equation("x=5", "x^2=4"), same_equation("x=2", "(x-2)^2=0")
    (True, False, None)
    """
    texts = between("=", gold), between("=", answer)
    formulas = [formula for text in (*texts[0], *texts[1]) if (formula := read(text)) is not None]
    if not len(texts[0]) == len(texts[1]) == 2 or len(formulas) != 4:
        return None
    if any(formula.imaginary or formula.ambiguous for formula in formulas):
        return None
    ratios = []
    for point in _points(frozenset().union(*(formula.names for formula in formulas))):
        values = [_evaluate(formula.node, point) for formula in formulas]
        if all(isinstance(value, point.context.mpf) for value in values):
            differences = _difference(point, *values[:2]), _difference(point, *values[2:])
            if 0 in differences:
                return None
            ratios.append(differences[0] / differences[1])
    if len(ratios) < NEEDED:
        return None
    if all(abs(ratio - ratios[0]) <= abs(ratios[0]) * ratios[0].context.mpf(10) ** -(SAME - 10) for ratio in ratios):
        return True
    first, second = (formulas[0], formulas[1]), (formulas[2], formulas[3])
    return False if _is_separated(first, second) or _is_separated(second, first) else None


def _is_separated(one: tuple[Formula, Formula], other: tuple[Formula, Formula]) -> bool:
    """Return whether a solution of one equation was found that does not solve the other."""
    names = one[0].names | one[1].names
    for point in islice(_points(names | other[0].names | other[1].names), ROOTS):
        for name in sorted(names):
            if _solve(point, name, one):
                values = [_evaluate(side.node, point) for side in other]
                if all(isinstance(value, point.context.mpf) for value in values):
                    size = max(1, point.scale, *map(abs, values))
                    if abs(values[0] - values[1]) > size * point.context.mpf(10) ** -ROUGHLY:
                        return True
            point.bound.pop(name, None)
    return False


def _solve(point: Point, name: str, equation: tuple[Formula, Formula]) -> bool:
    """Give a variable a value that solves an equation, the others as they are; return whether one was found."""

    def difference(value: Any) -> Any:
        point.bound[name] = value
        left, right = (_evaluate(side.node, point) for side in equation)
        if not isinstance(left, point.context.mpf) or not isinstance(right, point.context.mpf):
            raise ValueError
        return left - right

    start = point.value(name)
    try:
        point.bound[name] = point.context.findroot(difference, (start, start + 0.5), solver="secant", maxsteps=20)
    except (ValueError, ZeroDivisionError, TypeError):
        return False
    return isinstance(point.bound[name], point.context.mpf)


def _points(names: frozenset[str]) -> Iterator[Point]:
    for number in range(POINTS if names else 1):
        yield Point(number, _context())


def _evaluate(node: Node, point: Point) -> Any:
    """Return the value at a point, or None where there is none."""
    from mpmath.libmp import NoConvergence

    try:
        return point.check(node(point))
    except (_UndefinedError, ZeroDivisionError, ValueError, OverflowError, TypeError, NoConvergence):
        return None


def _difference(point: Point, left: Any, right: Any) -> Any:
    """Return a difference, 0 where it is lost in the rounding of what went into it."""
    size = max(abs(left), abs(right), point.scale)
    difference = left - right
    return 0 * difference if abs(difference) <= size * point.context.mpf(10) ** -SAME else difference


def _agree(left: Formula, right: Formula, common_logarithm: bool, tolerance: float) -> bool | None:
    imaginary, names, whole = left.imaginary or right.imaginary, left.names | right.names, left.whole | right.whole
    enough = POINTS - 2 if whole else NEEDED  # whole numbers are no random points
    real: list[bool] = []
    others: list[bool] = []
    for point in _points(names):
        point.common_logarithm, point.whole = common_logarithm, whole
        u, v = _evaluate(left.node, point), _evaluate(right.node, point)
        if u is None or v is None:
            continue
        equal = bool(_difference(point, u, v) == 0) or (not names and abs(u - v) <= tolerance * abs(u))
        where = real if imaginary or isinstance(u, point.context.mpf) and isinstance(v, point.context.mpf) else others
        where.append(equal)
        if where is real and (not equal or len(real) == enough):
            return equal
    needed = enough if names else 1
    if real or len(others) < needed:
        return all(real) if len(real) >= needed else None
    return all(others)


# -- reading ----------------------------------------------------------------------------------------------------------


class _Parser(TokenReader):
    """Recursive descent; each method returns the node of what it has read."""

    def __init__(self, tokens: list[str]) -> None:
        super().__init__(tokens)
        self.bars = 0
        self.names: set[str] = set()
        self.bound: list[str] = []
        self.bounds: set[str] = set()
        self.imaginary = self.logarithm = self.ambiguous = False

    def whole(self) -> Node:
        node = self.sum()
        if self.peek() in ("\\over", "\\choose"):
            node = (_quotient if self.take() == "\\over" else _binomial)(node, self.sum())
        return node

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RefusedError
        terms = [self.product()]
        while self.peek() in ("+", "-"):
            negative = self.take() == "-"
            term = self.product()
            terms.append(_negate(term) if negative else term)
        self.depth -= 1
        return terms[0] if len(terms) == 1 else lambda point: _add(point, [term(point) for term in terms])

    def product(self) -> Node:
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.take() == "-"
        node, divided = self.power(), False
        while True:
            token = self.peek()
            if token in ("*", "\\cdot", "/"):
                self.take()
                minus = self.peek() == "-"
                if minus:
                    self.take()
                other = self.power()
                node = (_quotient if token == "/" else _product)(node, _negate(other) if minus else other)
                divided |= token == "/"
            elif self.starts():
                self.ambiguous |= divided
                node = _product(node, self.power())
            else:
                return _negate(node) if negative else node

    def starts(self) -> bool:
        """Whether a factor follows without a sign between."""
        token, before = self.peek(), self.tokens[self.at - 1]
        if not token or token in "+-*/^!)}]_=" or token in _NO_FACTORS:
            return False
        if token == "|":
            return self.bars == 0
        if before == "!":
            return True
        if token[0].isdigit() or (before[0].isdigit() and token == "\\frac" and self.peek(2).isdigit()):
            raise RefusedError  # 1 2, x2, a mixed number
        return True

    def power(self) -> Node:
        node = self.atom()
        while self.peek() in ("!", "degrees"):
            node = _factorial(node) if self.take() == "!" else _product(node, _degree)
        if self.peek() in ("^", "**"):
            self.take()
            sign = self.peek() == "-"
            if sign:
                self.take()
            exponent = self.atom()
            if self.peek() in ("^", "**", "!"):
                raise RefusedError
            node = _power(node, _negate(exponent) if sign else exponent)
        return node

    def atom(self) -> Node:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return lambda point: point.context.mpf(token)
        if token in _OPENING:
            return self.group(_OPENING[token])
        if token == "|":
            return self.bar()
        return self.name(token)

    def group(self, end: str) -> Node:
        bars, self.bars = self.bars, 0
        node = self.whole()
        self.take(end)
        self.bars = bars
        return node

    def bar(self) -> Node:
        self.bars += 1
        node = self.sum()
        self.take("|")
        self.bars -= 1
        return _apply("abs", node)

    def braces(self) -> Node:
        """Read an argument of LaTeX: a group, or a single sign as in ``\\frac1x``."""
        token = self.take()
        if token == "{":
            return self.group("}")
        if len(token) == 1 and token.isdigit():
            return lambda point: point.context.mpf(token)
        return self.name(token)

    def name(self, token: str) -> Node:
        name = token.removeprefix("\\")
        if name in _NAMES:
            return self.function(name)
        if token in _STRUCTURES:
            return _STRUCTURES[token](self)
        if token.startswith("\\") and name != "pi" and name not in _GREEK:
            raise RefusedError
        if name == "pi":
            return lambda point: +point.context.pi
        if token in _UNKNOWN_FUNCTIONS and self.peek() == "(":
            raise RefusedError
        return self.variable(name)

    def variable(self, name: str) -> Node:
        if self.peek() == "_":
            self.take()
            name += "_" + self.raw()
        elif name == "e":
            return lambda point: +point.context.e
        elif name == "i" and "i" not in self.bound:
            self.imaginary = True
            return lambda point: point.context.mpc(0, 1)
        self.names.add(name)
        return lambda point: point.value(name)

    def raw(self) -> str:
        """Return the text of a subscript."""
        if self.peek() != "{":
            return self.take()
        self.take()
        parts: list[str] = []
        while self.peek() != "}":
            parts.append(self.take())
            if parts[-1] == "{":
                raise RefusedError
        self.take()
        return "".join(parts)

    def function(self, name: str) -> Node:
        name = _ALIASES.get(name, name)
        if name == "sqrt":
            return self.root()
        base: Node | None = None
        if name == "log" and self.peek() == "_":
            self.take()
            base = self.atom()
        if name == "lg":
            name, base = "log", lambda point: point.context.mpf(10)
        self.imaginary |= name == "cis"
        self.logarithm |= name == "log" and base is None
        exponent: Node | None = None
        if self.peek() == "^":
            self.take()
            if self.tokens[self.at : self.at + 4] == ["{", "-", "1", "}"] and f"a{name}" in _FUNCTIONS:
                self.at, name = self.at + 4, f"a{name}"
            else:
                exponent = self.atom()
        node = _apply(name, self.argument())
        node = node if base is None else _quotient(node, _apply("ln", base))
        return node if exponent is None else _power(node, exponent)

    def argument(self) -> Node:
        if self.peek() in _OPENING:
            return self.group(_OPENING[self.take()])
        sign = self.peek() == "-"
        if sign:
            self.take()
        node = self.power()
        while self.starts() and self.peek().removeprefix("\\") not in _NAMES and self.peek() not in ("(", "{"):
            node = _product(node, self.power())
        self.ambiguous |= self.peek() == "("
        return _negate(node) if sign else node

    def root(self) -> Node:
        degree = 2
        if self.peek() == "[":
            self.take()
            degree = int(text) if (text := self.take()).isdigit() else 0
            self.take("]")
        if not 2 <= degree <= 100 or self.peek() not in ("(", "{"):
            raise RefusedError
        return _root(self.group(_OPENING[self.take()]), degree)


def _fraction(parser: _Parser) -> Node:
    above = parser.braces()
    return _quotient(above, parser.braces())


def _choose(parser: _Parser) -> Node:
    above = parser.braces()
    return _binomial(above, parser.braces())


def _round(end: str, name: str) -> Callable[[_Parser], Node]:
    def read_(parser: _Parser) -> Node:
        node = parser.sum()
        parser.take(end)
        return _apply(name, node)

    return read_


def _summation(parser: _Parser) -> Node:
    """Read ``\\sum_{k=a}^{b} body``: added up if the bounds are numbers, and otherwise linear in its body."""
    for token in ("_", "{"):
        parser.take(token)
    name = parser.take()
    parser.take("=")
    names, parser.names = parser.names, set()
    low = parser.sum()
    parser.take("}")
    parser.take("^")
    high = parser.atom()
    parser.bounds |= parser.names
    parser.names |= names
    parser.bound.append(name)
    body = parser.product()
    parser.bound.pop()
    parser.names.discard(name)
    if any(name in other for other in parser.names if "_" in other):
        parser.names.add("\\sum")
    return lambda point: _sum_up(point, name, low(point), high(point), body)


_STRUCTURES: dict[str, Callable[[_Parser], Node]] = {
    "\\frac": _fraction,
    "\\binom": _choose,
    "\\lfloor": _round("\\rfloor", "floor"),
    "\\lceil": _round("\\rceil", "ceil"),
    "\\sum": _summation,
}


# -- evaluating -------------------------------------------------------------------------------------------------------


def _add(point: Point, values: list[Any]) -> Any:
    largest = max(abs(value) for value in values)
    point.scale = max(point.scale, largest)
    total = point.context.fsum(values)
    return point.context.mpf(0) if abs(total) <= largest * point.context.mpf(10) ** -SAME else point.check(total)


def _negate(node: Node) -> Node:
    return lambda point: -node(point)


def _product(left: Node, right: Node) -> Node:
    return lambda point: point.check(left(point) * right(point))


def _quotient(left: Node, right: Node) -> Node:
    return lambda point: point.check(left(point) / right(point))


def _degree(point: Point) -> Any:
    return point.context.pi / 180


def _power(base: Node, exponent: Node) -> Node:
    def value(point: Point) -> Any:
        low, high = base(point), exponent(point)
        if low == 0:
            if point.context.re(high) <= 0:
                raise _UndefinedError
            return low
        if abs(high) * (abs(point.context.mag(low)) + 1) > MAX_MAGNITUDE:
            raise _UndefinedError
        if isinstance(high, point.context.mpf) and high == int(high):
            return point.check(low ** int(high))
        return point.check(low**high)

    return value


def _root(node: Node, degree: int) -> Node:
    def value(point: Point) -> Any:
        inner = node(point)
        if degree % 2 and isinstance(inner, point.context.mpf) and inner < 0:
            return -point.context.root(-inner, degree)  # the real root, as school has it
        return point.context.root(inner, degree)

    return value


def _factorial(node: Node) -> Node:
    def value(point: Point) -> Any:
        inner = node(point)
        if not isinstance(inner, point.context.mpf) or not -20 < inner < 150:
            raise _UndefinedError
        if inner == int(inner):
            return point.context.mpf(math.factorial(int(inner)))
        return point.check(point.context.gamma(inner + 1))

    return value


def _binomial(above: Node, below: Node) -> Node:
    def value(point: Point) -> Any:
        n, k = above(point), below(point)
        if not 0 <= n < 500 or not 0 <= k < 500:
            raise _UndefinedError
        if n == int(n) and k == int(k):
            return point.context.mpf(math.comb(int(n), int(k)))
        return point.check(point.context.binomial(n, k))

    return value


def _apply(name: str, node: Node) -> Node:
    def value(point: Point) -> Any:
        return point.check(_function(point, name, node(point)))

    return value


def _function(point: Point, name: str, inner: Any) -> Any:
    context = point.context
    if name in ("abs", "floor", "ceil"):
        if not isinstance(inner, context.mpf):
            if name == "abs":
                return abs(inner)
            raise _UndefinedError
        nearest = context.nint(inner)
        close = abs(inner - nearest) <= max(abs(inner), 1) * context.mpf(10) ** -SAME
        return abs(inner) if name == "abs" else nearest if close else getattr(context, name)(inner)
    if inner != 0 and context.mag(inner) > (12 if name in ("exp", "sinh", "cosh", "tanh") else 250):
        raise _UndefinedError
    if name == "cis":
        return context.expj(inner)
    if name in ("ln", "log"):
        found = context.ln(inner)
        return found / context.ln(10) if name == "log" and point.common_logarithm else found
    found = getattr(context, name)(inner)
    return context.mpf(0) if abs(found) < context.mpf(10) ** -SAME else found


def _sum_up(point: Point, name: str, low: Any, high: Any, body: Node) -> Any:
    """Return a sum: term by term, or where its bounds are unknown as a value that is linear in its body."""
    before = point.bound.get(name)
    try:
        if low == int(low) and high == int(high):
            if high - low > MAX_TERMS:
                raise _UndefinedError
            values = []
            for index in range(int(low), int(high) + 1):
                point.bound[name] = point.context.mpf(index)
                values.append(body(point))
            return _add(point, values) if values else point.context.mpf(0)
        point.bound[name] = point.value("\\index")
        return body(point) * (point.value("\\low") * low + point.value("\\high") * high + point.value("\\sum"))
    finally:
        point.bound.pop(name, None)
        if before is not None:
            point.bound[name] = before
