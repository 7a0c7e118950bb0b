"""MiniPython: generated functions of a few operations, told in words; for tiny models, no download.

    prompt     "int x: add 3, times 2\\nf(4)=14\\nf(-1)=4\\ndef f(x):\\n"
    steps      " # add 3: x+3\\n" " # times 2: x*2\\n"     the trace: each sub-step and its expression
               " x=x+3\\n"                                 the code, all lines but the last
    final      " return x*2"

The completion continues ``def f(x):`` and is executed with hidden inputs; the trace is a comment.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Unpack

import numpy as np

from g2rpo_env.envs import generated
from g2rpo_env.envs.coding.programs import CodeProblem
from g2rpo_env.envs.coding.verifier import CodeTask
from g2rpo_env.envs.options import CodeOptions, accept_options
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import SPLITS, Problem
from g2rpo_env.streams import Seed, stream

MAX_OPERATIONS = 6
VARIABLES = "nuvwxyz"
"""Names of the argument; ``i`` and ``t`` belong to loops."""
CONSTANTS = {"n": "123456789", "m": "23456789", "k": "123", "c": "abc", "d": "xyz"}
"""Placeholder -> characters that may stand for it."""
MAX_EXAMPLE = 40
"""Characters of an example; problems with longer ones are not drawn."""
HIDDEN = 8  # inputs of the test


@dataclass(frozen=True)
class Operation:
    """One operation: how it is said, and how it is written.

    Attributes:
        domain: Type of its argument: ``int``, ``str`` or ``list`` (of ints).
        codomain: Type of its value, or ``bool``, which ends a function.
        words: Its text in the prompt, with placeholders such as ``{n}``.
        code: The expression of ``{x}``, the variable.
        loop: Lines before the expression.
    """

    domain: str
    codomain: str
    words: str
    code: str
    loop: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The placeholders of constants, in order."""
        return tuple(re.findall(r"\{(\w)\}", self.words))


OPERATIONS = (
    Operation("int", "int", "add {n}", "{x}+{n}"),
    Operation("int", "int", "subtract {n}", "{x}-{n}"),
    Operation("int", "int", "times {m}", "{x}*{m}"),
    Operation("int", "int", "divide by {m}", "{x}//{m}"),
    Operation("int", "int", "modulo {m}", "{x}%{m}"),
    Operation("int", "int", "take from {n}", "{n}-{x}"),
    Operation("int", "int", "square", "{x}*{x}"),
    Operation("int", "int", "negate", "-{x}"),
    Operation("int", "int", "absolute", "abs({x})"),
    Operation("int", "int", "at least {n}", "max({x},{n})"),
    Operation("int", "int", "at most {n}", "min({x},{n})"),
    Operation("int", "int", "if over {n} subtract {m}", "{x}-{m} if {x}>{n} else {x}"),
    Operation("int", "int", "if under {n} add {m}", "{x}+{m} if {x}<{n} else {x}"),
    Operation("int", "int", "if even halve", "{x}//2 if {x}%2==0 else {x}"),
    Operation("int", "int", "if odd add {n}", "{x}+{n} if {x}%2 else {x}"),
    Operation("int", "int", "sum below modulo {m}", "t", ("t=0", "for i in range({x}%{m}):t=t+i")),
    Operation("int", "str", "to text", "str({x})"),
    Operation("int", "list", "count to modulo {m}", "list(range({x}%{m}))"),
    Operation("int", "bool", "is over {n}", "{x}>{n}"),
    Operation("int", "bool", "is under {n}", "{x}<{n}"),
    Operation("int", "bool", "is even", "{x}%2==0"),
    Operation("str", "str", "reverse", "{x}[::-1]"),
    Operation("str", "str", "upper", "{x}.upper()"),
    Operation("str", "str", "lower", "{x}.lower()"),
    Operation("str", "str", "swap case", "{x}.swapcase()"),
    Operation("str", "str", "append {c}", "{x}+'{c}'"),
    Operation("str", "str", "prepend {c}", "'{c}'+{x}"),
    Operation("str", "str", "repeat", "{x}+{x}"),
    Operation("str", "str", "first {k}", "{x}[:{k}]"),
    Operation("str", "str", "drop {k}", "{x}[{k}:]"),
    Operation("str", "str", "replace {c} by {d}", "{x}.replace('{c}','{d}')"),
    Operation("str", "str", "sort", "''.join(sorted({x}))"),
    Operation("str", "str", "if over {n} long clear", "'' if len({x})>{n} else {x}"),
    Operation("str", "int", "length", "len({x})"),
    Operation("str", "int", "count {c}", "{x}.count('{c}')"),
    Operation("str", "int", "find {c}", "{x}.find('{c}')"),
    Operation("str", "int", "count changes", "t", ("t=0", "for i in range(1,len({x})):t=t+({x}[i]!={x}[i-1])")),
    Operation("str", "bool", "has {c}", "'{c}' in {x}"),
    Operation("str", "bool", "starts with {c}", "{x}.startswith('{c}')"),
    Operation("list", "list", "reverse", "{x}[::-1]"),
    Operation("list", "list", "sort", "sorted({x})"),
    Operation("list", "list", "first {k}", "{x}[:{k}]"),
    Operation("list", "list", "drop {k}", "{x}[{k}:]"),
    Operation("list", "list", "append {n}", "{x}+[{n}]"),
    Operation("list", "list", "add {n} to each", "[i+{n} for i in {x}]"),
    Operation("list", "list", "each times {m}", "[i*{m} for i in {x}]"),
    Operation("list", "list", "keep over {n}", "[i for i in {x} if i>{n}]"),
    Operation("list", "list", "keep under {n}", "[i for i in {x} if i<{n}]"),
    Operation("list", "list", "keep even", "[i for i in {x} if i%2==0]"),
    Operation("list", "int", "length", "len({x})"),
    Operation("list", "int", "sum", "sum({x})"),
    Operation("list", "int", "largest or {n}", "max({x},default={n})"),
    Operation("list", "int", "smallest or {n}", "min({x},default={n})"),
    Operation("list", "int", "count {n}", "{x}.count({n})"),
    Operation("list", "int", "multiply all", "t", ("t=1", "for i in {x}:t=t*i")),
    Operation("list", "bool", "has {n}", "{n} in {x}"),
)  # fmt: skip
"""All operations; words are unambiguous for each type."""
TYPES = ("int", "str", "list")

Step = tuple[Operation, tuple[str, ...]]
"""An operation and its constants."""


@lru_cache
def _from(domain: str, end: bool) -> tuple[Operation, ...]:
    return tuple(o for o in OPERATIONS if o.domain == domain and (end or o.codomain != "bool"))


def count_problems(operations: int) -> tuple[int, int]:
    """Return how many structures and how many problems of so many operations there are, examples aside."""
    structures, problems = dict.fromkeys(TYPES, 1), dict.fromkeys(TYPES, len(VARIABLES))
    for left in range(operations, 0, -1):
        kinds = [o for domain in TYPES for o in _from(domain, left == 1)]
        # From the last operation to the first it would be the same: a chain is counted by what it ends in.
        more_s, more_p = dict.fromkeys((*TYPES, "bool"), 0), dict.fromkeys((*TYPES, "bool"), 0)
        for o in kinds:
            ways = int(np.prod([len(CONSTANTS[p]) for p in o.places]))
            more_s[o.codomain] += structures[o.domain]
            more_p[o.codomain] += problems[o.domain] * ways
        structures, problems = more_s, more_p
    return sum(structures.values()), sum(problems.values())


def split_of(domain: str, steps: Sequence[Step]) -> str:
    """Return the split of a structure: the type and the operations, without names and constants."""
    return generated.split_of(f"{domain}: {', '.join(operation.words for operation, _ in steps)}")


def fill(template: str, step: Step, variable: str) -> str:
    """Return a template of an operation with its constants and the variable in it."""
    operation, constants = step
    for place, constant in zip(operation.places, constants, strict=True):
        template = template.replace(f"{{{place}}}", constant)
    return template.replace("{x}", variable)


def name_of(domain: str, variable: str, steps: Sequence[Step]) -> str:
    """Return the id of a problem, which is also the first line of its prompt: ``"int x: add 3, times 2"``."""
    return f"{domain} {variable}: {', '.join(fill(step[0].words, step, variable) for step in steps)}"


def parse(problem_id: str) -> tuple[str, str, list[Step]]:
    """Return type, variable and operations of an id; raises ValueError."""
    match = re.fullmatch(rf"(int|str|list) ([{VARIABLES}]): ([^\n]+)", problem_id)
    if not match:
        raise ValueError("it must read like 'int x: add 3, times 2'")
    domain, variable, texts = match.groups()
    kind, steps = domain, []
    for text in texts.split(", "):
        found = [(o, m.groups()) for o in _from(kind, True) if (m := re.fullmatch(_pattern(o), text))]
        if not found:
            raise ValueError(f"{text!r} is no operation on {kind}")
        steps.append(found[0])
        kind = found[0][0].codomain
    return domain, variable, steps


@lru_cache
def _pattern(operation: Operation) -> str:
    return re.sub(r"\{(\w)\}", lambda place: f"([{CONSTANTS[place[1]]}])", operation.words)


def trace_and_code(variable: str, steps: Sequence[Step]) -> tuple[list[str], list[str]]:
    """Return the lines of the trace, and those of the body, the last of which returns."""
    trace, code = [], []
    for number, step in enumerate(steps, 1):
        words, expression = (fill(text, step, variable) for text in (step[0].words, step[0].code))
        trace.append(f" # {words}: {'loop' if step[0].loop else expression}\n")
        code += [f" {fill(line, step, variable)}\n" for line in step[0].loop]
        code.append(f" return {expression}" if number == len(steps) else f" {variable}={expression}\n")
    return trace, code


def draw_input(random: np.random.Generator, domain: str) -> Any:
    """Return a random argument: an int in [-9, 20], up to 6 letters, or up to 5 ints in [-9, 9]."""
    if domain == "int":
        return int(random.integers(-9, 21))
    if domain == "str":
        return "".join(random.choice(list("abcABCx"), int(random.integers(0, 7))))
    return random.integers(-9, 10, int(random.integers(0, 6))).tolist()


def compile_solution(source: str) -> Any:
    """Return the function f of a solution made here (never of a completion)."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope["f"]


def _show(value: Any) -> str:
    return repr(value).replace(" ", "")


class MiniPythonSource:
    """Functions of one argument; the id of a problem is its first line, such as ``"int x: add 3, times 2"``.

    Args:
        operations: Number of operations, an int or an inclusive range (low, high) drawn uniformly, within [1, 6].
        split: One of :data:`g2rpo_env.problem.SPLITS`; no structure is in two of them.
        examples: Examples in the prompt, 2 or 3.
        trace: Put the sub-steps, as comments, before the code.
    """

    splits: tuple[str, ...] = SPLITS
    num_problems = None

    def __init__(
        self, operations: int | Sequence[int] = 2, split: str = "train", examples: int = 2, trace: bool = True
    ) -> None:
        low, high = _operation_range(operations)
        if split not in SPLITS:
            raise ConfigurationError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        if examples not in (2, 3):
            raise ConfigurationError(f"examples={examples!r} must be 2 or 3")
        self.low, self.high, self.split, self.examples, self.trace = low, high, split, examples, trace

    def get(self, problem_id: str) -> CodeProblem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        try:
            return self._problem(problem_id)
        except ValueError as error:
            raise UnknownProblemError(f"problem={problem_id!r:.80} is none of MiniPython: {error}") from None

    def _problem(self, problem_id: str) -> CodeProblem:
        domain, variable, steps = parse(problem_id)
        if not self.low <= len(steps) <= self.high:
            raise ValueError(f"it must have {self.low} to {self.high} operations")
        trace, code = trace_and_code(variable, steps)
        head, body = f"def f({variable}):\n", "".join(code)
        shown, hidden = self._inputs(problem_id, domain, compile_solution(head + body))
        lines = [f"f({_show(x)})={_show(y)}\n" for x, y in shown]
        if max(map(len, lines)) > MAX_EXAMPLE:
            raise ValueError("its examples are too long")
        asserts = "".join(f"    assert candidate({x!r}) == {y!r}\n" for x, y in hidden)
        parts = (*(trace if self.trace else ()), *code[:-1])
        return CodeProblem(
            problem_id, f"{problem_id}\n{''.join(lines)}{head}", parts, code[-1], body,
            head=head, entry_point="f", test=f"def check(candidate):\n{asserts}",
        )  # fmt: skip

    def _inputs(self, problem_id: str, domain: str, function: Any) -> tuple[list[Any], list[Any]]:
        """Return examples and hidden pairs of argument and value: distinct arguments, examples of distinct values."""
        key = int.from_bytes(hashlib.sha256(problem_id.encode()).digest()[:8], "big")
        random = stream(key, "inputs")
        drawn = {_show(x): x for x in (draw_input(random, domain) for _ in range(60))}
        pairs = [(x, function(x)) for x in drawn.values()]
        first = {_show(y): (x, y) for x, y in reversed(pairs)}  # one for every value
        news = [pair for pair in pairs if first[_show(pair[1])] is pair]
        olds = [pair for pair in pairs if first[_show(pair[1])] is not pair]
        fits = [p for p in (*news, *olds) if len(f"f({_show(p[0])})={_show(p[1])}\n") <= MAX_EXAMPLE]
        shown = (fits or pairs)[: self.examples]
        hidden = [p for p in (*news, *olds) if p not in shown]
        return shown, hidden[: HIDDEN - 2] + olds[-2:] if len(news) > HIDDEN else hidden[:HIDDEN]

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem of the seeded order; never one of another split."""
        random = stream(seed, "problem", index)
        count = int(random.integers(self.low, self.high + 1))
        while True:
            domain, steps = _draw_steps(random, count)
            if split_of(domain, steps) != self.split:
                continue
            problem_id = name_of(domain, VARIABLES[int(random.integers(len(VARIABLES)))], steps)
            try:
                self.get(problem_id)
            except UnknownProblemError:  # its examples are too long
                continue
            return problem_id

    def longest(self) -> Iterable[Problem]:
        """Return a text that is at least as long as any problem: each operation in its longest form."""
        forms = [(o, tuple(CONSTANTS[p][0] for p in o.places)) for o in OPERATIONS]
        words = max(len(fill(o.words, (o, c), "x")) for o, c in forms)
        traces, codes = zip(*(trace_and_code("x", [form]) for form in forms), strict=True)
        trace = max(len(lines[0]) for lines in traces) * self.trace
        code, most = max(sum(map(len, lines)) for lines in codes), max(map(len, codes))
        prompt = len("list x: ") + self.high * (words + 2) + self.examples * MAX_EXAMPLE + len("def f(x):\n")
        steps = (*["#" * trace] * (self.high * self.trace), *["#" * (code // most + 1)] * (self.high * most))
        return [Problem("longest", "#" * prompt, steps, "#" * code, "")]

    def with_split(self, split: str) -> MiniPythonSource:
        """Return the same source on another split."""
        return MiniPythonSource((self.low, self.high), split, self.examples, self.trace)


def _draw_steps(random: np.random.Generator, count: int) -> tuple[str, list[Step]]:
    domain = kind = TYPES[int(random.integers(len(TYPES)))]
    steps: list[Step] = []
    for left in range(count, 0, -1):
        choices = _from(kind, left == 1)
        operation = choices[int(random.integers(len(choices)))]
        constants = tuple(CONSTANTS[p][int(random.integers(len(CONSTANTS[p])))] for p in operation.places)
        steps.append((operation, constants))
        kind = operation.codomain
    return domain, steps


def _operation_range(operations: int | Sequence[int]) -> tuple[int, int]:
    try:
        pair = operations if isinstance(operations, Sequence) else (operations, operations)
        low, high = (operator.index(n) for n in pair)
    except (TypeError, ValueError):  # not two, or no ints
        low, high = 0, 0
    if not 1 <= low <= high <= MAX_OPERATIONS:
        raise ConfigurationError(
            f"operations={operations!r} must be an int or an inclusive range (low, high) within [1, {MAX_OPERATIONS}]"
        )
    return low, high


class MiniPython(CodeTask):
    """The task of ``g2rpo_env/MiniPython-v0``: functions of a few operations, told in words.

    Args:
        operations: Number of operations, an int or an inclusive range (low, high), within [1, 6].
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by a hash of the operations alone.
        max_new_tokens: Budget of sampled tokens; None gives the longest solution, its end token and 4 more.
        examples: Examples in the prompt, 2 or 3; 6 to 8 other inputs are hidden in the test.
        trace: The ground truth names its sub-steps, as comments, before the code.
        options: See :class:`g2rpo_env.envs.options.CodeOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(CodeOptions)
    def __init__(
        self,
        operations: int | Sequence[int] = 2,
        split: str = "train",
        *,
        max_new_tokens: int | None = None,
        examples: int = 2,
        trace: bool = True,
        **options: Unpack[CodeOptions],
    ) -> None:
        source = MiniPythonSource(operations, split, examples, trace)
        super().__init__(source, generated.default_budget(source, max_new_tokens), **options)
