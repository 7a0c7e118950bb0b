"""TokenEnv: one problem, one token per step."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.errors import InvalidActionError, ResetNeededError
from g2rpo_env.lane import (
    Observation,
    Try,
    action_mask,
    action_rule,
    action_tokens,
    append_reply,
    check_options,
    check_render_mode,
    final_columns,
    first_of,
    grade_tries,
    load_source_state,
    reset_columns,
    reveal_amounts,
    source_state,
    token_spaces,
)
from g2rpo_env.problem import Problem
from g2rpo_env.render import RENDERERS
from g2rpo_env.reveal.plan import NO_REVEAL, RevealPlan
from g2rpo_env.streams import fresh_seed
from g2rpo_env.task import Start, Task, load_task


class TokenEnv(gym.Env[Observation, np.int64]):
    """A math or code problem, answered token by token.

    **Observation** ``Dict(tokens: Box int32 (L,), length: Box int32 (1,))``: the context, append-only up to
    ``length``; what lies beyond is 0 and means nothing. Read ``length``: a step may append more than one token.

    **Action** ``Discrete(V)``: the next token id, V the largest id and one; an id that is no token (few tokenizers have
    such) writes nothing. With ``vocabulary`` ``Discrete(A)``, an index into it. Observations hold token ids either way.

    **Reward** once, at the end of the episode: 1.0 if the final answer is right, else 0.0, unless the task documents
    otherwise.

    **Termination** the policy ended its answer, with one of :attr:`end_tokens` or a stop string. **Truncation** the
    budget of ``max_new_tokens`` sampled tokens is spent; such an answer is graded like any other. Never both.

    **Info** at reset: ``problem_id`` (str), ``group``, ``member``, ``prompt_length``, ``reveal_length`` (int).
    During an episode: empty. At its end: ``completion`` (text after the prompt, reveal included), ``correct`` (bool),
    ``valid`` (bool, False if the verifier failed) and ``verdict``. In a task with replies the completion is the last
    try.

    **Reset options** ``problem`` (id), ``reveal`` (length, in the unit of the guidance wrapper, tokens without one),
    ``prefix`` and ``prefix_roles`` (start from any tokens; nothing else is revealed then). A reset that fails changes
    nothing.

    Args:
        task: The task; or a callable that makes it from ``options``, or ``"module:Name"`` of such a callable.
        render_mode: ``"ansi"`` (``render()`` returns text), ``"human"`` (printed in colours), ``"rgb_array"`` (a frame
            of a video; needs the extra ``video``) or None.
        vocabulary: Reduces the actions to a few tokens, for algorithms with a small action space: a text, for its
            tokens and the end token, or token ids in the order of the actions.
        **options: Arguments of the task, unless it is made already.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    metadata = {"render_modes": list(RENDERERS), "render_fps": 4}

    def __init__(
        self,
        task: Task | Callable[..., Task] | str,
        *,
        render_mode: str | None = None,
        vocabulary: str | Sequence[int] | np.ndarray | None = None,
        **options: Any,
    ) -> None:
        check_render_mode(render_mode, self.metadata["render_modes"])
        self.task = load_task(task, options)
        self.render_mode = render_mode
        self.vocabulary = action_tokens(self.task, vocabulary)
        """int32 (A,), the token id of each action of a reduced vocabulary, or None."""
        self._actions = self.task.vocab_size if self.vocabulary is None else len(self.vocabulary)
        self.observation_space, self.action_space = token_spaces(self.task, self._actions)
        self.reveal_plan: RevealPlan | None = None
        """Guidance at the next resets; a guidance wrapper sets it."""
        self._problem: Problem | None = None
        self._root: Any = None
        self._group = 0
        self._running = False
        self._may_end = self.task.may_end()
        self._tokens, self._roles = self._allocate()
        self._length = 0
        self._shown_length = np.zeros(1, np.int32)  # (1,), as observations have it
        self._budget = 0
        self._answer_start = 0
        self._tries = 1

    def _allocate(self) -> tuple[np.ndarray, np.ndarray]:
        """Return room for the tokens of the longest context, int32 (L,), and for their roles, int8 (L,)."""
        return np.zeros(self.task.length, np.int32), np.zeros(self.task.length, np.int8)

    def make_room(self, room: int) -> None:
        """Lengthen the context by up to ``room`` tokens, for guidance outside of solutions; ends a running episode.

        Raises:
            BudgetError: see :meth:`g2rpo_env.task.Task.with_room`.
        """
        task = self.task.with_room(room)
        if task is not self.task:
            self.task, self._running = task, False
            self.observation_space, self.action_space = token_spaces(task, self._actions)
            self._tokens, self._roles = self._allocate()

    @property
    def end_tokens(self) -> frozenset[int]:
        """Token ids of which each ends an answer: those of the task, and those that were added."""
        return self.task.end_tokens

    def add_end_tokens(self, tokens: Iterable[int]) -> None:
        """Let these token ids end an answer, too, from the next step on; a rollout does so with those of its policy.

        Nothing changes where the end tokens of the task were chosen.

        Raises:
            ConfigurationError: an id is negative.
        """
        self.task = self.task.with_end_tokens(tokens)
        self._may_end = self.task.may_end()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the task."""
        return self.task.tokenizer

    @property
    def problem(self) -> Problem:
        """The problem of the current episode.

        Raises:
            ResetNeededError: there was no reset yet.
        """
        if self._problem is None:
            raise ResetNeededError("problem needs an episode: call reset() first")
        return self._problem

    @property
    def context(self) -> np.ndarray:
        """int32 (length,), the tokens so far (a copy)."""
        return self._tokens[: self._length].copy()

    @property
    def roles(self) -> np.ndarray:
        """int8 (length,), the Role of every token of the context (a copy)."""
        return self._roles[: self._length].copy()

    def action_masks(self) -> np.ndarray:
        """Return the actions that make sense now, bool (A,): all tokens but special ones that end no answer.

        Made on demand, so that nobody pays for a mask per step who does not use it. The name is that of sb3-contrib.
        """
        return action_mask(self.task, self.vocabulary)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the next problem of the seeded order unless ``options`` name one.

        Raises:
            ConfigurationError: an option breaks its rule.
            UnknownProblemError: the source does not know ``options["problem"]``.
        """
        super().reset(seed=None if seed is None else int(seed))
        root, group = self._root, self._group
        if seed is not None or root is None:
            root, group = (fresh_seed() if seed is None else int(seed)), 0
        options = options or {}
        check_options(options, ("problem", "reveal", "prefix", "prefix_roles"))
        start = self._start(root, group, options)
        self._root, self._group = root, group + 1
        self._problem, self._budget = start.problem, start.budget
        self._answer_start, self._tries = start.answer_start, start.tries
        self._length = len(start.tokens_T)
        self._tokens[:] = 0
        self._tokens[: self._length] = start.tokens_T
        self._roles[: self._length] = start.role_T
        self._roles[self._length :] = Role.SAMPLED  # so that a step has no role to write
        self._running = True
        if self.render_mode == "human":
            self.render()
        return self._observation(), first_of(reset_columns([start], [group], [0]))

    def _start(self, root: int, group: int, options: dict[str, Any]) -> Start:
        given = options.get("problem")
        problem_id = self.task.source.draw(root, group) if given is None else str(given)
        if options.get("prefix") is not None:
            return self.task.start_from_prefix(problem_id, options["prefix"], options.get("prefix_roles"))
        amount = options.get("reveal")
        given_N = None if amount is None else [float(amount)]
        amounts = reveal_amounts(self.reveal_plan, root, 1, [problem_id], [group], [0], given_N)
        return self.task.start(problem_id, amounts[0], self.reveal_plan or NO_REVEAL)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append one token, and in a task with replies what the environment says to a wrong answer.

        Raises:
            ResetNeededError: no episode is running.
            InvalidActionError: ``action`` is no token id.
        """
        if not self._running:
            raise ResetNeededError("step() needs a running episode: call reset() first, and after every episode's end")
        try:
            token = operator.index(action)  # not int(), which takes 2.7 for 2
        except TypeError:
            token = -1
        if not 0 <= token < self._actions:
            rule = action_rule(self.vocabulary)
            raise InvalidActionError(f"action={action!r} must be {rule} in [0, {self._actions})")
        if self.vocabulary is not None:
            token = int(self.vocabulary[token])
        self._tokens[self._length] = token
        self._length += 1
        self._budget -= 1
        terminated, truncated, reward = False, False, 0.0
        info: dict[str, Any] = {}
        if not self._budget or token in self._may_end:
            terminated, truncated, reward, info = self._end_try(token)
        if self.render_mode == "human":
            self.render()
        return self._observation(), reward, terminated, truncated, info

    def _end_try(self, token: int) -> tuple[bool, bool, float, dict[str, Any]]:
        """Return flags, reward and info after a token that may have ended the try, or that spent the budget."""
        task = self.task
        answer_T = self._tokens[self._answer_start : self._length]
        ended = token in task.end_tokens
        stopped = not ended and token in self._may_end and task.stops(answer_T)
        terminated = stopped or ended
        if not terminated and self._budget:
            return False, False, 0.0, {}
        graded = grade_tries(task, [Try(self.problem, answer_T, stopped, self._tries, self._budget > 0)])[0]
        if graded.reply_T is not None:
            self._length = append_reply(self._tokens, self._roles, self._length, graded.reply_T)
            self._answer_start = self._length
            self._tries += 1
            return False, False, 0.0, {}
        self._running = False
        return terminated, not terminated, graded.verdict.reward, first_of(final_columns([graded]))

    def _observation(self) -> Observation:
        # Fresh arrays: both environment checkers refuse observations that share memory between steps.
        self._shown_length[0] = self._length
        return {"tokens": self._tokens.copy(), "length": self._shown_length.copy()}

    def render(self) -> Any:
        """Return or show the context: see ``render_mode``, and :mod:`g2rpo_env.render` for what it looks like.

        Raises:
            MissingDependencyError: ``rgb_array`` without Pillow.
        """
        if self.render_mode is None:
            gym.logger.warn("render() needs a render_mode when the environment is made")
            return None
        return RENDERERS[self.render_mode](self.tokenizer, self.context, self.roles)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the seeded order of problems, between episodes."""
        return {"root": self._root, "group": self._group, **source_state(self.task)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position; the next ``reset()`` draws the problem that would have come next."""
        self._root, self._group = state["root"], state["group"]
        load_source_state(self.task, state)
        self._running = False
