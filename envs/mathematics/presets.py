"""Data sets that are known by name: MATH, AIME, SVAMP, AQuA, OpenR1-Math. Each is a layout and a function of rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

from g2rpo_env.envs.dataset import Row
from g2rpo_env.envs.mathematics.layout import Layout, states_answer, text_of
from g2rpo_env.envs.mathematics.math_dataset import MathTask
from g2rpo_env.envs.options import MathOptions, Option, accept_options
from g2rpo_env.errors import ConfigurationError, DataError

MATH_HUB = "DigitalLearningGmbH/MATH-lighteval"
MATH_500_HUB = "HuggingFaceH4/MATH-500"
AIME_HUB = "HuggingFaceH4/aime_2024"
SVAMP_HUB = "ChilleD/SVAMP"
AQUA_HUB = "deepmind/aqua_rat"
OPEN_R1_HUB = "open-r1/OpenR1-Math-220k"

LETTERS = "ABCDE"
MATH_SUBJECTS = (
    "Algebra", "Counting & Probability", "Geometry", "Intermediate Algebra", "Number Theory", "Prealgebra",
    "Precalculus",
)  # fmt: skip
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
        data: A file, a folder of files, the name of a Hub data set, or None for all problems, from the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        levels: Only these levels, from 1 to 5; ``()`` for all.
        subjects: Only these subjects, such as ``Algebra`` or ``Number Theory``, in any case; ``()`` for all.
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read.
    """

    @accept_options(MathOptions, without=("streaming",), max_new_tokens=1024)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        *,
        levels: Sequence[int] = (),
        subjects: Sequence[str] = (),
        **options: Unpack[MathOptions],
    ) -> None:
        if any(level not in range(1, 6) for level in levels):
            raise ConfigurationError(f"levels={tuple(levels)} must lie between 1 and 5")
        if isinstance(subjects, str):
            raise ConfigurationError(f"subjects={subjects!r} must be a sequence of texts, such as a tuple")
        for subject in subjects:
            if _subject(subject) not in map(_subject, MATH_SUBJECTS):
                raise ConfigurationError(f"subjects: {subject!r} must be one of {', '.join(MATH_SUBJECTS)}")
        layout = Layout("problem", answer=None, level="level")
        prepare = partial(prepare_math, frozenset(levels), frozenset(map(_subject, subjects)))
        super().__init__(MATH_HUB if data is None else data, split, layout, prepare, **options)


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
        data: A file, a folder of files, the name of a Hub data set, or None for the 30 problems of 2024, from the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read, or an answer is no whole number from 0 to 999.
    """

    @accept_options(
        MathOptions,
        without=("config", "streaming", "limit", "divide"),
        max_new_tokens=2048,
        validation_fraction=Option(0.0, "Share of the rows that ``validation`` takes."),
        test_fraction=Option(1.0, "Share of the rows that ``test`` takes; below 1 the rest is ``train``."),
    )
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "test",
        **options: Unpack[MathOptions],
    ) -> None:
        layout = Layout("problem", may_lack_solution=True)
        options["divide"] = options["test_fraction"] < 1
        super().__init__(AIME_HUB if data is None else data, split, layout, prepare_aime, **options)


def prepare_aime(row: Row, where: str) -> Row:
    """Return a row of AIME under the names of today's copies, its answer without leading zeros.

    Raises:
        DataError: the answer is no whole number from 0 to 999.
    """
    row = rename_fields(row, {"Question": "problem", "question": "problem", "Answer": "answer", "Solution": "solution"})
    answer = text_of(row, "answer", where).strip()
    if not (answer.isascii() and answer.isdigit() and int(answer) <= 999):
        raise DataError(f"{where}: field 'answer' must be a whole number from 0 to 999, got {answer!r:.40}")
    return {**row, "answer": str(int(answer))}


class SVAMP(MathTask):
    """The task of ``g2rpo_env/SVAMP-v0``: one-step word problems; the solution is an equation.

    Source: Patel et al. 2021, arXiv 2103.07191. Rows: ``Body``, ``Question``, ``Equation``, ``Answer``, ``Type``.

    Args:
        data: SVAMP.json, a folder, or None for the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read.
    """

    @accept_options(MathOptions, without=("config", "streaming", "limit"), max_new_tokens=64)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        **options: Unpack[MathOptions],
    ) -> None:
        layout = Layout(solution="Equation", answer="Answer", steps="lines", level="operations", closing=HASHES_CLOSING)
        super().__init__(SVAMP_HUB if data is None else data, split, layout, prepare_svamp, **options)


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
        data: Folder with train.json, dev.json and test.json, a file, or None for the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read, or a row has no option of the right letter.
    """

    @accept_options(MathOptions, without=("config", "streaming"), max_new_tokens=256)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        **options: Unpack[MathOptions],
    ) -> None:
        layout = Layout(
            solution="rationale", answer="correct", steps="lines", aliases="aliases", closing=HASHES_CLOSING,
            states=states_letter,
        )  # fmt: skip
        super().__init__(AQUA_HUB if data is None else data, split, layout, prepare_aqua, **options)


def prepare_aqua(row: Row, where: str) -> Row:
    """Return a row of AQuA with the options below the question.

    Raises:
        DataError: the options are no list of texts, or none has the right letter.
    """
    row = read_lists(row, "options")
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
        data: A file, a folder of files, the name of a Hub data set, or None for open-r1/OpenR1-Math-220k on the Hub.
        split: ``train``, ``validation``, ``test`` or ``warmstart`` (the rows of train).
        options: See :class:`g2rpo_env.envs.options.MathOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        DataError: the data cannot be read, or generations and their marks do not match.
    """

    @accept_options(MathOptions, max_new_tokens=4096, validation_fraction=0.05, test_fraction=0.05)
    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        **options: Unpack[MathOptions],
    ) -> None:
        layout = Layout("problem", "trace", steps="paragraphs", level="failed")
        super().__init__(OPEN_R1_HUB if data is None else data, split, layout, prepare_open_r1, **options)


def prepare_open_r1(row: Row, where: str) -> Row | None:
    """Return a row with its first verified trace, or None where none was verified.

    Raises:
        DataError: there are no generations, or not one mark for each.
    """
    row = read_lists(row, "generations", "correctness_math_verify", "correctness_llama")
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


def read_lists(row: Row, *names: str) -> Row:
    """Return a row whose fields that are JSON text of a list, as tables write one, are lists."""
    lists = {}
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                lists[name] = json.loads(value)
            except ValueError:  # it stays a text, which is refused where a list is due
                pass
    return {**row, **lists}


def rename_fields(row: Row, names: Mapping[str, str]) -> Row:
    """Return a row with fields under other names, where there is none of that name yet."""
    return {**{new: row[old] for old, new in names.items() if old in row}, **row}
