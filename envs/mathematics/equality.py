"""MathVerifier: extraction, normalisation, exact arithmetic, and math-verify in a process of its own for the rest."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from g2rpo_env.envs.mathematics.exact import rational
from g2rpo_env.envs.mathematics.extraction import RULES, extract
from g2rpo_env.envs.mathematics.normalisation import Answer, normalise
from g2rpo_env.envs.mathematics.pool import SymbolicWorker
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

CACHE_SIZE = 20_000
MAX_SYMBOLIC = 1500
_VARIABLE = re.compile(r"\s*(?:[a-zA-Z]+(?:_\{?\w+\}?)?(?:\([a-z](?:,\s*[a-z])*\))?|\([a-z](?:,\s*[a-z])+\))\s*")
_BASED = re.compile(r"[0-9A-Za-z]+_\{?\d+\}?")
_CLOCK = re.compile(r"\d+:\d\d")
_LABEL = re.compile(r"\(?([A-Ea-e])\)?(?:\)\s.*|[.:]\s.*)?")
_WORDS = re.compile(r"[A-Za-z]{2,}(?: [A-Za-z]{2,})*")
_JOIN = re.compile(r"\s*[,;]?\s*(?:\\text\{\s*)?\b(?:and|or)\b(?:\s*\})?\s*|;")
_BRACKETS = (("\\{", "\\}", "{}"), ("(", ")", "()"), ("[", "]", "[]"), ("(", "]", "(]"), ("[", ")", "[)"))
_CODE = re.compile(r"__|\b(?:import|lambda|exec|eval|print|write18|else)\b|==|\ufffd")
_HUGE = re.compile(r"\^\s*\{[^{}]*\^|\*\*|\d\s*!|\^\s*\{?\s*\d{4,}|\\(?:sum|prod|binom|lfloor)|\d{300}|\^\s*\w\s*\^")


class Finding(StrEnum):
    """What the comparison found."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NO_ANSWER = "no answer found"
    UNPARSEABLE_ANSWER = "unparseable answer"
    UNPARSEABLE_GOLD = "unparseable gold"
    TIMEOUT = "timeout"
    ERROR = "error"


_OUTCOMES = {
    Finding.EQUAL: Outcome.CORRECT,
    Finding.NO_ANSWER: Outcome.NO_ANSWER,
    Finding.UNPARSEABLE_GOLD: Outcome.ERROR,
    Finding.ERROR: Outcome.ERROR,
}


@dataclass(frozen=True)
class MathVerdict(Verdict):
    """A verdict that also says how it came about.

    Attributes:
        finding: What the comparison found; ``unparseable gold`` and ``error`` are not valid, all else counts.
        rule: The extraction rule that fired, ``""`` if none did or none was asked.
    """

    finding: Finding = Finding.DIFFERENT
    rule: str = ""


class MathVerifier:
    """Grades final answers of mathematics.

    Args:
        rules: Extraction rules in order; see :data:`g2rpo_env.envs.mathematics.extraction.RULES`.
        percent: ``50%`` equals 0.5 and 50 (``either``), only 0.5 (``fraction``), or only 50 (``number``).
        units: Two different units make answers different; False ignores units.
        ordered_lists: A bare list ``1, 2`` has an order. Tuples always have one, sets never.
        approximations: A decimal of at least so many places equals an exact fraction that it rounds; None for never.
        tolerance: Greatest relative difference of two numbers that counts as none, >= 0.
        symbolic: Ask math-verify, in a process of its own, what arithmetic cannot settle. Where it is not installed
            such pairs get an ``error`` verdict, never a wrong answer. False compares their text alone.
        seconds: Wall-clock limit of such a comparison, > 0.
        memory_mib: Bound on the memory of its process, >= 512.

    Raises:
        ConfigurationError: an option breaks its rule.
    """

    def __init__(
        self,
        rules: Sequence[str] = tuple(RULES),
        percent: str = "either",
        units: bool = True,
        ordered_lists: bool = False,
        approximations: int | None = 6,
        tolerance: float = 0.0,
        symbolic: bool = True,
        seconds: float = 2.0,
        memory_mib: int = 2048,
    ) -> None:
        unknown = [rule for rule in rules if rule not in RULES]
        if unknown or isinstance(rules, str) or not rules:
            raise ConfigurationError(f"rules={rules!r} must be a sequence of names from {', '.join(RULES)}")
        if percent not in ("either", "fraction", "number"):
            raise ConfigurationError(f"percent={percent!r} must be one of either, fraction, number")
        if tolerance < 0 or seconds <= 0 or memory_mib < 512 or (approximations is not None and approximations < 1):
            raise ConfigurationError(
                f"tolerance={tolerance} must be >= 0, seconds={seconds} > 0, memory_mib={memory_mib} >= 512 and "
                f"approximations={approximations} >= 1 or None"
            )
        self.rules, self.percent, self.units, self.ordered_lists = tuple(rules), percent, units, ordered_lists
        self.approximations, self.tolerance, self.symbolic = approximations, tolerance, symbolic
        self.worker = SymbolicWorker(seconds, memory_mib)
        self._cache: OrderedDict[tuple[Answer, Answer], Finding] = OrderedDict()
        self._golds: dict[str, Answer] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict(), "_golds": {}}

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion, against the answers of the problems (what a Task calls)."""
        return self.check([(p.answer, c) for p, c in zip(problems, completions, strict=True)])

    def check(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Return one verdict per (ground truth, completion); the final answer is searched in the completion."""
        verdicts: list[Verdict] = []
        for gold, completion in pairs:
            found = extract(completion, self.rules)
            if found is None or not found.answer:
                usable = self._gold(gold).text
                finding = Finding.NO_ANSWER if usable else Finding.UNPARSEABLE_GOLD
                verdicts.append(_verdict(finding, None, found.rule if found else ""))
            else:
                verdicts.append(_verdict(self._compare(gold, found.answer), found.answer, found.rule))
        return verdicts

    def equal(self, gold: str, answer: str) -> Verdict:
        """Return the verdict on two bare answers; nothing is searched but the content of a box."""
        return _verdict(self._compare(gold, answer), answer, "")

    # -- comparison -------------------------------------------------------------------------------------------------

    def _gold(self, gold: str) -> Answer:
        known = self._golds.get(gold)
        if known is None:
            boxed = extract(gold, ("boxed", "tag", "hashes"))
            if boxed is None and len(gold) > 80 and re.search(r"[a-z]{4,} [a-z]{2,} ", gold):
                boxed = extract(gold, self.rules)
            known = normalise(gold if boxed is None else boxed.answer)
            if len(self._golds) >= CACHE_SIZE:
                self._golds.clear()
            self._golds[gold] = known
        return known

    def _compare(self, gold: str, answer: str) -> Finding:
        left = self._gold(gold)
        if len(answer) > 4000:
            return Finding.EQUAL if gold == answer else Finding.UNPARSEABLE_ANSWER
        boxed = extract(answer, ("boxed",)) if "box" in answer else None
        right = normalise(answer if boxed is None else boxed.answer)
        if not left.text:
            return Finding.UNPARSEABLE_GOLD
        if not right.text:
            return Finding.UNPARSEABLE_ANSWER
        key = (left, right)
        finding = self._cache.get(key)
        if finding is None:
            finding = self._decide(left, right)
            if finding not in (Finding.TIMEOUT, Finding.ERROR):
                if len(self._cache) >= CACHE_SIZE:
                    self._cache.clear()
                self._cache[key] = finding
        return finding

    def _decide(self, gold: Answer, answer: Answer) -> Finding:
        if self.units and gold.unit and answer.unit and gold.unit != answer.unit:
            return Finding.DIFFERENT
        if gold.percent != answer.percent:
            return self._percent(gold, answer)
        return self._texts(gold.text, answer.text)

    def _percent(self, gold: Answer, answer: Answer) -> Finding:
        left, right = rational(gold.text), rational(answer.text)
        if left is None or right is None:
            return Finding.DIFFERENT
        fractions = (left / 100 if gold.percent else left) == (right / 100 if answer.percent else right)
        same = (self.percent != "number" and fractions) or (self.percent != "fraction" and left == right)
        return Finding.EQUAL if same else Finding.DIFFERENT

    def _texts(self, gold: str, answer: str, depth: int = 0) -> Finding:
        """Compare two normalised texts: as they are, as numbers, as words, as equations, part by part, by algebra."""
        if _squeeze(gold) == _squeeze(answer):
            return Finding.EQUAL
        left, right = rational(gold), rational(answer)
        if left is not None and right is not None and not (_CLOCK.fullmatch(gold) and _CLOCK.fullmatch(answer)):
            return Finding.EQUAL if self._near(left, right, gold, answer) else Finding.DIFFERENT
        if _CODE.search(answer) or _BASED.fullmatch(gold) or _BASED.fullmatch(answer) or _CLOCK.fullmatch(gold):
            return Finding.DIFFERENT
        label, other = _LABEL.fullmatch(gold), _LABEL.fullmatch(answer)
        if label and other:
            return Finding.EQUAL if label[1].upper() == other[1].upper() else Finding.DIFFERENT
        if _WORDS.fullmatch(gold) or _WORDS.fullmatch(answer):
            return Finding.EQUAL if gold.lower() == answer.lower() else Finding.DIFFERENT
        if depth < 4:
            unnamed = _without_names(gold, answer)
            if unnamed != (gold, answer):
                return self._texts(*unnamed, depth + 1)
            found = self._parts(gold, answer, depth)
            if found is not None:
                return found
        return self._algebra(gold, answer, left)

    def _near(self, left: Fraction, right: Fraction, gold: str, answer: str) -> bool:
        if left == right or (self.tolerance and abs(left - right) <= Fraction(self.tolerance) * abs(left)):
            return True
        places = len(answer.partition(".")[2]) if re.fullmatch(r"-?\d*\.\d+", answer) else 0
        endless = _endless(left) and "." not in gold
        return endless and places >= (self.approximations or 10**9) and 2 * abs(left - right) <= Fraction(1, 10**places)

    def _parts(self, gold: str, answer: str, depth: int) -> Finding | None:
        left, right = _split(gold), _split(answer)
        if {left[0], right[0]} <= {"", "{}"}:  # what is listed twice counts once
            left, right = (left[0], _distinct(left[1])), (right[0], _distinct(right[1]))
        if len(left[1]) < 2 and len(right[1]) < 2:
            return None
        kinds = {left[0], right[0]}
        if len(left[1]) != len(right[1]):
            # An interval against an inequality is for algebra to settle; lists of other lengths differ.
            return None if re.search(r"[<>]|\\(?:le|ge|in|cup|infty|mathbb|pm)", gold + answer) else Finding.DIFFERENT
        if kinds & {"[)", "(]", "[]"} and len(kinds) > 1:
            return Finding.DIFFERENT
        free = kinds <= {"", "{}"} and not (kinds == {""} and self.ordered_lists)
        rest = list(right[1])
        for part in left[1]:
            candidates = rest if free else rest[:1]
            found = Finding.DIFFERENT
            for candidate in candidates:
                found = self._texts(part, candidate, depth + 1)
                if found is Finding.EQUAL:
                    rest.remove(candidate)
                    break
                if found in (Finding.TIMEOUT, Finding.ERROR):
                    return found
            if found is not Finding.EQUAL:
                return Finding.DIFFERENT
        return Finding.EQUAL

    def _algebra(self, gold: str, answer: str, number: Fraction | None) -> Finding:
        if not self.symbolic or _guarded(gold) or _guarded(answer):
            return Finding.DIFFERENT
        if not self.worker.available():
            return Finding.ERROR
        found = self.worker.compare(_logarithm(gold), _logarithm(answer))
        if found == "unparseable gold" and number is not None:
            return Finding.DIFFERENT
        return next((kind for kind in Finding if found == kind or found.startswith(f"{kind}:")), Finding.ERROR)


def _verdict(finding: Finding, answer: str | None, rule: str) -> MathVerdict:
    message = "" if finding in (Finding.EQUAL, Finding.DIFFERENT) else str(finding)
    if finding is Finding.ERROR:
        message = "math-verify did not run: pip install math-verify, or symbolic=False"
    outcome = _OUTCOMES.get(finding, Outcome.WRONG)
    return MathVerdict(outcome, None if answer is None else answer[:4000], message, finding=finding, rule=rule)


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _distinct(parts: list[str]) -> list[str]:
    return list({_squeeze(part): part for part in parts}.values())


def _endless(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest != 1


def _without_names(gold: str, answer: str) -> tuple[str, str]:
    """Drop ``x =`` or ``f(x) =`` where only one of the two, or both alike, have it."""
    left, right = gold.split("="), answer.split("=")
    if re.search(r"[<>,]|\\[lgn]e\b|\b(?:and|or)\b", re.sub(r"\([^()]*\)", "", gold + answer)):
        return gold, answer
    named = [len(side) > 1 and _VARIABLE.fullmatch(side[0]) is not None for side in (left, right)]
    if all(named) and _squeeze(left[0]) == _squeeze(right[0]):
        return left[-1].strip(), right[-1].strip()
    if named[0] and len(right) == 1:
        return left[-1].strip(), answer
    if named[1] and len(left) == 1:
        return gold, right[-1].strip()
    return gold, answer


def _split(text: str) -> tuple[str, list[str]]:
    """Return the kind of brackets around a text and its parts between commas outside all inner brackets."""
    kind = ""
    text = text.strip()
    for opening, ending, name in _BRACKETS:
        if text.startswith(opening) and text.endswith(ending) and _outer(text):
            kind, text = name, text[len(opening) : -len(ending)]
            break
    joined = _JOIN.sub(",", text)
    parts, depth, start = [], 0, 0
    for position, character in enumerate(joined):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(joined[start:position].strip())
            start = position + 1
    parts.append(joined[start:].strip())
    return kind, [part for part in parts if part]


def _outer(text: str) -> bool:
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in ")]}":
            return position == len(text) - 1
    return False


def _guarded(text: str) -> bool:
    """Whether a text is too big for algebra: length, depth, towers of powers, factorials, long sums."""
    if len(text) > MAX_SYMBOLIC or _HUGE.search(text):
        return True
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
        if depth < 0 and not re.search(r"[\[(]", text):
            return True
    return deepest > 25


def _logarithm(text: str) -> str:
    return re.sub(r"\\log(?![a-z_])", r"\\ln", text)
