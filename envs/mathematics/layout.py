"""From a row of any data set to a problem: which field is what, steps, and where the final answer begins."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from g2rpo_env.envs.dataset import SURROGATE, Row, find_value, join_messages
from g2rpo_env.envs.mathematics.equality import MathVerifier
from g2rpo_env.envs.mathematics.exact import rational
from g2rpo_env.envs.mathematics.extraction import ANSWER, BOX, LETTER_WORDS, TAIL, boxed, extract
from g2rpo_env.envs.mathematics.normalisation import normalise
from g2rpo_env.envs.mathematics.prompts import CLOSING, OPENING, template_text
from g2rpo_env.envs.mathematics.steps import SPLITTERS
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.problem import Problem

RULES = ("boxed", "tag", "hashes", "phrase")
"""Rules of an answer that counts as stated: with the rule ``number`` a revealed solution would grade itself right."""
TAG_RULES = ("tag", "boxed", "hashes", "phrase")
"""The same where a template asks for ``<answer>``."""
BOX_CLOSING = "So the final answer is $\\boxed{{answer}}$."

_STATEMENT = re.compile(rf"(?<!\\)\\+f?(?:rame)?box|<answer>|####|{ANSWER}|{LETTER_WORDS}", re.IGNORECASE)
_UNFINISHED = re.compile(r"(?:answer|ans|option|choice|is|####|<answer>|box(?:ed)?)\W*$", re.IGNORECASE)
_LETTER = re.compile(r"\(?[A-Ea-e]\)?")
_PROSE = re.compile(r"(?<!\\)\b[A-Za-z]{4,}")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SIMPLE_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
MISSING: Any = object()
"""What stands for a field that a row does not have."""
_NO_ANSWERS = ("proof", "notfound", "nan", "null")
"""What public sets write where a problem has no answer that could be checked."""
_CHECK = MathVerifier(rules=RULES, symbolic=False)  # arithmetic and spelling alone: nothing is started


def states_answer(step: str, answer: str) -> bool:
    """Whether a step states the final answer, or may do so in another form, by one of :data:`RULES`.

    >>> [states_answer(text, "1/2") for text in ("The answer is 0.5.", r"\\boxed{x}", r"\\boxed{3}", "it is 1/2")]
    [True, True, False, False]
    """
    if not _STATEMENT.search(step):
        return False
    found = (extract(step, (rule,)) for rule in RULES)
    return any(one is not None and _may_equal(answer, one.answer) for one in found)


def _may_equal(answer: str, found: str) -> bool:
    if not found.strip():
        return False
    left, right = _value(answer[:TAIL]), _value(found[:TAIL])
    if left is not None and right is not None and abs(left - right) > abs(left) / 1000 and "%" not in answer + found:
        return False
    if _CHECK.equal(answer, found).correct:
        return True
    if _LETTER.fullmatch(answer) and _LETTER.fullmatch(found):
        return False
    # Two letters or numbers that differ are settled, and so is prose. Whether two formulas are equal may take algebra,
    # which would be slow for a whole data set: what is in doubt is hidden.
    return None in (left, right) and not _PROSE.search(found)


@lru_cache(maxsize=1024)
def _value(text: str) -> Fraction | None:
    return rational(normalise(text).text)


@dataclass(frozen=True)
class Layout:
    """Which field of a row is what, and how a row becomes a problem.

    A name with a dot is a field inside a field, which may be JSON text.

    Attributes:
        question: Field of the question, a text or a conversation: see :func:`g2rpo_env.envs.dataset.join_messages`.
        solution: Field of the worked solution, or of a list of them, of which the first is taken; None if there is
            none. Where ``answer`` is a field of its own, an empty value says that the row has none.
        answer: Field of the final answer, a text, a number or a list of one; None to take it from the solution.
        mark: Where ``answer`` is None: it is the rest of the line after the last such mark; None for the content of the
            last ``\\boxed{}``.
        steps: A key of :data:`g2rpo_env.envs.mathematics.steps.SPLITTERS`.
        level: Field of the difficulty: a number, or a text with one, such as ``"Level 5"``. None if there is none; a
            row without a number has none.
        aliases: Field of a list of texts that give the answer away; None if there is none.
        template: See :func:`g2rpo_env.envs.mathematics.prompts.template_text`.
        closing: The end of a solution that does not state its answer itself, with ``{answer}`` in it.
        may_lack_solution: Whether a row without the field of the solution is taken.
        hint: Field of a text that helps and is no part of the solution; None if there is none. A row may lack it.
        states: Whether a step states the final answer: from there on nothing is revealed.
    """

    question: str = "question"
    solution: str | None = "solution"
    answer: str | None = "answer"
    mark: str | None = None
    steps: str = "sentences"
    level: str | None = None
    aliases: str | None = None
    template: str = "plain"
    closing: str = BOX_CLOSING
    may_lack_solution: bool = False
    hint: str | None = None
    states: Callable[[str, str], bool] = states_answer

    def __post_init__(self) -> None:
        template_text(self.template)
        if self.steps not in SPLITTERS:
            raise ConfigurationError(f"steps={self.steps!r} must be one of {', '.join(SPLITTERS)}")
        if self.answer is None and self.solution is None:
            raise ConfigurationError("answer=None must come with a solution, from which the answer is taken")
        if self.mark is not None and (self.answer is not None or not self.mark):
            raise ConfigurationError(f"mark={self.mark!r} must be a text, and answer=None with it, got {self.answer!r}")
        if self.closing.count("{answer}") != 1:
            raise ConfigurationError(f"closing={self.closing!r} must hold '{{answer}}' exactly once")

    def problem(self, row: Row, problem_id: str, where: str) -> Problem:
        """Return the problem of a row.

        Raises:
            DataError: a field is missing or is no text; the message names the row, the field and the fields there are.
        """
        question = self.read_question(row, where)
        solution = self._solution(row, where)
        answer = self._answer(row, solution, where)
        steps, final = self._parts(solution, answer)
        if self.template == "think":
            steps, final = add_tags(steps, final, answer)
        prompt = template_text(self.template).replace("{question}", question)
        aliases = tuple(dict.fromkeys((*spellings(answer), *self._read_aliases(row))))
        hint = "" if self.hint is None or not find_value(row, self.hint, where) else text_of(row, self.hint, where)
        return Problem(problem_id, prompt, steps, final, answer, aliases, self._level(row, where), hint)

    def read_question(self, row: Row, where: str) -> str:
        """Return the question of a row; raises DataError as :meth:`problem` does."""
        value = join_messages(find_value(row, self.question, where), f"{where}: field {self.question!r}")
        return text_of(row if value is None else {self.question: value}, self.question, where)

    def lacks_solution(self, row: Row, where: str) -> bool:
        """Whether the field of the solution is there and empty."""
        if self.solution is None:
            return False
        value = find_value(row, self.solution, where, MISSING)
        return value in (None, []) or isinstance(value, str) and not value.strip()

    def _solution(self, row: Row, where: str) -> str:
        if self.solution is None:
            return ""
        value = find_value(row, self.solution, where, MISSING)
        if value is MISSING and self.may_lack_solution or self.answer is not None and self.lacks_solution(row, where):
            return ""
        several = isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
        return text_of({self.solution: value[0]} if several else row, self.solution, where)

    def _answer(self, row: Row, solution: str, where: str) -> str:
        if self.answer is not None:
            value = _only(find_value(row, self.answer, where))
            stated = text_of(row if value is None else {self.answer: value}, self.answer, where)
            if stated.strip().lower() in _NO_ANSWERS:
                raise DataError(f"{where}: field {self.answer!r} must be an answer that can be checked, got {stated!r}")
            return stated
        if self.mark is not None:
            _, mark, rest = solution.rpartition(self.mark)
            answer, wanted = rest.split("\n", 1)[0].strip() if mark else "", f"after {self.mark!r}"
        else:
            answer, wanted = (boxed(solution) or "").strip(), "in \\boxed{}"
        if not answer:
            raise DataError(
                f"{where}: field {self.solution!r} must state its answer {wanted}, got {solution[-60:]!r}; "
                "another field holds the answer if answer=... names it"
            )
        return answer

    def _parts(self, solution: str, answer: str) -> tuple[tuple[str, ...], str]:
        """Return the steps that may be revealed and the final part; joined they begin with the solution."""
        head, tail = solution, ""
        if self.mark is not None:
            head, mark, rest = solution.rpartition(self.mark)
            tail = mark + rest
        units = SPLITTERS[self.steps](head) if head else ()
        boxes = [number for number, unit in enumerate(units) if BOX.search(unit)]
        stated = next((number for number in range(len(units)) if self._states(units, number, answer)), len(units))
        # The last box is where an answer stands, whether or not it is spelt like the ground truth.
        first = min(stated, boxes[-1] if boxes else len(units))
        if not "".join(units[:first]).strip():
            first = 0
        final = "".join(units[first:]) + tail
        if not final or not _CHECK.check([(answer, solution)])[0].correct:
            gap = "\n" if solution and not solution.endswith("\n") else ""
            final += gap + self.closing.replace("{answer}", answer)
        return tuple(units[:first]), final

    def _states(self, units: tuple[str, ...], number: int, answer: str) -> bool:
        """Whether a unit states the answer, alone or with the next one, as ``Answer:`` on a line before."""
        if self.states(units[number], answer):
            return True
        unfinished = number + 1 < len(units) and _UNFINISHED.search(units[number][-40:])
        return bool(unfinished) and self.states(units[number] + units[number + 1], answer)

    def _read_aliases(self, row: Row) -> list[str]:
        return [] if self.aliases is None else [str(alias) for alias in row.get(self.aliases) or ()]

    def _level(self, row: Row, where: str) -> float | None:
        value = None if self.level is None else find_value(row, self.level, where)
        if isinstance(value, str):
            found = _NUMBER.search(value)
            return float(found.group()) if found else None
        value = float(value) if isinstance(value, Decimal) else value
        if isinstance(value, int | float) and abs(value) < float("inf"):
            return float(value)
        return None


def add_tags(steps: tuple[str, ...], final: str, answer: str) -> tuple[tuple[str, ...], str]:
    """Return steps and final part in the format of the template ``think``; a trace with ``</think>`` keeps its tags."""
    tags = f"<answer>{answer}</answer>"
    if "</think>" in "".join(steps) + final:
        return steps, final + ("" if final.endswith("\n") else "\n") + tags
    if steps:
        return (OPENING + steps[0], *steps[1:]), final.rstrip("\n") + CLOSING + tags
    return (), OPENING + final.rstrip("\n") + CLOSING + tags


def text_of(row: Mapping[str, Any], name: str, where: str) -> str:
    """Return a field of a row as text; a whole number loses its ``.0``.

    Raises:
        DataError: the field is missing, empty, or neither a text nor a number.
    """
    value = find_value(row, name, where, MISSING)
    if value is MISSING:
        raise DataError(
            f"{where}: there is no field {name!r}; the fields are {', '.join(map(repr, row)) or 'none'}. "
            "Arguments such as question=..., solution=... and answer=... say which field is what"
        )
    if isinstance(value, Decimal) and value.is_finite():  # of a table
        return f"{value:f}"
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return str(int(value) if value == int(value) else value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: field {name!r} must be a text that is not empty, got {value!r:.80}")
    surrogate = SURROGATE.search(value)
    if surrogate:
        raise DataError(
            f"{where}: field {name!r} must be text, but holds the lone surrogate {surrogate.group()!r} "
            f"at character {surrogate.start()}"
        )
    return value


def _only(value: Any) -> Any:
    """Return what a list of one holds, also one that is written as text; anything else as it is.

    >>> _only(["2"]), _only('["1/2"]'), _only("[1, 2]"), _only(["2", "3"])
    ('2', '1/2', '[1, 2]', ['2', '3'])
    """
    if isinstance(value, str) and value.lstrip().startswith(("['", '["')):
        try:
            read = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return value
        value = read if isinstance(read, list) else value
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def spellings(answer: str) -> tuple[str, ...]:
    """Return other spellings of an answer under which it may stand in its solution.

    >>> spellings("1,234"), spellings(r"\\frac{3}{4}")
    (('1234',), ('\\\\dfrac{3}{4}', '\\\\tfrac{3}{4}', '3/4'))
    """
    if _THOUSANDS.fullmatch(answer):
        return (answer.replace(",", ""),)
    others = [re.sub(r"\\[dt]?frac", rf"\\{kind}", answer) for kind in ("frac", "dfrac", "tfrac")]
    simple = _SIMPLE_FRACTION.fullmatch(answer)
    if simple:
        others.append(f"{simple[1]}{simple[2]}/{simple[3]}")
    return tuple(other for other in dict.fromkeys(others) if other != answer)
