"""Places of guidance: at the beginning of the answer, or as a text of its own in the prompt.

A placement names the text that is shown, the worked solution or the hint beside it, says where it stands and which
roles its tokens get. The reveal plan says how much of the text is shown. Every piece is encoded once and joined as ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from g2rpo_env.encoding import TEXTS, EncodedProblem, Frame, encode_template
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import encode, known_end_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Context(NamedTuple):
    """Tokens that an episode starts from, and who wrote them.

    Attributes:
        tokens_T: int32 (T,), the context.
        role_T: int8 (T,), a Role per token.
        prompt_length: Number of leading prompt tokens.
        reveal_length: Number of tokens of guidance, wherever they stand; 0 if nothing is shown.
        answered: How many of them stand in the answer.
    """

    tokens_T: np.ndarray
    role_T: np.ndarray
    prompt_length: int
    reveal_length: int
    answered: int


class Placement(Protocol):
    """Place of guidance in a context, asked at every reset of a guided episode."""

    @property
    def what(self) -> str:
        """The text that is shown, a key of :data:`g2rpo_env.encoding.TEXTS`."""
        ...

    def lay(self, encoded: EncodedProblem, amount: int, tokenizer: PreTrainedTokenizerFast, frame: Frame) -> Context:
        """Return the context of an episode.

        Args:
            encoded: The problem.
            amount: Tokens of its text that are shown; 0 shows nothing at all.
            tokenizer: The tokenizer, for texts that the placement adds.
            frame: What stands around the prompt; ``encoded.prompt_T`` holds it.
        """
        ...

    def room(self, longest: int, kept: int, tokenizer: PreTrainedTokenizerFast) -> int:
        """Return the tokens of context that it needs beyond those that a task keeps.

        Args:
            longest: Most tokens that may be shown of any problem.
            kept: Tokens that the task keeps for guidance.
            tokenizer: The tokenizer, for texts that the placement adds.

        Raises:
            ConfigurationError: no problem has the text.
        """
        ...


@dataclass(frozen=True)
class InAnswer:
    """The beginning of the solution is the beginning of the answer; its tokens have role 1 and may be in the loss.

    Source: G²RPO-A (official code, read: appended after the chat template).

    Args:
        opening: Text before the solution, shown to guided members only and with the same role: ``"<think>\\n"`` puts
            guidance inside the thinking block of a chat model whose template leaves it to the model to open one. Its
            special tokens become special ids.
    """

    opening: str = ""

    what = "solution"

    def lay(self, encoded: EncodedProblem, amount: int, tokenizer: PreTrainedTokenizerFast, frame: Frame) -> Context:
        """Return prompt, opening and the first ``amount`` tokens of the solution."""
        prompt = len(encoded.prompt_T)
        if not amount:
            return Context(encoded.prompt_T.copy(), np.zeros(prompt, np.int8), prompt, 0, 0)  # Role.PROMPT
        shown_T = encoded.solution_T[:amount]
        if self.opening:
            shown_T = np.concatenate([self._opening(tokenizer), shown_T])
        role_T = np.zeros(prompt + len(shown_T), np.int8)
        role_T[prompt:] = Role.REVEALED
        return Context(np.concatenate([encoded.prompt_T, shown_T]), role_T, prompt, len(shown_T), len(shown_T))

    def room(self, longest: int, kept: int, tokenizer: PreTrainedTokenizerFast) -> int:
        """Return the tokens of the opening."""
        return len(self._opening(tokenizer))

    def _opening(self, tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
        ids = encode_template(tokenizer, self.opening)
        if known_end_tokens(tokenizer) & set(ids.tolist()):
            raise ConfigurationError(f"opening={self.opening!r} must not hold the end token")
        return ids


@dataclass(frozen=True)
class InPrompt:
    """The beginning of the solution, or of a hint, as a text of its own in the prompt; its tokens have role 0.

    It is read and not continued, so it is never in the loss, in the graded completion or in the budget. Sources: GHPO
    and Hint-GRPO put a part of the solution into the prompt, Guide a hint (all read in their code).

    Deviation: GHPO counts characters, here as everywhere tokens, steps or fractions are counted.

    Args:
        what: The text that is shown: ``solution``, or ``hint``: :attr:`g2rpo_env.Problem.hint`, whose steps are its
            lines.
        template: Text around it, with ``{hint}`` in it exactly once; encoded as data.
        before: Whether it stands before the text of the prompt, behind it otherwise. Inside a chat template it stands
            in the user's turn either way. A prompt that ends where the answer begins (``12+3=``) needs True.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    what: str = "solution"
    template: str = "Hint: {hint}\n"
    before: bool = True

    def __post_init__(self) -> None:
        if self.what not in TEXTS:
            raise ConfigurationError(f"what={self.what!r} must be one of {', '.join(TEXTS)}")
        if self.template.count("{hint}") != 1:
            raise ConfigurationError(f"template={self.template!r} must hold '{{hint}}' exactly once")

    def lay(self, encoded: EncodedProblem, amount: int, tokenizer: PreTrainedTokenizerFast, frame: Frame) -> Context:
        """Return the prompt with the first ``amount`` tokens in its template, the frame of a chat around both."""
        prompt_T = encoded.prompt_T
        if amount:
            head_T, tail_T = self._around(tokenizer)
            given_T = np.concatenate([head_T, encoded.text(self.what).solution_T[:amount], tail_T])
            at = encoded.text_start if self.before else encoded.text_end
            prompt_T = np.concatenate([prompt_T[:at], given_T, prompt_T[at:]])
        role_T = np.zeros(len(prompt_T), np.int8)  # Role.PROMPT
        return Context(prompt_T.copy(), role_T, len(prompt_T), amount, 0)

    def room(self, longest: int, kept: int, tokenizer: PreTrainedTokenizerFast) -> int:
        """Return the tokens of the template, and of hints where they are longer than solutions."""
        if self.what == "hint" and not longest:
            raise ConfigurationError(
                "what='hint' needs problems with hints, and no problem of this task has one: see g2rpo_env.Hinted"
            )
        return sum(map(len, self._around(tokenizer))) + max(0, longest - kept)

    def _around(self, tokenizer: PreTrainedTokenizerFast) -> tuple[np.ndarray, np.ndarray]:
        head, tail = self.template.split("{hint}")
        return encode(tokenizer, head)[0], encode(tokenizer, tail)[0]


PLACES: dict[str, Placement] = {"answer": InAnswer(), "prompt": InPrompt(), "hint": InPrompt("hint")}
"""Placements by name."""


def resolve_placement(place: Placement | str) -> Placement:
    """Return a placement, by name or as it is.

    Raises:
        ConfigurationError: there is no placement of that name, or the object is none.
    """
    if isinstance(place, str) and place in PLACES:
        return PLACES[place]
    if isinstance(place, str) or not all(hasattr(place, name) for name in ("what", "lay", "room")):
        raise ConfigurationError(
            f"place={place!r} must be one of {', '.join(PLACES)}, or an object such as InAnswer(opening='<think>\\n')"
        )
    return place
