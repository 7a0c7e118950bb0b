"""Encoding: a problem as tokens, each produced once, and where its steps and its answer stand in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.tokenizer import (
    beginning,
    begins_behind_special_tokens,
    begins_with_space,
    char_tokenizer,
    check_text,
    encode,
    encode_batch,
    encode_many,
    known_end_tokens,
)

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
        text_start: Number of prompt tokens before the text of the prompt, those of the frame.
        text_end: Number of prompt tokens up to its end. A token that is shared with the frame belongs to the text.
    """

    problem: Problem
    prompt_T: np.ndarray
    solution_T: np.ndarray
    end_T: np.ndarray
    step_ends: tuple[int, ...]
    hint: EncodedProblem | None = None
    text_start: int = 0
    text_end: int = 0

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


class Frame(NamedTuple):
    """What stands around every prompt: special tokens, and text of a template that is encoded together with it.

    Attributes:
        before: Token ids before the text, int32 (T,).
        after: Token ids behind it, int32 (T,).
        head: Text of the template before the prompt, up to the last special token.
        tail: Text of the template behind the prompt, up to the next special token.
        begins: Whether the text is encoded as at the beginning of a context; it continues one otherwise.
        strips: Whether the template takes white space off both ends of the prompt.
        takes: Whether the special tokens beside the prompt take the white space at its beginning, and at its end.
    """

    before: np.ndarray
    after: np.ndarray
    head: str = ""
    tail: str = ""
    begins: bool = True
    strips: bool = False
    takes: tuple[bool, bool] = (False, False)

    @property
    def size(self) -> int:
        """Number of token ids around the text."""
        return len(self.before) + len(self.after)

    def text(self, prompt: str) -> str:
        """Return the text that is encoded for a prompt."""
        prompt = prompt.lstrip() if self.strips or self.takes[0] else prompt
        return self.head + (prompt.rstrip() if self.strips or self.takes[1] else prompt) + self.tail

    def around(self, text_T: np.ndarray) -> np.ndarray:
        """Return the tokens of a text between those of the frame, int32 (T,)."""
        return np.concatenate([self.before, text_T, self.after]) if self.size else text_T


NO_FRAME = Frame(np.zeros(0, np.int32), np.zeros(0, np.int32))
"""No token ids before the prompt, none after it."""


def plain_frame(tokenizer: PreTrainedTokenizerFast) -> Frame:
    """Return the frame of a prompt without a template: the special tokens that the tokenizer puts before a text."""
    return Frame(beginning(tokenizer), NO_FRAME.after)


def template_frame(
    tokenizer: PreTrainedTokenizerFast, pieces: Sequence[tuple[str, bool] | None], strips: bool = False
) -> Frame:
    """Return the frame that a template makes; with a prompt in it the tokens are those of the whole text.

    Args:
        tokenizer: The tokenizer.
        pieces: Texts in their order, and whether each is of the template: its special tokens are special tokens, and
            what looks like one in other texts is data. None stands for the prompt, exactly once.
        strips: See :class:`Frame`.
    """
    items: list[str | int | None] = []
    for piece in pieces:
        if piece is None:
            items.append(None)
        else:
            text, written = piece
            items += _split_special(tokenizer, text) if written else [text]
    place = items.index(None)
    special = [i for i, item in enumerate(items) if isinstance(item, int)]
    first = max((i + 1 for i in special if i < place), default=0)
    end = min((i for i in special if i > place), default=len(items))
    inline = begins_behind_special_tokens(tokenizer)
    head, tail = "".join(map(str, items[first:place])), "".join(map(str, items[place + 1 : end]))
    added = tokenizer.added_tokens_decoder
    beside = [items[i] if 0 <= i < len(items) else None for i in (first - 1, end)]
    before, after = (added.get(item) if isinstance(item, int) else None for item in beside)
    return Frame(
        _encode_items(tokenizer, items[:first], True, inline),
        _encode_items(tokenizer, items[end:], False, inline),
        head,
        tail,
        begins=first == 0 or inline,
        strips=strips,
        takes=(not head and before is not None and before.rstrip, not tail and after is not None and after.lstrip),
    )


def text_frame(
    tokenizer: PreTrainedTokenizerFast, template: str, first: str, last: str | None = None
) -> tuple[str, Frame | None]:
    """Return a text template without its special tokens, and the frame that they make; None where it has none.

    A context then begins as the tokenizer begins the whole text, with ``<bos>`` once, whether the template has it or
    the tokenizer puts it there.

    Args:
        tokenizer: The tokenizer.
        template: Text with fields in it.
        first: The first of the fields.
        last: The last of them; None for the first.
    """
    start = template.index(first)
    end = template.index(last or first) + len(last or first)
    left, right = template[:start], template[end:]
    if not any(isinstance(item, int) for side in (left, right) for item in _split_special(tokenizer, side)):
        return template, None
    frame = template_frame(tokenizer, [(left, True), None, (right, True)])
    begin = beginning(tokenizer)
    if not np.array_equal(frame.before[: len(begin)], begin):
        frame = frame._replace(before=np.concatenate([begin, frame.before]))
    return template[start:end], frame


def encode_template(tokenizer: PreTrainedTokenizerFast, text: str, begins: bool = False) -> np.ndarray:
    """Return the tokens of a text that begins or continues a context, int32 (T,); its special tokens are special."""
    check_text(text)
    if not begins_with_space(tokenizer):
        return np.array(tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"], np.int32)
    inline = begins_behind_special_tokens(tokenizer)
    return _encode_items(tokenizer, _split_special(tokenizer, text), begins, inline)


def _encode_items(
    tokenizer: PreTrainedTokenizerFast, items: Sequence[str | int | None], begins: bool, inline: bool
) -> np.ndarray:
    """Return the ids of texts and special tokens in their order, int32 (T,).

    Args:
        tokenizer: The tokenizer.
        items: Texts, and ids of special tokens.
        begins: Whether they begin a context.
        inline: Whether a text behind a special token is encoded as one that begins a context.
    """
    ids: list[int] = []
    for kind, run in groupby(items, key=type):
        if kind is int:
            ids += run  # type: ignore[arg-type]
        else:
            ids += encode(tokenizer, "".join(map(str, run)), inline if ids else begins)[0].tolist()
    return np.array(ids, np.int32)


def _split_special(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str | int]:
    """Return a text of a template in pieces: ordinary text, and the ids of special tokens."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= known_end_tokens(tokenizer)
    out = tokenizer(text, add_special_tokens=False, split_special_tokens=False, return_offsets_mapping=True)
    pieces: list[str | int] = []
    done = 0
    # A special token may take the white space beside it: then that lies between its offsets.
    for token, (start, end) in zip(out["input_ids"], out["offset_mapping"], strict=True):
        if token in special:
            pieces += [text[done:start], int(token)] if start > done else [int(token)]
            done = end
    return [*pieces, text[done:]] if done < len(text) else pieces


def encode_prompt(tokenizer: PreTrainedTokenizerFast, text: str) -> np.ndarray:
    """Return the tokens of a context, int32 (T,), as ``tokenizer(text)`` reads it.

    Special tokens that the text names are special, such as those of a rendered chat. Those that the tokenizer puts
    before a text stand there once.
    """
    begin, text_T = beginning(tokenizer), encode_template(tokenizer, text, begins=True)
    return text_T if np.array_equal(text_T[: len(begin)], begin) else np.concatenate([begin, text_T])


def as_frame(
    tokenizer: PreTrainedTokenizerFast,
    frame: Sequence[Any] | None,
    begin_tokens: Sequence[int] | None,
    vocab_size: int,
) -> Frame:
    """Return a frame as a task holds it.

    Args:
        tokenizer: The tokenizer.
        frame: A :class:`Frame`, or token ids before and after every prompt; None for neither.
        begin_tokens: Token ids before all others; None for those that the tokenizer puts before a text, where there is
            no frame.
        vocab_size: V.

    Raises:
        ConfigurationError: an id lies outside [0, V).
    """
    if frame is None:
        made = NO_FRAME if begin_tokens is not None else plain_frame(tokenizer)
    elif isinstance(frame, Frame):
        made = frame
    else:
        before, after = (np.asarray(ids, np.int32) for ids in frame)
        made = Frame(before, after, begins=not len(before))
    given = {"frame": [*made.before, *made.after], "begin_tokens": begin_tokens or ()}
    for name, ids in given.items():
        if any(not 0 <= token < vocab_size for token in ids):
            raise ConfigurationError(f"{name}={ids!r:.80} must hold token ids in [0, {vocab_size})")
    if begin_tokens is None:
        return made
    return made._replace(before=np.concatenate([np.array(begin_tokens, np.int32), made.before]))


def encode_prompts(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], frame: Frame) -> list[np.ndarray]:
    """Return the tokens of prompts, frame included, int32 (T,) each, all made at once and not to be changed."""
    texts = encode_many(tokenizer, [frame.text(prompt) for prompt in prompts], frame.begins)
    return [frame.around(text_T) for text_T in texts]


def encode_problem(tokenizer: PreTrainedTokenizerFast, problem: Problem, frame: Frame = NO_FRAME) -> EncodedProblem:
    """Return the tokens of prompt, frame included, solution and hint, with step boundaries and reveal bounds."""
    text = frame.text(problem.prompt)
    text_T, end_T = encode(tokenizer, text, frame.begins)
    prompt_T = frame.around(text_T)
    first = int(np.searchsorted(end_T, len(frame.head), side="right"))
    last = len(text_T)
    if frame.tail:  # up to the token that holds the last character of the prompt, which may hold more
        end = end_T[np.searchsorted(end_T, len(text) - len(frame.tail))]
        last = int(np.searchsorted(end_T, end, side="right"))
    hint = None
    if problem.hint:
        lines = tuple(problem.hint.splitlines(keepends=True))
        hint = _encode_solution(tokenizer, replace(problem, steps=lines, final=""), prompt_T)
    solution = _encode_solution(tokenizer, problem, prompt_T, hint)
    before = len(frame.before)
    return replace(solution, text_start=before + first, text_end=before + last)


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
    texts = [frame.text(p.prompt) for p in problems]
    prompts = encode_batch(tokenizer, texts, begins=frame.begins)
    solutions = encode_batch(tokenizer, [p.solution for p in problems], offsets=True)
    crossings = [False] * len(problems)
    if not len(frame.after):  # tokens of a frame would stand between prompt and solution: no token can span the two
        joined = [text + problem.solution for text, problem in zip(texts, problems, strict=True)]
        crossings = _crossings(tokenizer, joined, prompts, solutions, frame.begins)
    sizes = []
    for problem, prompt, solution, crossing in zip(problems, prompts, solutions, crossings, strict=True):
        ids = solution.ids
        # All tokens before the one that holds the first character of the final part; all if there is none.
        end = solution.char_to_token(sum(map(len, problem.steps)))
        revealable = len(ids) if end is None else end
        sizes.append((problem, Size(len(prompt.ids) + frame.size, revealable, crossing)))
    return sizes


def _crossings(
    tokenizer: PreTrainedTokenizerFast, joined: Sequence[str], prompts: list[Any], solutions: list[Any], begins: bool
) -> list[bool]:
    """Return which problems have other tokens as one text than as prompt and solution."""
    if tokenizer is char_tokenizer():  # a token per byte: none can span two texts
        return [False] * len(joined)
    whole = encode_batch(tokenizer, joined, begins=begins)
    return [both.ids != p.ids + s.ids for both, p, s in zip(whole, prompts, solutions, strict=True)]


def byte_bounds(problems: Sequence[Problem], frame: Frame = NO_FRAME) -> tuple[int, int]:
    """Return the bytes of the longest prompt, frame included, and of the longest revealable part.

    No text has more tokens than bytes, but for the space that some tokenizers put before the first.
    """
    around = frame.size + len((frame.head + frame.tail).encode())
    return (
        max(len(p.prompt.encode()) for p in problems) + around,
        max(len("".join(p.steps).encode()) for p in problems),
    )
