"""Where guidance stands: at the beginning of the answer, or as a text of its own in the prompt.

A placement says what is shown (the worked solution, or the hint that a problem has beside it), where it stands and
which roles its tokens get. How much of it is the reveal plan's business. Every piece is encoded once and joined as ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import encode

if TYPE_CHECKING:
    from g2rpo_env.encoding import EncodedProblem
    from g2rpo_env.task import Task


class Context(NamedTuple):
    """What an episode starts from.

    Attributes:
        tokens_T: int32, the context.
        role_T: int8, a Role per token.
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
    """What a reveal plan asks for the place of its guidance."""

    def shown(self, task: Task, problem_id: str) -> EncodedProblem:
        """Return what is shown of a problem: its tokens, the ends of its steps, how far a reveal may reach."""
        ...

    def lay(self, task: Task, problem_id: str, amount: int) -> Context:
        """Return the context of an episode with ``amount`` tokens shown; 0 shows nothing at all."""
        ...

    def longest(self, task: Task) -> tuple[int, int]:
        """Return the most tokens and the most steps that it may show of any problem."""
        ...

    def room(self, task: Task) -> int:
        """Return how many tokens of context it may take beyond those that a task keeps for its solutions."""
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

    def shown(self, task: Task, problem_id: str) -> EncodedProblem:
        """Return the problem: what is shown is its solution."""
        return task.lookup(problem_id)

    def lay(self, task: Task, problem_id: str, amount: int) -> Context:
        """Return prompt, opening and the first ``amount`` tokens of the solution."""
        encoded = task.lookup(problem_id)
        prompt = len(encoded.prompt_T)
        if not amount:
            return Context(encoded.prompt_T.copy(), np.zeros(prompt, np.int8), prompt, 0, 0)  # Role.PROMPT
        shown_T = encoded.solution_T[:amount]
        if self.opening:
            shown_T = np.concatenate([self._opening(task), shown_T])
        roles = np.zeros(prompt + len(shown_T), np.int8)
        roles[prompt:] = Role.REVEALED
        return Context(np.concatenate([encoded.prompt_T, shown_T]), roles, prompt, len(shown_T), len(shown_T))

    def longest(self, task: Task) -> tuple[int, int]:
        """Return the longest revealable part of a solution, and the most steps."""
        return task.max_reveal, task.max_steps

    def room(self, task: Task) -> int:
        """Return the tokens of the opening."""
        return len(self._opening(task))

    def _opening(self, task: Task) -> np.ndarray:
        ids = task.tokenizer(self.opening, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        if task.eos_token_id in ids:
            raise ConfigurationError(f"opening={self.opening!r} must not hold the end token")
        return np.array(ids, np.int32)


@dataclass(frozen=True)
class InPrompt:
    """The beginning of the solution, or of a hint, as a text of its own in the prompt; its tokens have role 0.

    It is read and not continued, so it is never in the loss, in the graded completion or in the budget. Sources: GHPO
    and Hint-GRPO put a part of the solution into the prompt, Guide a hint (all read in their code).

    Deviation: GHPO counts characters, here as everywhere tokens, steps or fractions are counted.

    Args:
        what: ``solution``, or ``hint``: :attr:`g2rpo_env.Problem.hint`, whose steps are its lines.
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
        if self.what not in SHOWN:
            raise ConfigurationError(f"what={self.what!r} must be one of {', '.join(SHOWN)}")
        if self.template.count("{hint}") != 1:
            raise ConfigurationError(f"template={self.template!r} must hold '{{hint}}' exactly once")

    def shown(self, task: Task, problem_id: str) -> EncodedProblem:
        """Return the problem, or its hint in the form of one."""
        return SHOWN[self.what](task, problem_id)

    def lay(self, task: Task, problem_id: str, amount: int) -> Context:
        """Return the prompt with the first ``amount`` tokens in its template, the frame of a chat around both."""
        prompt_T = task.lookup(problem_id).prompt_T
        if amount:
            head_T, tail_T = self._around(task)
            given_T = np.concatenate([head_T, self.shown(task, problem_id).solution_T[:amount], tail_T])
            first, end = len(task.frame[0]), len(prompt_T) - len(task.frame[1])
            at = first if self.before else end
            prompt_T = np.concatenate([prompt_T[:at], given_T, prompt_T[at:]])
        roles = np.zeros(len(prompt_T), np.int8)  # Role.PROMPT
        return Context(prompt_T.copy(), roles, len(prompt_T), amount, 0)

    def longest(self, task: Task) -> tuple[int, int]:
        """Return the most tokens and steps of a solution, or tokens and lines of a hint."""
        return (task.max_reveal, task.max_steps) if self.what == "solution" else task.longest_hint

    def room(self, task: Task) -> int:
        """Return the tokens of the template, and of hints where they are longer than solutions."""
        if self.what == "hint" and not task.longest_hint[0]:
            raise ConfigurationError(
                "what='hint' needs problems with hints, and no problem of this task has one: see g2rpo_env.Hinted"
            )
        around = sum(map(len, self._around(task)))
        return around + max(0, self.longest(task)[0] - task.max_reveal)

    def _around(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
        head, tail = self.template.split("{hint}")
        return encode(task.tokenizer, head)[0], encode(task.tokenizer, tail)[0]


SHOWN = {
    "solution": lambda task, problem_id: task.lookup(problem_id),
    "hint": lambda task, problem_id: task.hint(problem_id),
}
"""What a text in the prompt may show."""

PLACES: dict[str, Placement] = {"answer": InAnswer(), "prompt": InPrompt(), "hint": InPrompt("hint")}
"""Placements by name."""


def placed(place: Placement | str) -> Placement:
    """Return a placement, found by its name if it is one.

    Raises:
        ConfigurationError: there is no placement of that name, or the object is none.
    """
    if isinstance(place, str) and place in PLACES:
        return PLACES[place]
    if isinstance(place, str) or not all(callable(getattr(place, name, None)) for name in ("shown", "lay", "room")):
        raise ConfigurationError(
            f"place={place!r} must be one of {', '.join(PLACES)}, or an object such as InAnswer(opening='<think>\\n')"
        )
    return place
