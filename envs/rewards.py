"""Rewards as parts: accuracy, format, length, repetition; and their weighted sum around any verifier.

    Rewards(MathVerifier(), {Accuracy(): 1.0, ThinkFormat(): 0.1, Repetition(): 0.2})

Parts judge texts: the completion of an episode, revealed tokens included. ``correct`` stays what the verifier said, so
that accuracies and controllers never see a part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.tokenizer import encode
from g2rpo_env.verdict import Verdict, Verifier

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_TAGGED = re.compile(r"(?:<think>)?(.*?)</think>\s*<answer>(.*?)</answer>", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


class Part(Protocol):
    """One part of a reward. Must be picklable and hashable, and must not keep state between calls."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value."""
        ...

    def __call__(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        """Return the value, within ``bounds``."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """The reward of the verifier: 1 for a right answer and 0 otherwise, or its score. Bounds [0, 1].

    A verifier that grades by degrees must keep to these bounds; a score beyond them is cut.
    """

    bounds = (0.0, 1.0)

    def __call__(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        """Return the reward of the verdict."""
        return min(max(verdict.reward, 0.0), 1.0)


def is_tagged(completion: str) -> bool:
    """Whether a completion has the format of the template ``think``.

    That is: reasoning, ``</think>``, ``<answer>`` with something in it, ``</answer>``, each tag at most once. White
    space around the parts is free, and ``<think>`` may be missing, because a prompt may end with it.

    >>> is_tagged("<think>\\n2+2=4\\n</think>\\n<answer>4</answer>"), is_tagged("2+2=4</think> <answer> 4 </answer>\\n")
    (True, True)
    >>> is_tagged("<think>2+2</think> 4"), is_tagged("<think></think><answer>4</answer><answer>5</answer>")
    (False, False)
    """
    if any(completion.count(tag) > 1 for tag in _TAGS):
        return False
    found = _TAGGED.fullmatch(completion.strip())
    return found is not None and bool(found[2].strip()) and "<think>" not in found[1]


@dataclass(frozen=True)
class ThinkFormat:
    """1 where the completion has the format of the template ``think``, else 0. Bounds [0, 1].

    :func:`is_tagged` says what is left free. A strict regular expression may pay nobody: with one, a published run
    scored 0 of 4,830.
    """

    bounds = (0.0, 1.0)

    def __call__(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        """Return 1.0 or 0.0."""
        return float(is_tagged(completion))


@dataclass(frozen=True)
class SoftOverlong:
    """0 up to ``limit - buffer``, then linearly down to -1 at ``limit`` and beyond. Bounds [-1, 0].

    Source: soft overlong punishment of DAPO, arXiv 2503.14476, equation 13.

    Args:
        limit: Length from which on the value is -1, >= 1.
        buffer: Length over which it falls, in [1, limit].
        tokenizer: Counts tokens of the completion; None counts characters.
    """

    limit: int
    buffer: int
    tokenizer: PreTrainedTokenizerFast | None = None

    bounds = (-1.0, 0.0)

    def __post_init__(self) -> None:
        if not 1 <= self.buffer <= self.limit:
            raise ConfigurationError(f"buffer={self.buffer} must lie in [1, limit={self.limit}]")

    def __call__(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        """Return the punishment."""
        length = len(completion) if self.tokenizer is None else len(encode(self.tokenizer, completion)[0])
        return min(max((self.limit - self.buffer - length) / self.buffer, -1.0), 0.0)

    def __hash__(self) -> int:
        return hash((self.limit, self.buffer))


@dataclass(frozen=True)
class Repetition:
    """Minus the share of n-grams of words that occurred before: 0 for none, towards -1 for one word. Bounds [-1, 0].

    Source: arXiv 2502.03373, section 4.3, as a share of the whole.

    Args:
        words: Length n of an n-gram, >= 1.
    """

    words: int = 4

    bounds = (-1.0, 0.0)

    def __post_init__(self) -> None:
        if self.words < 1:
            raise ConfigurationError(f"words={self.words} must be at least 1")

    def __call__(self, problem: Problem, completion: str, verdict: Verdict) -> float:
        """Return the punishment."""
        words = completion.split()
        grams = list(zip(*(words[first:] for first in range(self.words)), strict=False))
        return len(set(grams)) / len(grams) - 1.0 if grams else 0.0


class Rewards:
    """A verifier whose reward is a weighted sum of parts.

    Outcome, answer and message are those of the verifier; only ``score`` is set. A verdict that is not valid stays as
    it is: it gives no reward at all.

    Args:
        verifier: Grades the completions.
        parts: Part -> weight, at least one; a weight may be any finite number.

    Raises:
        ConfigurationError: there is no part, or a weight is not finite.
    """

    def __init__(self, verifier: Verifier, parts: Mapping[Part, float]) -> None:
        if not parts or not all(abs(weight) < float("inf") for weight in parts.values()):
            raise ConfigurationError(f"parts={parts!r} must hold at least one part, each with a finite weight")
        self.verifier, self.parts = verifier, tuple(parts.items())

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest reward of a valid episode."""
        ends = [sorted(weight * end for end in part.bounds) for part, weight in self.parts]
        return sum(low for low, _ in ends), sum(high for _, high in ends)

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion, with the sum as its score."""
        verdicts = self.verifier(problems, completions)
        return [self._score(*one) for one in zip(problems, completions, verdicts, strict=True)]

    def _score(self, problem: Problem, completion: str, verdict: Verdict) -> Verdict:
        if not verdict.valid:
            return verdict
        return replace(verdict, score=sum(w * part(problem, completion, verdict) for part, w in self.parts))
