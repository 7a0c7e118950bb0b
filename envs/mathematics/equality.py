"""MathVerifier: extraction, normalisation, exact arithmetic, values at random points, math-verify for the rest."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from g2rpo_env.envs.mathematics.exact import ratio, rational
from g2rpo_env.envs.mathematics.extraction import RULES, extract
from g2rpo_env.envs.mathematics.formulas import constant, same, same_equation
from g2rpo_env.envs.mathematics.normalisation import Answer, normalise
from g2rpo_env.envs.mathematics.parts import (
    between,
    distinct,
    expand,
    in_order,
    piecewise,
    split,
    squeeze,
    unit_vectors,
)
from g2rpo_env.envs.mathematics.pool import SymbolicWorker
from g2rpo_env.envs.mathematics.regions import same_by_cases, same_region
from g2rpo_env.envs.mathematics.units import canonical, in_units, scale
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

CACHE_SIZE = 20_000
MAX_SYMBOLIC = 1500
MAX_NESTED = 4
_VARIABLE = re.compile(
    r"\s*(?:[A-Z]\s*\\(?:cap|cup|setminus)\s*[A-Z]|\\?[a-zA-Z]+(?:_\{?\w+\}?)?'?(?:\(\\?[a-zA-Z]+(?:,\s*[a-z])*\))?|"
    r"\(\s*(?:\\[a-z]+|[a-zA-Z])\s*(?:,\s*(?:\\[a-z]+|[a-zA-Z])\s*)+\)|"
    r"\|[A-Z]{2}\||"
    r"m?\\angle\s*[A-Z]+|d[a-z]/d[a-z]|\\frac\{d[a-z]\}\{d[a-z]\})\s*"
)
_DEFINITION = re.compile(r"([a-zA-Z])\(([a-z])\)")
_LETTER = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]")
_BASED = re.compile(r"([0-9A-Za-z]+)_\{?(\d{1,3})\}?")
_SENTENCE = re.compile(r"[a-z]{4} [a-z]{2,} ")
_CLOCK = re.compile(r"(\d+):(\d\d)([ap]?)", re.IGNORECASE)
_BUILDER = re.compile(r"\\\{\s*(.{1,80}?)\s*(?::|\||\\mid(?![a-z]))\s*([a-z])\s*\\in\b\s*(.{1,80})\\\}")
_FOR_ALGEBRA = re.compile(r"[<>]|\\(?:le|ge|in|cup|infty|mathbb|pm|begin)")
_LABEL = re.compile(r"(?:[oO]ption |[cC]hoice )?\(?([A-Ea-e])\)?(?:(?:\)|[.:]|(?<=\)):)\s(?!.*\([A-E]\))(.*))?")
_WORDS = re.compile(r"[A-Za-z]{2,}(?:(?:, ?| (?:an? )?)[A-Za-z]{2,})*")
_FACTORS = re.compile(r"(?!no|on|up|in|an|it|is)[a-z]{2}|[a-d]{3}|[k-n]{3}|[p-t]{3}|[u-z]{3}")
"""Short words that are products of variables rather."""
_ARTICLE = re.compile(r"(?:an?|the) (?=[a-z])")
_OPENING_WORD = re.compile(r"(yes|no|true|false)\s*[,.;:(!-]\s*(?=[a-z])", re.IGNORECASE)
_FILLERS = frozenset(
    "the a an it is are this that they there be on at in to of function functions number numbers triangle triangles "
    "line lines series sequence limit integral solution solutions answer value day matrix graph".split()
)
_ENDING = re.compile(r"(?:s|es|ed|ing|ent|e)$")
_LETTERS = re.compile(r"\(?[A-E]\)?(?:(?:\s*,\s*|\s*,?\s*and\s+|\s*)\(?[A-E]\)?)+")
_CAPITAL = re.compile(r"[A-E]")
_CHOICE = re.compile(r"(?:[oO]ption |[cC]hoice )?(?:\(?([A-E])\)|[A-E][.:]\s)[\s:.]*(?=\S)(.+)", re.DOTALL)
_POINT_NAME = re.compile(r"[A-Z]\s*(?==?\s*\([^()]*,[^()]*\)$)=?\s*")
_PARAMETER = re.compile(
    r"(?<=[^\s,;(])[,;]?\s*\(?\s*(?:(?<=[\s(])(?:for|where) )?\b([kmn])\s*\\in\s*"
    r"(?:\\mathbb\s*\{?[ZN]\}?|[ZN])(?:\^\{?[*+]\}?)?\s*\)?\s*\.?\s*$"
)
_TWICE = re.compile(
    r",?(?:\s{1,9}or\s|\s{0,9}\\text\{\s?or\s?\}|\s{1,9}i\.e\.,?\s|\s{1,9}\((?:or\s|i\.e\.,?\s)?(?=[^()]{0,99}\)$))"
)
_THOUSAND = re.compile(r"(-?\d{1,15}(?:\.\d{1,9})?) ?k(?: [a-z]{3,20})?")
_COMMA = re.compile(r"-?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+)")
_TWO_DIGITS = re.compile(r"\d,\d")
_SPOKEN_MIXED = re.compile(r"(-?\d+) and (\d+/\d+)")
_SEPARATING_COMMA = re.compile(r"(?<!\d),|,(?!\d)|\.")
_INDIAN = re.compile(r"-?\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?")
_LONE_UNIT = re.compile(r"(-?[0-9.]{1,30})\s*([A-Za-z])((?:\s*\^\s*\{?\s*[0-9]\s*\}?)?)")
_NINES = re.compile(r"-?\s*\\frac\{\d+\}\{(9+0*)\}")
_INTEGRATION = re.compile(r"(.*)\+\s*[CcKk]", re.DOTALL)
_SUM_OF_NAMES = re.compile(r"(?=.*[a-zA-Z])(?:.*[-+^*]|\s*\d)", re.DOTALL)
_CODE = re.compile(
    r"__|\b(?:import|lambda|exec|eval|print|write18|else)\b|\\(?:input|include|def|csname|catcode|usepackage)|==|\ufffd"
)
_HUGE = re.compile(
    r"\^\s*\{[^{}]*\^|\*\*|[\d)}!]\s*!|\^\s*\{?\s*-?\d{4,}|[)\]}]\s*\^\s*\{?\s*\d{3,}|\\(?:sum|prod|binom|lfloor)|\d{300}|"
    r"\^\s*\w\s*\^|\d[eE][-+]?\d{4,}"
)


class Finding(StrEnum):
    """The result of a comparison."""

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
        finding: The result of the comparison; ``unparseable gold`` and ``error`` are not valid, all else counts.
        rule: The extraction rule that fired, ``""`` if none did or none was asked.
    """

    finding: Finding = Finding.DIFFERENT
    rule: str = ""


@dataclass
class Budget:
    """Seconds of algebra that all parts of one comparison share."""

    left: float


@dataclass(frozen=True)
class Effort:
    """The effort that a comparison may cost: the seconds that are left, and how deep it is nested."""

    budget: Budget
    depth: int = 0

    def deeper(self) -> Effort:
        """Return the effort for parts of what is compared."""
        return Effort(self.budget, self.depth + 1)


class MathVerifier:
    """Grades final answers of mathematics.

    Args:
        rules: Extraction rules in order; see :data:`g2rpo_env.envs.mathematics.extraction.RULES`.
        percent: ``50%`` equals 0.5 and 50 (``either``), only 0.5 (``fraction``), or only 50 (``number``).
        units: Quantities are compared in one unit of their kind, and those of two kinds differ; False ignores units.
        ordered_lists: A bare list ``1, 2`` has an order. Tuples always have one, sets never.
        approximations: A decimal of at least so many places equals an endless or irrational number that it rounds;
            None for never.
        tolerance: Greatest relative difference of two numbers that counts as none, >= 0.
        symbolic: Ask math-verify, in a process of its own, what neither arithmetic nor values at random points settle.
            Where it is not installed such pairs get an ``error`` verdict, never a wrong answer. False: they differ.
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
        self.seconds = seconds
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
            if boxed is None and ("answer is" in gold or (len(gold) > 80 and _SENTENCE.search(gold))):
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
        right = normalise(
            answer if boxed is None else boxed.answer, _LETTER.search(left.text.rpartition("=")[2]) is None
        )
        if not left.text:
            return Finding.UNPARSEABLE_GOLD
        if not any(map(str.isalnum, right.text)):
            return Finding.UNPARSEABLE_ANSWER
        if left == right:
            return Finding.EQUAL
        key = (left, right)
        finding = self._cache.get(key)
        if finding is None:
            finding = self._decide(left, right)
            if finding is Finding.DIFFERENT and self._is_repeated(gold, answer if boxed is None else boxed.answer):
                finding = Finding.EQUAL
            if finding not in (Finding.TIMEOUT, Finding.ERROR):
                if len(self._cache) >= CACHE_SIZE:
                    self._cache.clear()
                self._cache[key] = finding
        return finding

    def _is_repeated(self, gold: str, answer: str) -> bool:
        """Whether an answer states the ground truth twice, as ``25 cm, or 0.25 m``."""
        parts = [part.strip(" ()") for part in _TWICE.split(answer)]
        if len(parts) != 2 or not all(parts) or _TWICE.search(gold):
            return False
        same = self._compare(*parts) is Finding.EQUAL
        return same and any(self._compare(gold, part) is Finding.EQUAL for part in parts)

    def _decide(self, gold: Answer, answer: Answer) -> Finding:
        gold, answer = _with_unit(gold, answer), _with_unit(answer, gold)
        if self.units:
            gold, answer = _in_one_unit(gold, answer)
        if self.units and gold.unit and answer.unit and canonical(gold.unit) != canonical(answer.unit):
            return Finding.DIFFERENT
        if gold.percent != answer.percent:
            mixed = self.units and (gold.unit or answer.unit)  # 12 dollars are not 12%
            return Finding.DIFFERENT if mixed else self._percent(gold, answer)
        return self._texts(gold.text, answer.text, Effort(Budget(self.seconds)))

    def _percent(self, gold: Answer, answer: Answer) -> Finding:
        left, right = rational(gold.text), rational(answer.text)
        if left is None or right is None:
            return Finding.DIFFERENT
        fractions = (left / 100 if gold.percent else left) == (right / 100 if answer.percent else right)
        same = (self.percent != "number" and fractions) or (self.percent != "fraction" and left == right)
        return Finding.EQUAL if same else Finding.DIFFERENT

    def _texts(self, gold: str, answer: str, effort: Effort) -> Finding:
        """Compare two normalised texts: as they are, as numbers, as words, as equations, part by part, as functions."""
        if squeeze(gold) == squeeze(answer):
            return Finding.EQUAL
        gold, answer = in_order(gold), in_order(answer)
        gold, answer = _alike(_total(gold, answer), _total(answer, gold))
        left, right = rational(gold), rational(answer)
        if left is not None and right is not None and not (_CLOCK.fullmatch(gold) and _CLOCK.fullmatch(answer)):
            return Finding.EQUAL if self._near(left, right, gold, answer) else Finding.DIFFERENT
        if left is None and right is not None and self._rounds(gold, answer, right):
            return Finding.EQUAL
        if right is None and left is not None and self._rounds(answer, gold, left):
            return Finding.EQUAL
        found = self._plain(gold, answer)
        if found is None and effort.depth < MAX_NESTED:
            found = self._structures(gold, answer, effort.deeper())
        return found or self._formulas(gold, answer) or self._algebra(gold, answer, left, effort)

    def _structures(self, gold: str, answer: str, effort: Effort) -> Finding | None:
        """Compare what has parts: choices with their text, vectors, functions by cases, sets, equations, lists."""
        chosen = _CHOICE.fullmatch(gold), _CHOICE.fullmatch(answer)
        if (chosen[0] is None) != (chosen[1] is None):  # "(B) 12" and "12"
            gold, answer = (chosen[0] or [gold] * 3)[2], (chosen[1] or [answer] * 3)[2]
            return self._texts(gold, answer, effort)
        vectors = unit_vectors(gold), unit_vectors(answer)
        if bool(vectors[0]) != bool(vectors[1]) and split(answer if vectors[0] else gold)[0] not in ("", "{}"):
            return self._texts(vectors[0] or gold, vectors[1] or answer, effort)
        pieces = piecewise(gold), piecewise(answer)
        if pieces[0] and pieces[1]:
            return self._pieces(pieces[0], pieces[1], effort)
        if pieces[0] or pieces[1]:
            by_cases, formula = (pieces[0], answer) if pieces[0] else (pieces[1], gold)
            return _settle(same_by_cases(by_cases, _unnamed(formula)) is True)
        if (built := _same_builder(gold, answer)) is not None:
            return _settle(built)
        unnamed = _without_names(gold, answer)
        if unnamed != (gold, answer):
            return self._texts(*unnamed, effort)
        region = same_region(gold, answer)
        return self._parts(gold, answer, effort) if region is None else _settle(region)

    @staticmethod
    def _plain(gold: str, answer: str) -> Finding | None:
        """Compare what is no formula: code, numbers in a base, times, ratios of several parts, choices, words."""
        if _CODE.search(answer) or _BASED.fullmatch(gold) or _BASED.fullmatch(answer):
            value = _in_base(gold)
            return Finding.EQUAL if value is not None and value == _in_base(answer) else Finding.DIFFERENT
        if _CLOCK.fullmatch(gold) and (_CLOCK.fullmatch(answer) or ":" not in answer):
            return _settle(_same_time(gold, answer))
        if ":" in gold and ":" in answer:
            return _settle(_same_ratio(gold, answer))
        if (_is_answer_word(gold) and (opening := _OPENING_WORD.match(answer))) or (
            _is_answer_word(answer) and (opening := _OPENING_WORD.match(gold))
        ):  # "Yes, it is" and "Yes"
            return _settle(opening[1].lower() in (gold.lower(), answer.lower()))
        label, other = _LABEL.fullmatch(gold), _LABEL.fullmatch(answer)
        if label and other and not (label[2] and other[2] and label[1].islower()):
            choice = label[1].isupper() or len(gold) > 1  # a lone small letter is a variable
            values = rational(label[2] or ""), rational(other[2] or "")
            if None not in values and values[0] != values[1]:
                return Finding.DIFFERENT  # "(B) 12" and "(B) 13"
            return _settle(label[1] == other[1] or (choice and label[1].upper() == other[1].upper()))
        if _LETTERS.fullmatch(gold) and _LETTERS.fullmatch(answer) and not (gold.isalpha() and answer.isalpha()):
            return _settle(sorted(_CAPITAL.findall(gold)) == sorted(_CAPITAL.findall(answer)))  # "A, C" and "AC"
        if _is_words(gold) or _is_words(answer):
            return _settle(_same_words(gold, answer))
        return None

    def _formulas(self, gold: str, answer: str) -> Finding | None:
        """Compare two expressions or two equations at random points."""
        sides, others = between("=", gold), between("=", answer)
        if len(sides) > 1 and len(others) > 1:
            return _settle(same_equation(gold, answer))
        if len(sides) > 1 or len(others) > 1:  # x+y = 5 is not 5
            return (
                Finding.DIFFERENT
                if _SUM_OF_NAMES.match(re.sub(r"\\[a-z]+", "", max(sides, others, key=len)[0]))
                else None
            )
        with_constant = _INTEGRATION.fullmatch(gold), _INTEGRATION.fullmatch(answer)
        if with_constant[0] and with_constant[1]:
            gold, answer = with_constant[0][1], with_constant[1][1]
        return _settle(same(gold, answer, self.tolerance))

    def _near(self, left: Fraction, right: Fraction, gold: str, answer: str) -> bool:
        if left == right or (self.tolerance and abs(left - right) <= Fraction(self.tolerance) * abs(left)):
            return True
        places = _places(answer)
        if places == 0 and _places(gold):  # 0.333333 and 1/3
            left, right, gold, answer, places = right, left, answer, gold, _places(gold)
        endless = _endless(left) and "." not in gold
        if (period := _NINES.fullmatch(gold)) and places <= len(period[1]):
            return False  # 0.142857 is not 0.142857 repeating
        return endless and places >= (self.approximations or 10**9) and 2 * abs(left - right) <= Fraction(1, 10**places)

    def _rounds(self, gold: str, answer: str, right: Fraction) -> bool:
        """Whether a decimal of enough places is an irrational constant rounded."""
        places = _places(answer)
        if places < (self.approximations or 10**9) or (exact := constant(gold)) is None:
            return False
        return bool(2 * abs(exact - exact.context.mpf(right.numerator) / right.denominator) * 10**places <= 1)

    def _parts(self, gold: str, answer: str, effort: Effort) -> Finding | None:
        if bool(_POINT_NAME.match(gold)) != bool(_POINT_NAME.match(answer)):
            gold, answer = _POINT_NAME.sub("", gold, count=1), _POINT_NAME.sub("", answer, count=1)
        gold, answer = _spread(gold, answer), _spread(answer, gold)
        left, right = split(_split_assignment(gold)), split(_split_assignment(answer))
        if ("..." in left[1]) != ("..." in right[1]):
            left, right = (left[0], expand(left[1])), (right[0], expand(right[1]))
        if {left[0], right[0]} <= {"", "{}"}:  # what is listed twice counts once
            left, right = (left[0], distinct(_signs(left[1]))), (right[0], distinct(_signs(right[1])))
        if len(left[1]) < 2 and len(right[1]) < 2:
            return None
        kinds = {left[0], right[0]}
        if len(left[1]) != len(right[1]):
            # An interval against an inequality is for algebra to settle; lists of other lengths differ.
            told = not any("\\pm" in part for part in (*left[1], *right[1]))  # each sign is a part of its own
            texts = (gold + answer).replace("\\pm", "") if told else gold + answer
            return None if _FOR_ALGEBRA.search(texts) else Finding.DIFFERENT
        if not _same_shape(kinds, len(left[1])):
            return Finding.DIFFERENT
        free = kinds <= {"", "{}"} and not (kinds == {""} and self.ordered_lists)
        return self._match(left[1], right[1], free, effort)

    def _pieces(self, gold: list[tuple[str, str]], answer: list[tuple[str, str]], effort: Effort) -> Finding:
        """Compare functions that are defined by cases, in any order; "otherwise" is whatever the others leave."""
        rest = list(answer)
        if len(gold) != len(answer):
            return Finding.DIFFERENT
        for value, condition in gold:
            for other in rest:
                if (not condition or not other[1] or self._texts(condition, other[1], effort) is Finding.EQUAL) and (
                    self._texts(value, other[0], effort) is Finding.EQUAL
                ):
                    rest.remove(other)
                    break
            else:
                return Finding.DIFFERENT
        return Finding.EQUAL

    def _match(self, gold: list[str], answer: list[str], free: bool, effort: Effort) -> Finding:
        """Compare part by part; ``free``: in any order."""
        rest = list(answer)
        for part in gold:
            for candidate in rest if free else rest[:1]:
                found = self._texts(part, candidate, effort)
                if found is Finding.EQUAL:
                    rest.remove(candidate)
                    break
                if found in (Finding.TIMEOUT, Finding.ERROR):
                    return found
            else:
                return Finding.DIFFERENT
        return Finding.EQUAL

    def _algebra(self, gold: str, answer: str, number: Fraction | None, effort: Effort) -> Finding:
        if not self.symbolic or _is_too_big(gold) or _is_too_big(answer):
            return Finding.DIFFERENT
        if not self.worker.is_available() or self.worker.start():
            return Finding.ERROR
        found = "timeout"
        if effort.budget.left > 0:
            started = time.monotonic()
            found = self.worker.compare(_logarithm(gold), _logarithm(answer), effort.budget.left)
            effort.budget.left -= time.monotonic() - started
        if found == "unparseable gold" and number is not None:
            return Finding.DIFFERENT
        return next((kind for kind in Finding if found == kind or found.startswith(f"{kind}:")), Finding.ERROR)


def _verdict(finding: Finding, answer: str | None, rule: str) -> MathVerdict:
    message = "" if finding in (Finding.EQUAL, Finding.DIFFERENT) else str(finding)
    if finding is Finding.ERROR:
        message = "math-verify did not run: pip install math-verify, or symbolic=False"
    outcome = _OUTCOMES.get(finding, Outcome.WRONG)
    return MathVerdict(outcome, None if answer is None else answer[:4000], message, finding=finding, rule=rule)


def _places(text: str) -> int:
    """Return how many decimal places a number has, 0 for what is no decimal."""
    return len(text.partition(".")[2]) if re.fullmatch(r"-?\d*\.\d+", text) else 0


def _endless(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest != 1


def _settle(equal: bool | None) -> Finding | None:
    return None if equal is None else Finding.EQUAL if equal else Finding.DIFFERENT


def _without_names(gold: str, answer: str) -> tuple[str, str]:
    """Drop ``x =`` or ``f(x) =`` where only one of the two, or both alike, have it."""
    gold, answer = _swap(gold), _swap(answer)
    left, right = between("=", gold), between("=", answer)
    if re.search(
        r"[<>,]|\\[lgn]e\b|\b(?:and|or)\b", re.sub(r"\([^()]*\)|\\\{[^{}]*\\\}|\[[^\[\]]*\]", "", gold + answer)
    ):
        return gold, answer
    named = [len(side) > 1 and _VARIABLE.fullmatch(side[0]) is not None for side in (left, right)]
    if all(named):
        one, other = _DEFINITION.fullmatch(left[0].strip()), _DEFINITION.fullmatch(right[0].strip())
        if one and other and one[1] == other[1] and one[2] not in right[-1]:  # f(x) = x+1 and f(t) = t+1
            return left[-1].strip(), re.sub(rf"(?<![a-zA-Z\\]){other[2]}(?![a-zA-Z])", one[2], right[-1].strip())
        if bool(one) != bool(other):  # f(x) = 2x and y = 2x
            definition, name = (one, right[0]) if one else (other, left[0])
            if definition and re.fullmatch(r"\s*[yzw]\s*", name) and definition[2] != name.strip():
                return left[-1].strip(), right[-1].strip()
        names = squeeze(left[0]), squeeze(right[0])
        if any(len(name) > 3 and name.isalpha() for name in names):  # slope = 2 and m = 2
            return left[-1].strip(), right[-1].strip()
        if names[0] == names[1] or (any("_" not in name for name in names) and _base(names[0]) == _base(names[1])):
            return left[-1].strip(), right[-1].strip()
    if named[0] and len(right) == 1:
        return left[-1].strip(), answer
    if named[1] and len(left) == 1:
        return gold, right[-1].strip()
    return gold, answer


def _base(name: str) -> str:
    return name.partition("_")[0]


def _swap(text: str) -> str:
    """Return ``5 = x`` as ``x = 5``."""
    left, sign, right = text.partition("=")
    if sign and "=" not in right and re.fullmatch(r"\s*[a-zA-Z]\s*", right) and rational(left.strip()) is not None:
        return f"{right.strip()} = {left.strip()}"
    return text


def _split_assignment(text: str) -> str:
    """Return ``(a,b) = (3,4)`` as ``a=3, b=4``."""
    names, sign, values = text.partition("=")
    left, right = split(names), split(values)
    if sign and left[0] == right[0] == "()" and len(left[1]) == len(right[1]) and all(map(str.isalpha, left[1])):
        return ", ".join(f"{name}={value}" for name, value in zip(left[1], right[1], strict=True))
    return text


def _with_unit(answer: Answer, other: Answer) -> Answer:
    """Return ``30 N`` with its unit where the other one has the same: 30 newtons."""
    match = None if answer.unit else _LONE_UNIT.fullmatch(answer.text)
    kind = scale(match[2] + match[3])[1] if match else ""
    physical = match and match[2] in "NJWVK" and " " in answer.text and rational(other.text) is not None
    if match and kind and (physical or kind == _in_base_unit(other).unit):
        return Answer(match[1], match[2] + match[3], answer.percent)
    return answer


def _in_one_unit(gold: Answer, answer: Answer) -> tuple[Answer, Answer]:
    """Return two quantities of one kind in the unit that all of its kind share, all else as it is."""
    if canonical(gold.unit) == canonical(answer.unit) and not (in_units(gold.text) or in_units(answer.text)):
        return gold, answer
    common = _in_base_unit(gold), _in_base_unit(answer)
    return common if common[0].unit == common[1].unit != "" else (gold, answer)


def _in_base_unit(answer: Answer) -> Answer:
    """Return 150 cm as ``(1/100)*(150)`` m, 2 h 30 min as 9000 s, degrees and multiples of pi in radians."""
    if parts := in_units(answer.text):
        return Answer(str(sum(number * scale(unit)[0] for number, unit in parts)), scale(parts[0][1])[1])
    if canonical(answer.unit) == "degree":
        return Answer(f"({answer.text})*\\pi/180", "rad", answer.percent)
    if not answer.unit:
        return Answer(answer.text, "rad" if "\\pi" in answer.text or "\\arc" in answer.text else "", answer.percent)
    factor, unit = scale(answer.unit)
    return Answer(answer.text if factor == 1 else f"({factor})*({answer.text})", unit, answer.percent)


def _total(text: str, other: str) -> str:
    """Return the end of a chain: ``3*4 = 12`` is 12, and ``x+y = 2+3 = 5`` is 5 beside what is no equation."""
    sides = between("=", text)
    if len(sides) > 1 and "=" not in other and rational(sides[0]) is None and constant(sides[0]) is not None:
        return sides[-1] if all(same(sides[0], side) for side in sides[1:]) else text
    values = [rational(side) for side in sides[1 if len(sides) > 2 and "=" not in other else 0 :]]
    return sides[-1] if len(values) > 1 and None not in values else text


def _unnamed(text: str) -> str:
    """Return ``f(x) = 2x`` as ``2x``."""
    name, sign, value = text.partition("=")
    return value.strip() if sign and _VARIABLE.fullmatch(name) else text


def _same_builder(gold: str, answer: str) -> bool | None:
    """Whether two sets are built alike, perhaps with another letter: ``{2k : k in Z}`` and ``{2n | n in Z}``."""
    left, right = _BUILDER.fullmatch(gold), _BUILDER.fullmatch(answer)
    if left is None or right is None:
        return None
    value, domain = (re.sub(rf"(?<![a-zA-Z\\]){right[2]}(?![a-zA-Z])", left[2], right[part]) for part in (1, 3))
    return squeeze(left[3]) == squeeze(domain) and same(left[1], value) is True


def _same_ratio(gold: str, answer: str) -> bool:
    """Whether two ratios are the same, with parts of any kind."""
    exact = ratio(gold), ratio(answer)
    if None not in exact:
        return exact[0] == exact[1]
    left, right = gold.split(":"), answer.split(":")
    return len(left) == len(right) and all(
        same(f"({one})({right[0]})", f"({other})({left[0]})") for one, other in zip(left[1:], right[1:], strict=True)
    )


def _alike(gold: str, answer: str) -> tuple[str, str]:
    """Return two texts where each is read as the other one suggests, if it may be read so.

    ``1,22`` is 1.22 beside a decimal with a point, and ``1,5; 2`` are two numbers; ``12,34,567`` is grouped as in India
    beside a whole number; ``+-`` is a ``\\\\pm`` beside one.
    """
    gold, answer = _same_parameter(gold, answer)
    return _read_beside(gold, answer, True), _read_beside(answer, gold, False)


def _same_parameter(gold: str, answer: str) -> tuple[str, str]:
    """Return two texts without "k is an integer" at their ends, with one letter for it where both say so."""
    left, right = _PARAMETER.search(gold), _PARAMETER.search(answer)
    gold, answer = _PARAMETER.sub("", gold), _PARAMETER.sub("", answer)
    if left and right and left[1] != right[1]:
        answer = re.sub(rf"(?<![a-zA-Z\\]){right[1]}(?![a-zA-Z])", left[1], answer)
    return gold, answer


def _read_beside(text: str, other: str, is_gold: bool) -> str:
    """Return one of them; a ground truth ``3,5`` stays a list."""
    if "+-" in text and "\\pm" in other:
        text = text.replace("+-", "\\pm ")
    if (mixed := _SPOKEN_MIXED.fullmatch(text)) and rational(other) is not None:
        return f"{mixed[1]} {mixed[2]}"
    if not is_gold and (thousand := _THOUSAND.fullmatch(text)) and rational(other) is not None:  # 150k
        return f"{thousand[1]}\\cdot 1000"
    if "," not in text:
        return text
    if "." in other and ";" in text and not _SEPARATING_COMMA.search(text):
        return text.replace(",", ".").replace(";", ",")
    value = rational(other)
    decimal = rational(text.replace(",", ".")) if value is not None and _COMMA.fullmatch(text) else None
    if decimal is not None and (decimal == value or "." in other) and not (is_gold and _TWO_DIGITS.fullmatch(text)):
        return text.replace(",", ".")
    if value is not None and value.denominator == 1 and _INDIAN.fullmatch(text):
        return text.replace(",", "")
    return text


def _signs(parts: list[str]) -> list[str]:
    """Return parts with each ``\\pm`` written as two."""
    written: list[str] = []
    for part in parts:
        part = part if "\\pm" in part else part.replace("\\mp", "\\pm")
        if part.count("\\pm") == 1:
            written += [part.replace("\\pm", "+").strip().removeprefix("+"), part.replace("\\pm", "-")]
        else:
            written.append(part)
    return written


def _spread(text: str, other: str) -> str:
    """Return ``(\\pm 1, 2)`` as two points where the other side lists them."""
    if text.count("\\pm") != 1 or "\\pm" in other or split(text)[0] != "()" or other.count("(") < 2:
        return text
    return ", ".join(_signs([text]))


def _same_shape(kinds: set[str], parts: int) -> bool:
    """Whether brackets of these kinds may hold the same: a point may be a column or a row, an interval is no point."""
    if parts > 2 and kinds <= {"", "()", "[]"}:
        return True  # no interval has three ends
    matrices = [kind for kind in kinds if kind[:1].isdigit()]
    if kinds == {"()", "{}"}:
        return False  # a point is no set
    if len(kinds) == 1 or not (matrices or kinds & {"[)", "(]", "[]"}):
        return True
    return len(matrices) == 1 and bool({"()", "[]"} & kinds) and "1" in matrices[0].split("x")


def _is_words(text: str) -> bool:
    return _WORDS.fullmatch(text) is not None and _FACTORS.fullmatch(text) is None


def _words(text: str) -> list[str]:
    """Return words without case and article; what "and" joins has no order."""
    return sorted(_ARTICLE.sub("", part.strip()) for part in re.split(r",|\band\b", text.lower()) if part.strip())


def _is_answer_word(text: str) -> bool:
    return text.lower() in ("yes", "no", "true", "false")


def _same_words(gold: str, answer: str) -> bool:
    """Whether two texts say the same, one perhaps in a sentence: "even" and "It is an even function"."""
    if _words(gold) == _words(answer):
        return True
    cores = [[word for word in re.findall(r"[a-z]+", text.lower()) if word not in _FILLERS] for text in (gold, answer)]
    if not all(cores) or not (_is_words(gold) and _is_words(answer)):
        return False
    return cores[0] == cores[1] or (len(cores[0]) == len(cores[1]) == 1 and _same_stem(cores[0][0], cores[1][0]))


def _same_stem(left: str, right: str) -> bool:
    """Whether two words are forms of one: "diverges" and "divergent"."""
    if not (left.isalpha() and right.isalpha()):
        return False
    stems = [_ENDING.sub("", word) for word in (left, right)]
    return stems[0] == stems[1] and len(stems[0]) >= 5


def _in_base(text: str) -> int | None:
    """Return the value of a number with its base, as ``101_2``; None for all else."""
    match = _BASED.fullmatch(text)
    if match is None or len(text) > 200 or not 2 <= int(match[2]) <= 36:
        return None
    try:
        return int(match[1], int(match[2]))
    except ValueError:
        return None


def _same_time(gold: str, answer: str) -> bool:
    """Whether two times of day are the same; one may leave out which half of the day it is."""
    left, right = _CLOCK.fullmatch(gold), _CLOCK.fullmatch(answer)
    if left is None or right is None:
        return False
    if left[2] != right[2]:
        return False
    half, hours = left[3].lower() + right[3].lower(), (int(left[1]), int(right[1]))
    if len(half) == 1 and (max(hours) > 12 or min(hours) == 0):  # 15:45 is 3:45 PM
        named, other = hours if left[3] else hours[::-1]
        return named <= 12 and named % 12 + 12 * (half == "p") == other
    return hours[0] == hours[1] and half in ("", "a", "p", "aa", "pp")


def _is_too_big(text: str) -> bool:
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
