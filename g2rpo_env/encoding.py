"""Encoding: a problem as tokens, each produced once, and where its steps and its answer stand in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from g2rpo_env.problem import Problem
from g2rpo_env.tokenizer import char_tokenizer, encode, encode_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class EncodedProblem:
    """A problem as tokens, each produced once.

    Attributes:
        problem: The problem.
        prompt_T: int32, tokens of the prompt.
        solution_T: int32, tokens of the whole solution, without the end token.
        end_T: int64, where each token of the solution ends in its text.
        step_ends: For each step the number of solution tokens up to its end. A boundary inside a token moves to the
            start of that token.
        hint: Its hint in the form of a problem: the lines of the hint are the steps, and there is no final part. None
            without a hint.
    """

    problem: Problem
    prompt_T: np.ndarray
    solution_T: np.ndarray
    end_T: np.ndarray
    step_ends: tuple[int, ...]
    hint: EncodedProblem | None = None

    def text(self, what: str) -> EncodedProblem:
        """Return one of the texts that guidance may show, in the form of a problem.

        Args:
            what: A key of :data:`TEXTS`.
        """
        return TEXTS[what](self)

    @cached_property
    def before_answer(self) -> int:
        """Number of solution tokens before the answer or an alias first occurs, see :func:`first_occurrence`."""
        texts = (self.problem.answer, *self.problem.aliases)
        first = min(first_occurrence(text, self.problem.solution) for text in texts)
        return int(np.searchsorted(self.end_T, first, side="right"))

    @property
    def revealable(self) -> int:
        """Number of solution tokens that may be shown: all steps, never the final answer."""
        return self.step_ends[-1] if self.step_ends else 0


def _hint_of(encoded: EncodedProblem) -> EncodedProblem:
    """Return the hint of a problem; where it has none, a hint without tokens."""
    if encoded.hint is not None:
        return encoded.hint
    return replace(encoded, solution_T=encoded.solution_T[:0], end_T=encoded.end_T[:0], step_ends=())


TEXTS: dict[str, Callable[[EncodedProblem], EncodedProblem]] = {"solution": lambda encoded: encoded, "hint": _hint_of}
"""Texts of a problem that guidance may show: the worked solution, or the hint beside it."""


_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d*))?")


def first_occurrence(answer: str, text: str) -> int:
    """Return where a final answer first stands in a text; the length of the text if it does not.

    A number is found in every way of writing it: with leading zeros, with separated thousands, with zeros behind the
    decimal point. Any other answer is found as it is, and not inside a word.

    >>> first_occurrence("1234", "12340 + 1,234.00"), first_occurrence("5", "1.5 + 05"), first_occurrence("B", "AB B")
    (8, 6, 3)
    """
    if not answer:
        return len(text)
    number = _NUMBER.fullmatch(answer)
    pattern = _number_pattern(*number.groups(default="")) if number else _text_pattern(answer)
    found = re.search(pattern, text)
    return found.start() if found else len(text)


def _number_pattern(sign: str, whole: str, decimals: str) -> str:
    thousands = ",?".join(f"{int(whole):,}".split(","))
    decimals = decimals.rstrip("0")
    # "1.5" and "12" hold no 5 and no 2, but "3,5" may be a list: rather stop too early than show the answer.
    return rf"(?<!\d)(?<!\d\.){sign}0*{thousands}" + (rf"\.{decimals}0*(?!\d)" if decimals else r"(?!\d)")


def _text_pattern(answer: str) -> str:
    left = r"(?<!\w)" if re.match(r"\w", answer) else ""
    right = r"(?!\w)" if re.search(r"\w$", answer) else ""
    return left + re.escape(answer) + right


Frame = tuple[np.ndarray, np.ndarray]
"""Token ids before every prompt and after it, int32 (T,) each, such as those of a chat template."""

NO_FRAME: Frame = (np.zeros(0, np.int32), np.zeros(0, np.int32))
"""No token ids before the prompt, none after it."""


def add_frame(prompt_T: np.ndarray, frame: Frame) -> np.ndarray:
    """Return the tokens of a prompt between those of a frame, int32 (T,)."""
    before, after = frame
    return np.concatenate([before, prompt_T, after]) if len(before) or len(after) else prompt_T


def encode_problem(tokenizer: PreTrainedTokenizerFast, problem: Problem, frame: Frame = NO_FRAME) -> EncodedProblem:
    """Return the tokens of prompt, frame included, solution and hint, with step boundaries and reveal bounds."""
    prompt_T = add_frame(encode(tokenizer, problem.prompt)[0], frame)
    hint = None
    if problem.hint:
        lines = tuple(problem.hint.splitlines(keepends=True))
        hint = _encode_solution(tokenizer, replace(problem, steps=lines, final=""), prompt_T)
    return _encode_solution(tokenizer, problem, prompt_T, hint)


def _encode_solution(
    tokenizer: PreTrainedTokenizerFast, problem: Problem, prompt_T: np.ndarray, hint: EncodedProblem | None = None
) -> EncodedProblem:
    solution_T, end_T = encode(tokenizer, problem.solution)
    lengths = list(accumulate(map(len, problem.steps)))
    # Tokens that end at or before a boundary lie before it: one that spans the boundary stays hidden.
    step_ends = tuple(np.searchsorted(end_T, lengths, side="right").tolist())
    return EncodedProblem(problem, prompt_T, solution_T, end_T, step_ends, hint)


@dataclass(frozen=True)
class Size:
    """Tokens of a problem, counted.

    Attributes:
        prompt: Tokens of the prompt.
        revealable: Tokens of the solution that may be shown.
        crossing: Whether prompt and solution share a token when they are encoded as one text.
    """

    prompt: int
    revealable: int
    crossing: bool


def measure(
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    frame: Frame = NO_FRAME,
) -> list[tuple[Problem, Size]]:
    """Return the sizes of problems, the same that :func:`encode_problem` gives one by one."""
    prompts = encode_batch(tokenizer, [p.prompt for p in problems])
    solutions = encode_batch(tokenizer, [p.solution for p in problems], offsets=True)
    # Tokens of a frame stand between prompt and solution: no token can span the two.
    crossings = [False] * len(problems) if len(frame[1]) else _crossings(tokenizer, problems, prompts, solutions)
    around = sum(map(len, frame))
    sizes = []
    for problem, prompt, solution, crossing in zip(problems, prompts, solutions, crossings, strict=True):
        ids = solution.ids
        # All tokens before the one that holds the first character of the final part; all if there is none.
        end = solution.char_to_token(sum(map(len, problem.steps)))
        revealable = len(ids) if end is None else end
        sizes.append((problem, Size(len(prompt.ids) + around, revealable, crossing)))
    return sizes


def _crossings(
    tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem], prompts: list[Any], solutions: list[Any]
) -> list[bool]:
    """Return which problems have other tokens as one text than as prompt and solution."""
    if tokenizer is char_tokenizer():  # a token per byte: none can span two texts
        return [False] * len(problems)
    joined = encode_batch(tokenizer, [p.prompt + p.solution for p in problems])
    return [both.ids != p.ids + s.ids for both, p, s in zip(joined, prompts, solutions, strict=True)]


def byte_bounds(problems: Sequence[Problem]) -> tuple[int, int]:
    """Return the bytes of the longest prompt and of the longest revealable part: no text has more tokens than bytes."""
    return (
        max(len(p.prompt.encode()) for p in problems),
        max(len("".join(p.steps).encode()) for p in problems),
    )
