"""Data sets that are known by name: MATH, AIME, SVAMP, AQuA, OpenR1-Math. Each is a layout and a function of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from g2rpo_env.envs.dataset import Row
from g2rpo_env.envs.mathematics.layout import Layout, states_answer, text_of
from g2rpo_env.envs.mathematics.math_dataset import MathTask
from g2rpo_env.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MATH_HUB = "DigitalLearningGmbH/MATH-lighteval"
MATH_500_HUB = "HuggingFaceH4/MATH-500"
AIME_HUB = "HuggingFaceH4/aime_2024"
SVAMP_HUB = "ChilleD/SVAMP"
AQUA_HUB = "deepmind/aqua_rat"
OPEN_R1_HUB = "open-r1/OpenR1-Math-220k"

LETTERS = "ABCDE"
HASHES_CLOSING = "#### {answer}"
_LETTER_WORDS = r"(?:is|are|option|choice|answer|the|would|will|be|must|should|correct)"
_OPTION_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_LETTER_OF_OPTION = re.compile(r"\s*\(?([A-Ea-e])\s*[).:]\s*")


class MATH(MathTask):
    """The task of ``g2rpo_env/MATH-v0``: competition problems with LaTeX solutions and levels 1 to 5.

    Source: Hendrycks et al. 2021, arXiv 2103.03874. Rows: ``problem``, ``solution`` with its answer in ``\\boxed{}``,
    ``level`` (``"Level 5"`` or 5), ``type`` or ``subject``. Local data may lie as it was published:
    ``train/algebra/1.json``. The subset of 500 problems is ``data="HuggingFaceH4/MATH-500", split="test"``.

    Args:
        data: See MathTask; None for all problems, from the Hub.
        split: See MathTask.
        tokenizer: See MathTask.
        max_new_tokens: See MathTask.
        max_length: See MathTask.
        stop_strings: See MathTask.
        levels: Only these levels, from 1 to 5; ``()`` for all.
        subjects: Only these subjects, such as ``Algebra`` or ``Number Theory``, in any case; ``()`` for all.
        template: See MathTask.
        system: See MathTask.
        format_weight: See MathTask.
        config: See MathTask.
        revision: See MathTask.
        limit: See MathTask.
        checksum: See MathTask.
        validation_fraction: See MathTask.
        test_fraction: See MathTask.
        divide: See MathTask.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int = 1024,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
        levels: Sequence[int] = (),
        subjects: Sequence[str] = (),
        template: str = "plain",
        system: str | None = None,
        format_weight: float = 0.0,
        config: str | None = None,
        revision: str | None = None,
        limit: int | None = None,
        checksum: str | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        divide: bool = False,
    ) -> None:
        if any(level not in range(1, 6) for level in levels):
            raise ConfigurationError(f"levels={tuple(levels)} must lie between 1 and 5")
        if isinstance(subjects, str):
            raise ConfigurationError(f"subjects={subjects!r} must be a sequence of texts, such as a tuple")
        wanted = frozenset(_subject(name) for name in subjects)
        super().__init__(
            MATH_HUB if data is None else data,
            split,
            Layout("problem", answer=None, level="level", template=template),
            partial(prepare_math, frozenset(levels), wanted),
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            max_length=max_length,
            stop_strings=stop_strings,
            config=config,
            revision=revision,
            limit=limit,
            checksum=checksum,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            divide=divide,
            system=system,
            format_weight=format_weight,
        )


def prepare_math(levels: frozenset[int], subjects: frozenset[str], row: Row, where: str) -> Row | None:
    """Return a row of MATH, or None where its level or subject is not wanted."""
    if levels:
        level = re.search(r"\d+", text_of(row, "level", where))
        if level is None or int(level.group()) not in levels:
            return None
    if subjects and _subject(text_of(row, "subject" if "subject" in row else "type", where)) not in subjects:
        return None
    return row


def _subject(name: str) -> str:
    return " ".join(re.split(r"[\s_&-]+", name.lower())).replace(" and ", " ")


class AIME(MathTask):
    """The task of ``g2rpo_env/AIME-v0``: problems of an invitational examination; answers are whole numbers to 999.

    Rows: ``problem``, ``answer``, and ``solution`` where there is one. They are few and meant for tests: unless the
    data names splits or ``test_fraction`` is below 1, all are ``test``.

    Args:
        data: See MathTask; None for the 30 problems of 2024, from the Hub.
        split: See MathTask.
        tokenizer: See MathTask.
        max_new_tokens: See MathTask.
        max_length: See MathTask.
        stop_strings: See MathTask.
        template: See MathTask.
        system: See MathTask.
        format_weight: See MathTask.
        revision: See MathTask.
        checksum: See MathTask.
        validation_fraction: Share of the rows that ``validation`` takes.
        test_fraction: Share of the rows that ``test`` takes; below 1 the rest is ``train``.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read, or an answer is no whole number from 0 to 999.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "test",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int = 2048,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
        template: str = "plain",
        system: str | None = None,
        format_weight: float = 0.0,
        revision: str | None = None,
        checksum: str | None = None,
        validation_fraction: float = 0.0,
        test_fraction: float = 1.0,
    ) -> None:
        super().__init__(
            AIME_HUB if data is None else data,
            split,
            Layout("problem", template=template, may_lack_solution=True),
            prepare_aime,
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            max_length=max_length,
            stop_strings=stop_strings,
            revision=revision,
            checksum=checksum,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            divide=test_fraction < 1,
            system=system,
            format_weight=format_weight,
        )


def prepare_aime(row: Row, where: str) -> Row:
    """Return a row of AIME under the names of today's copies, its answer without leading zeros.

    Raises:
        DataError: the answer is no whole number from 0 to 999.
    """
    row = renamed(row, {"Question": "problem", "question": "problem", "Answer": "answer", "Solution": "solution"})
    answer = text_of(row, "answer", where).strip()
    if not (answer.isascii() and answer.isdigit() and int(answer) <= 999):
        raise DataError(f"{where}: field 'answer' must be a whole number from 0 to 999, got {answer!r:.40}")
    return {**row, "answer": str(int(answer))}


class SVAMP(MathTask):
    """The task of ``g2rpo_env/SVAMP-v0``: one-step word problems; the solution is an equation.

    Source: Patel et al. 2021, arXiv 2103.07191. Rows: ``Body``, ``Question``, ``Equation``, ``Answer``, ``Type``.

    Args:
        data: SVAMP.json, a folder, or None for the Hub; see MathTask.
        split: See MathTask.
        tokenizer: See MathTask.
        max_new_tokens: See MathTask.
        max_length: See MathTask.
        stop_strings: See MathTask.
        template: See MathTask.
        system: See MathTask.
        format_weight: See MathTask.
        revision: See MathTask.
        checksum: See MathTask.
        validation_fraction: See MathTask.
        test_fraction: See MathTask.
        divide: See MathTask.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int = 64,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
        template: str = "plain",
        system: str | None = None,
        format_weight: float = 0.0,
        revision: str | None = None,
        checksum: str | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        divide: bool = False,
    ) -> None:
        super().__init__(
            SVAMP_HUB if data is None else data,
            split,
            Layout(
                solution="Equation", answer="Answer", steps="lines", level="operations", template=template,
                closing=HASHES_CLOSING,
            ),
            prepare_svamp,
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            max_length=max_length,
            stop_strings=stop_strings,
            revision=revision,
            checksum=checksum,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            divide=divide,
            system=system,
            format_weight=format_weight,
        )  # fmt: skip


def prepare_svamp(row: Row, where: str) -> Row:
    """Return a row of SVAMP with its question in one and the number of operations of its equation."""
    body, question = (text_of(row, name, where).strip() for name in ("Body", "Question"))
    joined = f"{body}{'' if body.endswith(('.', '?', '!', ',')) else '.'} {question}"
    operations = len(re.findall(r"[\d)]\s*[-+*/]", text_of(row, "Equation", where)))
    return {**row, "question": joined, "operations": operations}


class AQuA(MathTask):
    """The task of ``g2rpo_env/AQuA-v0``: algebra with five options and free-text rationales; the answer is a letter.

    Source: Ling et al. 2017, arXiv 1705.04146. Rows: ``question``, ``options`` (``"A)32400"``), ``rationale``,
    ``correct``. The text of the right option gives the answer away as much as its letter:
    ``reveal_cap="before_answer"`` stops before either.

    Args:
        data: Folder with train.json, dev.json and test.json, a file, or None for the Hub; see MathTask.
        split: See MathTask.
        tokenizer: See MathTask.
        max_new_tokens: See MathTask.
        max_length: See MathTask.
        stop_strings: See MathTask.
        template: See MathTask.
        system: See MathTask.
        format_weight: See MathTask.
        revision: See MathTask.
        limit: See MathTask.
        checksum: See MathTask.
        validation_fraction: See MathTask.
        test_fraction: See MathTask.
        divide: See MathTask.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read, or a row has no option of the right letter.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int = 256,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
        template: str = "plain",
        system: str | None = None,
        format_weight: float = 0.0,
        revision: str | None = None,
        limit: int | None = None,
        checksum: str | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        divide: bool = False,
    ) -> None:
        super().__init__(
            AQUA_HUB if data is None else data,
            split,
            Layout(
                solution="rationale", answer="correct", steps="lines", aliases="aliases", template=template,
                closing=HASHES_CLOSING, states=states_letter,
            ),
            prepare_aqua,
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            max_length=max_length,
            stop_strings=stop_strings,
            revision=revision,
            limit=limit,
            checksum=checksum,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            divide=divide,
            system=system,
            format_weight=format_weight,
        )  # fmt: skip


def prepare_aqua(row: Row, where: str) -> Row:
    """Return a row of AQuA with the options below the question.

    Raises:
        DataError: the options are no list of texts, or none has the right letter.
    """
    question, correct = text_of(row, "question", where), text_of(row, "correct", where).strip()
    options = row.get("options")
    if not isinstance(options, list | tuple) or not all(isinstance(option, str) for option in options):
        raise DataError(f"{where}: field 'options' must be a list of texts, got {options!r:.80}")
    letters = [found[1].upper() if (found := _LETTER_OF_OPTION.match(option)) else "" for option in options]
    if correct not in letters:
        raise DataError(f"{where}: field 'correct' must be the letter of an option ({letters}), got {correct!r:.20}")
    right = options[letters.index(correct)]
    value = _LETTER_OF_OPTION.sub("", right, count=1).strip()
    joined = "\n".join([question, *(option.strip() for option in options)])
    numbers = _OPTION_NUMBER.findall(value)
    aliases = [value, *(numbers[0].replace(",", "") for _ in numbers[:1] if len(numbers) == 1)]
    return {**row, "question": joined, "correct": correct, "aliases": [alias for alias in aliases if alias]}


def states_letter(step: str, letter: str) -> bool:
    """Whether a line of a rationale states the right letter, in one of the many ways people write that.

    >>> [states_letter(text, "B") for text in ("Correct answer - B", "OPTION B", "Ans.(B)", "B", "B is 3", "Answer: C")]
    [True, True, True, True, False, False]
    """
    words = rf"(?i:\b(?:answer|ans|correct|option|choice)\b[\W_]*(?:{_LETTER_WORDS}\b[\W_]*){{0,4}}){letter}(?![\w'])"
    alone = rf"[\W_]*(?i:{letter})[\W_]*"
    return bool(re.search(words, step) or re.fullmatch(alone, step)) or states_answer(step, letter)


class OpenR1Math(MathTask):
    """The task of ``g2rpo_env/OpenR1Math-v0``: problems with reasoning traces of a strong model, as in the paper.

    Rows: ``problem``, ``answer``, ``generations`` (list of texts), and for each whether it was verified
    (``correctness_math_verify``, else ``correctness_llama``). The guidance is the first verified trace, cut into
    paragraphs; a row without one is left out. The difficulty is the share of generations that were not verified.

    Args:
        data: See MathTask; None for open-r1/OpenR1-Math-220k on the Hub.
        split: See MathTask.
        tokenizer: See MathTask.
        max_new_tokens: See MathTask.
        max_length: See MathTask.
        stop_strings: See MathTask.
        template: See MathTask.
        system: See MathTask.
        format_weight: See MathTask.
        config: See MathTask.
        revision: See MathTask.
        streaming: See MathTask.
        limit: See MathTask.
        checksum: See MathTask.
        validation_fraction: See MathTask.
        test_fraction: See MathTask.
        divide: See MathTask.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read, or generations and their marks do not match.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int = 4096,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
        template: str = "plain",
        system: str | None = None,
        format_weight: float = 0.0,
        config: str | None = None,
        revision: str | None = None,
        streaming: bool = False,
        limit: int | None = None,
        checksum: str | None = None,
        validation_fraction: float = 0.05,
        test_fraction: float = 0.05,
        divide: bool = False,
    ) -> None:
        super().__init__(
            OPEN_R1_HUB if data is None else data,
            split,
            Layout("problem", "trace", steps="paragraphs", level="failed", template=template),
            prepare_open_r1,
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            max_length=max_length,
            stop_strings=stop_strings,
            config=config,
            revision=revision,
            streaming=streaming,
            limit=limit,
            checksum=checksum,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            divide=divide,
            system=system,
            format_weight=format_weight,
        )


def prepare_open_r1(row: Row, where: str) -> Row | None:
    """Return a row with its first verified trace, or None where none was verified.

    Raises:
        DataError: there are no generations, or not one mark for each.
    """
    generations = row.get("generations")
    if not isinstance(generations, list) or not all(isinstance(text, str) for text in generations):
        raise DataError(f"{where}: field 'generations' must be a list of texts, got {generations!r:.80}")
    for name in ("correctness_math_verify", "correctness_llama"):
        marks = row.get(name)
        if marks is None:
            continue
        if not isinstance(marks, list) or len(marks) != len(generations):
            raise DataError(f"{where}: field {name!r} must hold one mark for each of {len(generations)} generations")
        verified = [text for text, mark in zip(generations, marks, strict=True) if mark is True and text.strip()]
        if verified:
            return {**row, "trace": verified[0], "failed": 1 - len(verified) / len(generations)}
    if row.get("correctness_math_verify") is None and row.get("correctness_llama") is None:
        raise DataError(
            f"{where}: there must be a field 'correctness_math_verify' or 'correctness_llama'; the fields are "
            + ", ".join(map(repr, row))
        )
    return None


def renamed(row: Row, names: Mapping[str, str]) -> Row:
    """Return a row with fields under other names, where there is none of that name yet."""
    return {**{new: row[old] for old, new in names.items() if old in row}, **row}
