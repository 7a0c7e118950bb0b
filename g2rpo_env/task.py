"""Task: a problem source, a verifier and a tokenizer, shared by TokenEnv and TokenVectorEnv.

Both environments move tokens and nothing else: the task makes the start of an episode (:meth:`Task.start`) and grades
its answer (:meth:`Task.grade`).
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from g2rpo_env.encoding import (
    EncodedProblem,
    Size,
    as_frame,
    byte_bounds,
    encode_problem,
    encode_prompts,
    measure,
)
from g2rpo_env.episode import Role
from g2rpo_env.errors import BudgetError, ConfigurationError
from g2rpo_env.naming import load_object
from g2rpo_env.problem import Problem, ProblemSource
from g2rpo_env.reveal.plan import NO_REVEAL, RevealPlan
from g2rpo_env.tokenizer import (
    begins_with_space,
    char_tokenizer,
    decode,
    encode,
    encode_batch,
    known_end_tokens,
    load_tokenizer,
    unused_ids,
    vocabulary_size,
)
from g2rpo_env.verdict import Outcome, Verdict, Verifier

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Reply = Callable[[Problem, str, Verdict], str]
"""(problem, text of the try, its verdict) -> text of the reply to a wrong try."""

CACHE_SIZE = 16_384
CHUNK = 1024  # problems measured at once: encodings take much memory


class Start(NamedTuple):
    """Start of an episode: its context, its budget and its problem. The arrays are not to be changed.

    Attributes:
        problem: The problem it is graded against.
        tokens_T: int32 (T,), the context.
        role_T: int8 (T,), a Role per token.
        prompt_length: Number of leading prompt tokens.
        reveal_length: Number of revealed tokens.
        budget: Number of tokens that may be sampled.
        answer_start: Position of the first token that is graded: behind the prompt, or behind the last reply.
        tries: Number of tries that have begun, this one included.
    """

    problem: Problem
    tokens_T: np.ndarray
    role_T: np.ndarray
    prompt_length: int
    reveal_length: int
    budget: int
    answer_start: int
    tries: int = 1


class Task:
    """Problems, their tokens and their verifier.

    Args:
        source: Source of the problems.
        verifier: Grades completions in batches.
        tokenizer: Fast tokenizer, folder, or None for the built-in character tokenizer.
        max_new_tokens: Budget of sampled tokens per episode, >= 2: an answer and its end.
        max_length: Upper bound of L, the length of the observation; None computes it from the problems
            (longest prompt + longest revealable part + budget), and no problem may need more.
        stop_strings: An answer also ends where one of these texts is completed; the text from there on is cut before
            verification, the tokens stay.
        max_tries: Number of answers that an episode may hold, >= 1. After a wrong one the environment appends a reply,
            with role 3, and the policy goes on; the budget is for all tries, and the last one is graded.
        reply: Its text, (problem, text of the try, verdict) -> text; needed for ``max_tries`` > 1.
        max_reply_tokens: A longer reply is cut, >= 1.
        frame: What stands around every prompt: a :class:`~g2rpo_env.encoding.Frame`, such as that of a chat template,
            or token ids before and after it. None for none.
        begin_tokens: Token ids at the beginning of every context. None takes what the tokenizer itself puts before a
            text, such as ``<bos>``, or nothing where there is a frame, which has them; ``()`` nothing. These and the
            frame's are the only special tokens in a context, because the text of problems is encoded as data.
        end_tokens: Token ids of which each ends an answer. None takes those that the tokenizer knows, its end token and
            the end of turn of its chat template, and lets a rollout add those of its policy
            (:meth:`with_end_tokens`).

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
        max_tries: int = 1,
        reply: Reply | None = None,
        max_reply_tokens: int = 64,
        frame: Sequence[Any] | None = None,
        begin_tokens: Sequence[int] | None = None,
        end_tokens: Sequence[int] | None = None,
    ) -> None:
        if max_new_tokens < 2:
            raise ConfigurationError(f"max_new_tokens={max_new_tokens} must be at least 2: an answer and its end")
        if max_tries < 1 or max_reply_tokens < 1:
            raise ConfigurationError(f"max_tries={max_tries} and max_reply_tokens={max_reply_tokens} must be >= 1")
        if (max_tries > 1) != (reply is not None):
            raise ConfigurationError(
                f"reply={reply!r} must be given with max_tries > 1, and only then; got max_tries={max_tries}"
            )
        if isinstance(stop_strings, str):
            raise ConfigurationError(f"stop_strings={stop_strings!r} must be a sequence of texts, such as a tuple")
        if any(not text for text in stop_strings):
            raise ConfigurationError(f"stop_strings={tuple(stop_strings)!r} must not hold an empty text")
        self.source = source
        self.verifier = verifier
        self.tokenizer = load_tokenizer(tokenizer)
        self.vocab_size = vocabulary_size(self.tokenizer)
        if self.vocab_size < 2:
            raise ConfigurationError(f"tokenizer has {self.vocab_size} tokens; it must have at least 2")
        self.eos_token_id = int(self.tokenizer.eos_token_id)
        self.unused_ids = unused_ids(self.tokenizer)
        """int64 (U,), the ids in [0, V) that are no token; nearly always none."""
        self.fixed_ends = end_tokens is not None
        """Whether the end tokens were chosen, so that a policy adds none."""
        self.end_tokens = self._check_ends(known_end_tokens(self.tokenizer) if end_tokens is None else end_tokens)
        """Tokens of which each ends an answer."""
        self.max_new_tokens = int(max_new_tokens)
        self.max_length = max_length
        self.stop_strings = tuple(stop_strings)
        self.max_tries, self.reply, self.max_reply_tokens = max_tries, reply, max_reply_tokens
        self.frame = as_frame(self.tokenizer, frame, begin_tokens, self.vocab_size)
        self.room = 0
        self.max_reveal = self.max_steps = 0  # measured below
        self._encoded: dict[str, EncodedProblem] = {}
        self._starts: dict[str, Start] = {}
        self._answer_tokens: np.ndarray | None = None
        self._stop_table = _stop_table(self.tokenizer, self.stop_strings, self.end_tokens)
        self.length = self._measure()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy: without caches, and without the built-in tokenizer."""
        state = self.__dict__ | {"_encoded": {}, "_starts": {}}
        return state | {"tokenizer": None} if self.tokenizer is char_tokenizer() else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state of :meth:`__getstate__`."""
        self.__dict__.update(state)
        if self.tokenizer is None:  # there is one built-in tokenizer; a copy of it would be slow, see tokenizer.encode
            self.tokenizer = char_tokenizer()

    # -- problems ---------------------------------------------------------------------------------------------------

    def with_split(self, split: str) -> Task:
        """Return the same task on another split of its source (a new object; this one is unchanged).

        A verifier that grades splits differently has a method ``with_split``, too, which gives that of the new task.
        """
        if split == self.source.split:
            return self
        other = copy.copy(self)
        other.source = self.source.with_split(split)
        if hasattr(self.verifier, "with_split"):
            other.verifier = self.verifier.with_split(split)
        other.length = other._measure()
        return other

    def with_room(self, room: int) -> Task:
        """Return the same task with room for ``room`` more tokens of context, for guidance outside of solutions.

        Raises:
            BudgetError: a problem does not fit into ``max_length`` then.
        """
        if room <= self.room:
            return self
        other = copy.copy(self)
        other.room = room
        other.length = self.length + room - self.room if self.max_length is None else other._measure()
        return other

    def with_end_tokens(self, tokens: Iterable[int]) -> Task:
        """Return the same task in which these tokens end an answer, too; itself where they were chosen or do already.

        Args:
            tokens: Token ids, such as those that the configuration of a model names. Ids that are no token of the
                tokenizer are left out: nobody can write them.

        Raises:
            ConfigurationError: an id is negative.
        """
        unused = set(self.unused_ids.tolist())
        ends = self.end_tokens | {int(token) for token in tokens if token < self.vocab_size and token not in unused}
        if self.fixed_ends or ends == self.end_tokens:
            return self
        other = copy.copy(self)
        other.end_tokens = other._check_ends(ends)
        other._answer_tokens = None
        other._stop_table = _stop_table(other.tokenizer, other.stop_strings, other.end_tokens)
        return other

    def _check_ends(self, tokens: Iterable[int]) -> frozenset[int]:
        ends = frozenset(int(token) for token in tokens)
        if not ends or min(ends) < 0 or max(ends) >= self.vocab_size or not ends.isdisjoint(self.unused_ids.tolist()):
            raise ConfigurationError(
                f"end_tokens={sorted(ends)} must hold ids of tokens in [0, {self.vocab_size}), at least one"
            )
        return ends

    def lookup(self, problem_id: str) -> EncodedProblem:
        """Return a problem of the source with its tokens; raises UnknownProblemError."""
        encoded = self._encoded.get(problem_id)
        return self.encode(self.source.get(problem_id)) if encoded is None else encoded

    def encode(self, problem: Problem) -> EncodedProblem:
        """Return the tokens of a problem. The solution is encoded once, as a whole.

        Raises:
            ConfigurationError: the prompt is empty, so that a policy would have nothing to start from.
        """
        encoded = self._encoded.get(problem.problem_id)
        if encoded is None:
            encoded = encode_problem(self.tokenizer, problem, self.frame)
            if not len(encoded.prompt_T):
                raise ConfigurationError(f"problem {problem.problem_id!r} must have a prompt of at least one token")
            if len(self._encoded) >= CACHE_SIZE:
                self._encoded.clear()
            self._encoded[problem.problem_id] = encoded
        return encoded

    def prepare(self, problem_ids: Sequence[str]) -> None:
        """Make the starts of unguided episodes of these problems, all at once; :meth:`start` then finds them.

        Raises:
            UnknownProblemError: the source does not know a problem.
        """
        fresh = [problem_id for problem_id in dict.fromkeys(problem_ids) if problem_id not in self._starts]
        problems = [self.source.get(problem_id) for problem_id in fresh]
        if len(self._starts) + len(fresh) > CACHE_SIZE:
            self._starts.clear()
        prompts = encode_prompts(self.tokenizer, [problem.prompt for problem in problems], self.frame)
        roles = np.zeros(max(map(len, prompts), default=0), np.int8)  # Role.PROMPT
        for problem_id, problem, prompt_T in zip(fresh, problems, prompts, strict=True):
            end = len(prompt_T)
            self._starts[problem_id] = Start(problem, prompt_T, roles[:end], end, 0, self.max_new_tokens, end)

    def longest(self, what: str) -> tuple[int, int]:
        """Return the most tokens and the most steps of a text that guidance may show; zeros where no problem has it.

        Args:
            what: ``solution``, or ``hint``, whose steps are its lines.
        """
        if what == "solution":
            return self.max_reveal, self.max_steps
        hints = [problem.hint for problem in self.source.longest()]
        if self.source.num_problems is None:  # see _measure
            tokens = max(len(hint.encode()) for hint in hints)
        else:
            tokens = max(len(encoding.ids) for encoding in encode_batch(self.tokenizer, hints))
        return tokens, max(len(hint.splitlines()) for hint in hints)

    def _measure(self) -> int:
        """Return L; refuse problems that do not fit and report boundaries that tokens would cross."""
        problems = list(self.source.longest())
        prompt = reveal = crossing = 0
        for first in range(0, len(problems), CHUNK):
            for problem, size in measure(self.tokenizer, problems[first : first + CHUNK], self.frame):
                self._check_fits(problem, size)
                prompt = max(prompt, size.prompt)
                reveal = max(reveal, size.revealable)
                crossing += size.crossing
        if crossing:
            warnings.warn(
                f"{crossing} of {len(problems)} prompts share a token with their solution under this tokenizer, "
                "so that a revealed context differs from the tokens of the joined text; "
                "end the prompt template with a line break to avoid it",
                stacklevel=2,
            )
        if self.source.num_problems is None:
            # Generated problems: any of them may split into more tokens than the sample, never into more than bytes.
            prompt, reveal = byte_bounds(problems, self.frame)
            prompt += begins_with_space(self.tokenizer)
        self.max_reveal = reveal
        self.max_steps = max(len(problem.steps) for problem in problems)
        length = prompt + reveal + self.max_new_tokens + self._reply_room + self.room
        return length if self.max_length is None else min(length, self.max_length)

    @property
    def _reply_room(self) -> int:
        """Tokens that replies may take in one episode."""
        return (self.max_tries - 1) * self.max_reply_tokens

    def _check_fits(self, problem: Problem, size: Size) -> None:
        if not size.prompt:
            raise ConfigurationError(f"problem {problem.problem_id!r} must have a prompt of at least one token")
        needed = size.prompt + size.revealable + self.max_new_tokens + self._reply_room + self.room
        if self.max_length is not None and needed > self.max_length:
            raise BudgetError(
                f"problem {problem.problem_id!r} is longer than the budget: prompt {size.prompt} + "
                f"revealable {size.revealable} + max_new_tokens {self.max_new_tokens} "
                + (f"+ replies {self._reply_room} " if self._reply_room else "")
                + (f"+ guidance outside of the solution {self.room} " if self.room else "")
                + f"= {needed} tokens "
                f"must not exceed max_length={self.max_length}"
            )

    # -- episodes ---------------------------------------------------------------------------------------------------

    def start(self, problem_id: str, amount: float = 0, plan: RevealPlan = NO_REVEAL) -> Start:
        """Return the start of an episode.

        Args:
            problem_id: The problem.
            amount: Length of its guidance in the unit of the plan, >= 0.
            plan: Unit, cap and place of the guidance. Guidance that the plan counts is taken off the budget, of which
                2 tokens always remain.

        Raises:
            UnknownProblemError: the source does not know the problem.
            ConfigurationError: its prompt is empty, or the amount breaks its rule.
            BudgetError: context and budget do not fit into the observation.
        """
        start = self._starts.get(problem_id)
        if start is None:
            self.prepare([problem_id])
            start = self._starts[problem_id]
        if amount or not start.prompt_length:  # an empty prompt is refused where problems are encoded
            start = self._guided_start(self.lookup(problem_id), amount, plan)
        if len(start.tokens_T) + start.budget + self._reply_room > self.length:
            raise BudgetError(
                f"problem {problem_id!r} is longer than the budget: {len(start.tokens_T)} tokens of context + "
                f"max_new_tokens {start.budget} must not exceed {self.length - self._reply_room}"
            )
        return start

    def _guided_start(self, encoded: EncodedProblem, amount: float, plan: RevealPlan) -> Start:
        context = plan.place.lay(encoded, plan.tokens(encoded, amount), self.tokenizer, self.frame)
        budget = max(2, self.max_new_tokens - context.answered) if plan.counted else self.max_new_tokens
        prompt = context.prompt_length
        return Start(encoded.problem, context.tokens_T, context.role_T, prompt, context.reveal_length, budget, prompt)

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
        encoded = self.lookup(problem_id)
        tokens = np.asarray(prefix, dtype=np.int32).reshape(-1)
        if tokens.size == 0 or tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ConfigurationError(f"prefix must hold token ids in [0, {self.vocab_size}), at least one")
        if roles is None:
            prompt_T = encoded.prompt_T
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
        replied_T = role_T == Role.ENVIRONMENT
        replies = int(replied_T[:1].sum() + (replied_T[1:] & ~replied_T[:-1]).sum())
        room = max(self.max_tries - 1 - replies, 0) * self.max_reply_tokens
        if budget < 1 or len(tokens) + budget + room > self.length:
            raise BudgetError(
                f"prefix of {len(tokens)} tokens is longer than the budget: {budget} of max_new_tokens="
                f"{self.max_new_tokens} are left to sample and all must fit into {self.length}"
            )
        # Only a task with replies grades tries; elsewhere environment tokens are a part of the completion.
        answer_start = int(np.flatnonzero(replied_T)[-1]) + 1 if replies and self.max_tries > 1 else prompt
        revealed = int((role_T == Role.REVEALED).sum())
        return Start(encoded.problem, tokens, role_T, prompt, revealed, budget, answer_start, 1 + replies)

    def reply_tokens(self, problem: Problem, completion: str, verdict: Verdict, tries: int) -> np.ndarray | None:
        """Return the reply to a finished try, int32 (T,), T >= 1; None ends the episode.

        Args:
            problem: The problem.
            completion: Text of the try.
            verdict: Its verdict.
            tries: Number of tries so far, this one included.
        """
        if self.reply is None or tries >= self.max_tries or verdict.correct or not verdict.valid:
            return None
        tokens_T, _ = encode(self.tokenizer, self.reply(problem, completion, verdict))
        return tokens_T[: self.max_reply_tokens] if len(tokens_T) else None

    @property
    def answer_tokens(self) -> np.ndarray:
        """bool (V,), tokens an answer may hold: all but special ones, of which only end tokens end an answer."""
        if self._answer_tokens is None:
            self._answer_tokens = np.ones(self.vocab_size, np.bool_)
            self._answer_tokens[self.tokenizer.all_special_ids] = False
            self._answer_tokens[self.unused_ids] = False
            self._answer_tokens[list(self.end_tokens)] = True
        return self._answer_tokens

    def may_stop(self, tokens: np.ndarray) -> np.ndarray:
        """Return for each token whether it could complete a stop string, bool (N,)."""
        return self._stop_table[tokens]

    def may_end(self) -> frozenset[int]:
        """Return the tokens that may end an answer: end tokens, and those that could complete a stop string."""
        return self.end_tokens | frozenset(np.flatnonzero(self._stop_table).tolist())

    def stops(self, answer_T: np.ndarray) -> bool:
        """Whether the last token of an answer completes a stop string; decodes a bounded tail only."""
        tail = answer_T[-(max(len(text.encode()) for text in self.stop_strings) + 1) :]
        return self._stop_start(tail)[1] is not None

    def _stop_start(self, answer_T: np.ndarray) -> tuple[str, int | None]:
        """Return the text of an answer, and the position of the first stop string that its last token completes."""
        # A character whose last byte is missing shows as U+FFFD and is not there yet.
        before = len(decode(self.tokenizer, answer_T[:-1]).rstrip("\ufffd"))
        text = decode(self.tokenizer, answer_T)
        starts = [text.find(stop, max(0, before - len(stop) + 1)) for stop in self.stop_strings]
        return text, min((start for start in starts if start >= 0), default=None)

    def completion(self, answer_T: np.ndarray, stopped: bool) -> str:
        """Return the text after the prompt, without the end token and cut at the stop string that ended it."""
        if stopped:
            text, start = self._stop_start(answer_T)
            return text[:start]
        if len(answer_T) and int(answer_T[-1]) in self.end_tokens:
            answer_T = answer_T[:-1]
        return decode(self.tokenizer, answer_T)

    def grade(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion; a verifier that raises gives ERROR verdicts, never wrong answers."""
        try:
            verdicts = list(self.verifier(problems, completions))
        except Exception as exception:
            if len(problems) > 1:  # one bad sample must not cost the batch
                return [self.grade([p], [c])[0] for p, c in zip(problems, completions, strict=True)]
            return [Verdict(Outcome.ERROR, message=f"{type(exception).__name__}: {exception}"[:500])]
        if len(verdicts) != len(problems):
            raise ConfigurationError(f"the verifier returned {len(verdicts)} verdicts for {len(problems)} completions")
        return verdicts


def load_task(task: Task | Callable[..., Task] | str, options: dict[str, Any]) -> Task:
    """Return a task: as given, or made with options by a callable or by what ``"module:Name"`` names.

    ``data`` is an option of every id; for a task that makes its own problems it must be None.

    Raises:
        ConfigurationError: the name cannot be imported, what it names is not called or returns no task, an option that
            it needs is missing, or a finished task is given options.
    """
    if isinstance(task, Task):
        if options:
            raise ConfigurationError(f"options {sorted(options)} must be given to the task itself")
        return task
    make = task_class(task)
    parameters = inspect.signature(make).parameters.values()
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        if "data" in options and "data" not in known:
            options = dict(options)
            data = options.pop("data")
            if data is not None:
                raise ConfigurationError(f"data={str(data)!r} must be None: the problems of {task} are generated")
    missing = [p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in options]
    if missing:
        raise ConfigurationError(f"task={task!r:.80} must be given {', '.join(missing)}: it has no default for that")
    made = make(**options)
    if not isinstance(made, Task):
        raise ConfigurationError(f"task={task!r:.80} must return a Task, got {type(made).__name__}")
    return made


def task_class(task: Callable[..., Task] | str) -> Callable[..., Task]:
    """Return what makes a task: itself, or the object that ``"module:Name"`` names; this imports the module.

    Raises:
        ConfigurationError: it cannot be imported, or is no callable.
    """
    make = load_object(task, "task") if isinstance(task, str) else task
    try:
        inspect.signature(make)
    except (TypeError, ValueError):  # no callable, or a built-in one
        raise ConfigurationError(
            f"task={task!r:.80} must be a Task, a callable that returns one, or module:Name of such a callable, got "
            f"an object of {type(make).__name__}"
        ) from None
    return make


def _stop_table(tokenizer: Any, stop_strings: tuple[str, ...], ends: frozenset[int]) -> np.ndarray:
    """Return bool (V,): tokens that can complete a stop string; incomplete UTF-8 pieces count as candidates.

    End tokens do not: their names are no text of the answer.
    """
    size = vocabulary_size(tokenizer)
    if not stop_strings:
        return np.zeros(size, np.bool_)
    last = {text[-1] for text in stop_strings} | {"\ufffd"}
    texts = [decode(tokenizer, np.array([i])) for i in range(size)]
    table = np.array([bool(last & set(text)) for text in texts])
    table[list(ends)] = False
    return table
