"""Task: a problem source, a verifier and a tokenizer; all that TokenEnv and TokenVectorEnv have in common.

Both environments only move tokens. What an episode starts from (:meth:`Task.start`) and how it is graded
(:meth:`Task.grade`) stands here, once.
"""

from __future__ import annotations

import copy
import importlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.errors import BudgetError, ConfigurationError
from g2rpo_env.problem import Problem, ProblemSource
from g2rpo_env.reveal import EncodedProblem
from g2rpo_env.tokenizer import decode, encode, load_tokenizer
from g2rpo_env.verdict import Outcome, Verdict, Verifier

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CACHE_SIZE = 16_384


@dataclass(frozen=True)
class Start:
    """What an episode starts from.

    Attributes:
        problem: The problem it is graded against.
        tokens_T: int32, the context.
        role_T: int8, a Role per token.
        prompt_length: Number of leading prompt tokens.
        reveal_length: Number of revealed tokens.
        budget: How many tokens may be sampled.
    """

    problem: Problem
    tokens_T: np.ndarray
    role_T: np.ndarray
    prompt_length: int
    reveal_length: int
    budget: int


class Task:
    """Problems, their tokens and their verifier.

    Args:
        source: Where problems come from.
        verifier: Grades completions in batches.
        tokenizer: Fast tokenizer, folder, or None for the built-in character tokenizer.
        max_new_tokens: Budget of sampled tokens per episode, >= 1.
        max_length: Upper bound of L, the length of the observation; None computes it from the problems
            (longest prompt + longest revealable part + budget).
        stop_strings: An answer also ends where one of these texts is completed; the text from there on is cut before
            verification, the tokens stay.

    Raises:
        ConfigurationError: an argument breaks its rule.
        BudgetError: a problem does not fit into ``max_length``.
        TokenizerError: the tokenizer cannot be used.
    """

    def __init__(
        self,
        source: ProblemSource,
        verifier: Verifier,
        *,
        tokenizer: PreTrainedTokenizerFast | str | Path | None = None,
        max_new_tokens: int = 128,
        max_length: int | None = None,
        stop_strings: Sequence[str] = (),
    ) -> None:
        if max_new_tokens < 1:
            raise ConfigurationError(f"max_new_tokens={max_new_tokens} must be at least 1")
        if any(not text for text in stop_strings):
            raise ConfigurationError(f"stop_strings={tuple(stop_strings)!r} must not hold an empty text")
        self.source = source
        self.verifier = verifier
        self.tokenizer = load_tokenizer(tokenizer)
        self.vocab_size = len(self.tokenizer)
        self.eos_token_id = int(self.tokenizer.eos_token_id)
        self.max_new_tokens = int(max_new_tokens)
        self.max_length = max_length
        self.stop_strings = tuple(stop_strings)
        self._encoded: dict[str, EncodedProblem] = {}
        self._stop_table = _stop_table(self.tokenizer, self.stop_strings)
        self.length = self._measure()

    # -- problems ---------------------------------------------------------------------------------------------------

    def with_split(self, split: str) -> Task:
        """Return the same task on another split of its source (a new object; this one is unchanged)."""
        if split == self.source.split:
            return self
        other = copy.copy(self)
        other.source = self.source.with_split(split)
        other._encoded = {}
        other.length = other._measure()
        return other

    def encode(self, problem: Problem) -> EncodedProblem:
        """Return the tokens of a problem. The solution is encoded once, as a whole."""
        encoded = self._encoded.get(problem.problem_id)
        if encoded is None:
            encoded = encode_problem(self.tokenizer, problem)
            if len(self._encoded) >= CACHE_SIZE:
                self._encoded.clear()
            self._encoded[problem.problem_id] = encoded
        return encoded

    def _measure(self) -> int:
        """Return L; refuse problems that do not fit and report boundaries that tokens would cross."""
        prompt = reveal = crossing = count = 0
        for problem in self.source.longest():
            encoded = self.encode(problem)
            count += 1
            crossing += _crosses_boundary(self.tokenizer, problem, encoded)
            prompt = max(prompt, len(encoded.prompt_T))
            reveal = max(reveal, encoded.revealable)
            needed = len(encoded.prompt_T) + encoded.revealable + self.max_new_tokens
            if self.max_length is not None and needed > self.max_length:
                raise BudgetError(
                    f"problem {problem.problem_id!r} is longer than the budget: prompt {len(encoded.prompt_T)} + "
                    f"revealable {encoded.revealable} + max_new_tokens {self.max_new_tokens} = {needed} tokens "
                    f"must not exceed max_length={self.max_length}"
                )
        if crossing:
            warnings.warn(
                f"{crossing} of {count} prompts share a token with their solution under this tokenizer, "
                "so that a revealed context differs from the tokens of the joined text; "
                "end the prompt template with a line break to avoid it",
                stacklevel=2,
            )
        if self.source.num_problems is None:
            # Generated problems: any of them may split into more tokens than the sample, never into more than bytes.
            prompt, reveal = _byte_bounds(self.source)
        self.max_reveal = reveal
        self.max_steps = max(len(problem.steps) for problem in self.source.longest())
        return prompt + reveal + self.max_new_tokens

    # -- episodes ---------------------------------------------------------------------------------------------------

    def start(self, problem_id: str, reveal: int) -> Start:
        """Return the start of an episode with ``reveal`` solution tokens shown."""
        problem = self.source.get(problem_id)
        encoded = self.encode(problem)
        prompt = len(encoded.prompt_T)
        tokens = np.concatenate([encoded.prompt_T, encoded.solution_T[:reveal]])
        if len(tokens) + self.max_new_tokens > self.length:
            raise BudgetError(
                f"problem {problem_id!r} is longer than the budget: {len(tokens)} tokens of context + "
                f"max_new_tokens {self.max_new_tokens} must not exceed {self.length}"
            )
        roles = np.full(len(tokens), Role.REVEALED, np.int8)
        roles[:prompt] = Role.PROMPT
        return Start(problem, tokens, roles, prompt, reveal, self.max_new_tokens)

    def start_from_prefix(self, problem_id: str, prefix: Any, roles: Any = None) -> Start:
        """Return the start of an episode from any token prefix (trees, drafts, two-stage rollouts).

        Args:
            problem_id: The problem the episode is graded against.
            prefix: Token ids, (T,).
            roles: A Role per token, prompt tokens first; None means the problem's prompt and then revealed tokens.

        Raises:
            ConfigurationError: ids or roles break a rule.
            BudgetError: no token could be sampled, or the prefix does not fit.
        """
        problem = self.source.get(problem_id)
        tokens = np.asarray(prefix, dtype=np.int32).reshape(-1)
        if tokens.size == 0 or tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ConfigurationError(f"prefix must hold token ids in [0, {self.vocab_size}), at least one")
        if roles is None:
            prompt_T = self.encode(problem).prompt_T
            if not np.array_equal(tokens[: len(prompt_T)], prompt_T):
                raise ConfigurationError("prefix_roles must be given: prefix does not start with the prompt")
            roles = np.where(np.arange(len(tokens)) < len(prompt_T), Role.PROMPT, Role.REVEALED)
        role_T = np.asarray(roles, dtype=np.int8).reshape(-1)
        if role_T.shape != tokens.shape or not set(role_T.tolist()) <= set(Role):
            raise ConfigurationError(
                f"prefix_roles must hold one role 0..3 per token of prefix, shape {tokens.shape}, got {role_T.shape}"
            )
        prompt = int(np.argmin(role_T == Role.PROMPT)) if (role_T != Role.PROMPT).any() else len(tokens)
        if (role_T[prompt:] == Role.PROMPT).any():
            raise ConfigurationError("prefix_roles must have all prompt tokens (0) first")
        budget = self.max_new_tokens - int((role_T == Role.SAMPLED).sum())
        if budget < 1 or len(tokens) + budget > self.length:
            raise BudgetError(
                f"prefix of {len(tokens)} tokens is longer than the budget: {budget} of max_new_tokens="
                f"{self.max_new_tokens} are left to sample and all must fit into {self.length}"
            )
        return Start(problem, tokens, role_T, prompt, int((role_T == Role.REVEALED).sum()), budget)

    def may_stop(self, actions: np.ndarray) -> np.ndarray | None:
        """Return which actions (N,) could complete a stop string, or None if there are no stop strings."""
        return None if self._stop_table is None else self._stop_table[actions]

    def stops(self, answer_T: np.ndarray) -> bool:
        """Whether the last token of an answer completes a stop string; decodes a bounded tail only."""
        tail = answer_T[-(max(len(text.encode()) for text in self.stop_strings) + 1) :]
        before, text = len(decode(self.tokenizer, tail[:-1])), decode(self.tokenizer, tail)
        return any(text.find(stop, max(0, before - len(stop) + 1)) >= 0 for stop in self.stop_strings)

    def completion(self, answer_T: np.ndarray, stopped: bool) -> str:
        """Return the text after the prompt, without the end token and cut at the stop string that ended it."""
        if len(answer_T) and answer_T[-1] == self.eos_token_id:
            answer_T = answer_T[:-1]
        text = decode(self.tokenizer, answer_T)
        if stopped:
            text = text[: max(text.rfind(stop) for stop in self.stop_strings)]
        return text

    def grade(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion; a verifier that raises gives ERROR verdicts, never wrong answers."""
        try:
            verdicts = list(self.verifier(problems, completions))
        except Exception as exception:
            if len(problems) > 1:  # one bad sample must not cost the batch
                return [self.grade([p], [c])[0] for p, c in zip(problems, completions, strict=True)]
            return [Verdict(Outcome.ERROR, message=f"{type(exception).__name__}: {exception}"[:500])]
        if len(verdicts) != len(problems):
            raise ConfigurationError(
                f"the verifier returned {len(verdicts)} verdicts for {len(problems)} completions"
            )
        return verdicts


def load_task(task: Task | str, options: dict[str, Any]) -> Task:
    """Return a task: as given, or built from ``"module:Name"`` with options (what registered ids do)."""
    if isinstance(task, str):
        module, _, name = task.partition(":")
        return getattr(importlib.import_module(module), name)(**options)
    if options:
        raise ConfigurationError(f"options {sorted(options)} must be given to the task itself")
    return task


def encode_problem(tokenizer: PreTrainedTokenizerFast, problem: Problem) -> EncodedProblem:
    """Return the tokens of prompt and solution with step boundaries and reveal bounds."""
    prompt_T, _ = encode(tokenizer, problem.prompt)
    solution_T, ends = encode(tokenizer, problem.solution)
    lengths = np.cumsum([len(step) for step in problem.steps])
    # Tokens that end at or before a boundary lie before it: one that spans the boundary stays hidden.
    step_ends = tuple(int(n) for n in np.searchsorted(ends, lengths, side="right"))
    occurrence = re.search(rf"(?<![\d.,]){re.escape(problem.answer)}(?!\d)", problem.solution)
    first = occurrence.start() if occurrence and problem.answer else len(problem.solution)
    before_answer = int(np.searchsorted(ends, first, side="right"))
    return EncodedProblem(prompt_T, solution_T, step_ends, before_answer)


def _crosses_boundary(tokenizer: Any, problem: Problem, encoded: EncodedProblem) -> bool:
    joined, _ = encode(tokenizer, problem.prompt + problem.solution)
    return not np.array_equal(joined, np.concatenate([encoded.prompt_T, encoded.solution_T]))


def _byte_bounds(source: ProblemSource) -> tuple[int, int]:
    problems = list(source.longest())
    return (
        max(len(p.prompt.encode()) for p in problems),
        max(len("".join(p.steps).encode()) for p in problems),
    )


def _stop_table(tokenizer: Any, stop_strings: tuple[str, ...]) -> np.ndarray | None:
    """Return bool (V,): tokens that can complete a stop string; incomplete UTF-8 pieces count as candidates."""
    if not stop_strings:
        return None
    last = {text[-1] for text in stop_strings} | {"\ufffd"}
    texts = [decode(tokenizer, np.array([i])) for i in range(len(tokenizer))]
    return np.array([bool(last & set(text)) for text in texts])
