"""TokenVectorEnv: all lanes in one array, P problems x G members, finished lanes verified together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, InvalidActionError, ResetNeededError
from g2rpo_env.group_order import GroupOrder
from g2rpo_env.lane import (
    Columns,
    Graded,
    Observation,
    Try,
    action_mask,
    action_rule,
    action_tokens,
    append_reply,
    check_options,
    check_render_mode,
    final_columns,
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
from g2rpo_env.task import Start, Task, load_task

NEVER = np.iinfo(np.int64).max

UNSIGNED = {np.dtype(f"{kind}{size}"): np.dtype(f"u{size}") for kind in "iu" for size in (1, 2, 4, 8)}
"""Integer type -> the unsigned type of its size."""

LANE_OPTIONS = ("reset_mask", "problem", "group", "member", "reveal", "prefix", "prefix_roles")


class TokenVectorEnv(gym.vector.VectorEnv[Observation, np.ndarray, np.ndarray]):
    """N lanes of one task, stepped as arrays; spaces, rewards and infos as in TokenEnv, batched.

    Lanes form groups of ``group_size``: the members of a group work on one problem. ``group`` (increasing int) and
    ``member`` (0..G-1) in the reset info say who is who; never compute them from the lane.

    **Autoreset.** ``DISABLED`` (default for group_size > 1): flags and final info of an episode appear on exactly one
    step; from then on its lane waits, returns reward 0, both flags False and an unchanged observation, and its actions
    are ignored. ``active`` says who runs. ``NEXT_STEP`` (default for group_size 1) and ``SAME_STEP`` are Gymnasium's.

    **Reset options**, each per lane: ``reset_mask`` (bool (N,), only these lanes start again), ``problem`` (ids, None
    for lanes that are not reset), ``group`` (numbers from :meth:`take_groups`, for lanes that start members of groups
    drawn before), ``member`` (ints), ``reveal`` (lengths in the unit of the guidance wrapper; NaN or None = as
    planned), ``prefix`` and ``prefix_roles`` (lists of token arrays, None = none). A scalar holds for all lanes. A mask
    that splits a group needs ``problem`` or ``group``. A lane reset with problem and member joins the newest group of
    that problem since the last reset of all lanes that still lacks the member, otherwise it opens a group. Options are
    never changed. A reset that fails changes nothing.

    Args:
        task: The task; or a callable that makes it from ``options``, or ``"module:Name"`` of such a callable.
        num_envs: Number of lanes N.
        group_size: Members per group G; must divide N.
        autoreset_mode: See above.
        copy: True returns copies of the observation arrays, False views that the next step changes.
        render_mode: ``"ansi"``, ``"rgb_array"`` (needs the extra ``video``) or None; ``render()`` gives one per lane.
        vocabulary: Reduces the actions to a few tokens, see TokenEnv.
        rank: This process among ``world_size``; each draws its own groups, and a group never spans ranks.
        world_size: Number of processes.
        **options: Arguments of the task, unless it is made already.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        task: Task | Callable[..., Task] | str,
        num_envs: int = 1,
        *,
        group_size: int = 1,
        autoreset_mode: AutoresetMode | str | None = None,
        copy: bool = True,
        render_mode: str | None = None,
        vocabulary: str | Sequence[int] | np.ndarray | None = None,
        rank: int = 0,
        world_size: int = 1,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise ConfigurationError(f"num_envs={num_envs} must be at least 1")
        if group_size < 1 or num_envs % group_size:
            raise ConfigurationError(f"group_size={group_size} must divide num_envs={num_envs}")
        self._order = GroupOrder(group_size, rank, world_size)
        check_render_mode(render_mode, self.metadata["render_modes"])
        self.task = load_task(task, options)
        self.num_envs, self.group_size = num_envs, group_size
        self.autoreset_mode = _autoreset_mode(autoreset_mode, group_size)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.copy, self.render_mode = copy, render_mode
        self.rank, self.world_size = rank, world_size
        self.vocabulary = action_tokens(self.task, vocabulary)
        """int32 (A,), the token id of each action of a reduced vocabulary, or None."""
        self._actions = self.task.vocab_size if self.vocabulary is None else len(self.vocabulary)
        self._ends = _end_table(self.task)
        self.reveal_plan: RevealPlan | None = None
        """Guidance at the next resets, autoreset included; a guidance wrapper sets it."""
        self.single_observation_space, self.single_action_space = token_spaces(self.task, self._actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        # A step costs a handful of array operations, whatever the number of lanes and whoever waits: every lane writes
        # at its cursor, and that of a waiting lane stands on a spare cell behind the last row and does not move.
        self._cells, self._roles = self._allocate()
        self._spare = len(self._cells) - 1
        self._cursor = np.full(num_envs, self._spare)  # int64 (N,), the cell that a lane writes next
        self._advance = np.zeros(num_envs, np.int64)  # (N,), 1 for running lanes, 0 for waiting ones
        self._shown_length = np.zeros((num_envs, 1), np.int32)  # (N, 1), as observations have it
        self._tokens, self._length = self._make_views()
        self._answer_start = [0] * num_envs
        self._tries = [1] * num_envs
        # A budget is spent when the clock strikes the lane's deadline: one comparison a step for all lanes.
        self._clock = 0
        self._deadline = np.full(num_envs, NEVER, np.int64)  # (N,)
        self._next_deadline = NEVER
        self._active = np.zeros(num_envs, np.bool_)  # (N,)
        self._autoreset_next: list[int] = []
        self._problems: list[Problem | None] = [None] * num_envs
        self._all_lanes = np.arange(num_envs)  # (N,)

    def _allocate(self) -> tuple[np.ndarray, np.ndarray]:
        """Return room for the tokens of all lanes and a spare cell, int32 (N L + 1,), and for their roles."""
        lanes, length = self.num_envs, self.task.length
        # Whatever stands behind the start of an episode was sampled, so that a step has no role to write.
        return np.zeros(lanes * length + 1, np.int32), np.full((lanes, length), Role.SAMPLED, np.int8)  # roles (N, L)

    def make_room(self, room: int) -> None:
        """Lengthen the contexts by up to ``room`` tokens, for guidance outside of solutions; ends running episodes.

        Raises:
            BudgetError: see :meth:`g2rpo_env.task.Task.with_room`.
        """
        task = self.task.with_room(room)
        if task is not self.task:
            self.task = task
            self.single_observation_space, self.single_action_space = token_spaces(task, self._actions)
            self.observation_space = batch_space(self.single_observation_space, self.num_envs)
            self._cells, self._roles = self._allocate()
            self._spare = len(self._cells) - 1
            self._tokens, self._length = self._make_views()
            self._stand_still()

    def _make_views(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of each lane, int32 (N, L), and their number, int32 (N,), as views."""
        return self._cells[: self._spare].reshape(self.num_envs, -1), self._shown_length[:, 0]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and deepcopy: without the views, which would become arrays of their own."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_tokens", "_length")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state of :meth:`__getstate__`."""
        self.__dict__.update(state)
        self._tokens, self._length = self._make_views()

    # -- what callers read ------------------------------------------------------------------------------------------

    @property
    def end_tokens(self) -> frozenset[int]:
        """Token ids of which each ends an answer, see TokenEnv."""
        return self.task.end_tokens

    def add_end_tokens(self, tokens: Iterable[int]) -> None:
        """Let these token ids end an answer, too, from the next step on, see TokenEnv.

        Raises:
            ConfigurationError: an id is negative.
        """
        self.task = self.task.with_end_tokens(tokens)
        self._ends = _end_table(self.task)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the task."""
        return self.task.tokenizer

    @property
    def active(self) -> np.ndarray:
        """bool (N,), lanes with a running episode (a copy)."""
        return self._active.copy()

    @property
    def roles(self) -> np.ndarray:
        """int8 (N, L), the Role of every token; meaningless beyond each lane's length (a copy)."""
        return self._roles.copy()

    def action_masks(self) -> np.ndarray:
        """Return the actions that make sense now, bool (N, A), see TokenEnv; made on demand."""
        return np.tile(action_mask(self.task, self.vocabulary), (self.num_envs, 1))

    @property
    def root_seed(self) -> Any:
        """Root seed of all streams of this environment."""
        return self._order.root

    def problems(self, numbers: Sequence[int]) -> list[str]:
        """Return the problem ids of groups, before or after they are reset.

        Args:
            numbers: Numbers from :meth:`take_groups`, or of groups that a reset took.

        Raises:
            ConfigurationError: a number is of no group that was taken since the last seed.
        """
        numbers = [int(number) for number in numbers]
        self._order.check_taken(numbers, "numbers")
        return self._order.problems(self.task, numbers)

    def episode_tokens(self, lane: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens_T (int32) and role_T (int8) of one lane's context, as copies."""
        end = self._length[lane]
        return self._tokens[lane, :end].copy(), self._roles[lane, :end].copy()

    # -- reset ------------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start episodes in all lanes, or in those of ``options["reset_mask"]``.

        Raises:
            ConfigurationError: an option breaks its rule, or a mask splits a group without ``problem``.
            UnknownProblemError: the source does not know a problem.
        """
        options = options or {}
        check_options(options, LANE_OPTIONS)
        lanes = self._select_lanes(options.get("reset_mask"))
        before = self._order.state_dict()
        try:
            self._reseed(seed)
            if options.get("reset_mask") is None:
                self._order.close_all()
            starts, groups, members = self._plan_starts(lanes, options)
        except Exception:
            self._order.load_state_dict(before)
            raise
        info = self._begin(lanes, starts, groups, members)
        return self._observation(), info

    def take_groups(self, count: int, *, seed: int | Sequence[int] | None = None) -> list[int]:
        """Take the next groups out of the seeded order and return their numbers, for ``options["group"]`` of resets.

        Their members may start in any lane at any time, so that there can be more of them than lanes; nobody else gets
        these groups.

        Args:
            count: How many, >= 1.
            seed: New root seed; None continues.

        Raises:
            ConfigurationError: ``count`` is below 1, or the seed negative.
        """
        if count < 1:
            raise ConfigurationError(f"count={count} must be at least 1")
        self._reseed(seed)
        return [self._order.take() for _ in range(count)]

    def _reseed(self, seed: int | Sequence[int] | None) -> None:
        if seed is None and self._order.root is not None:
            return
        self._order.reseed(seed)
        root = self._order.root
        self._np_random, self._np_random_seed = seeding.np_random(root if isinstance(root, int) else None)

    def _select_lanes(self, mask: Any) -> np.ndarray:
        if mask is None:
            return self._all_lanes
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ConfigurationError(
                f"options['reset_mask'] must be a bool array of shape ({self.num_envs},) with at least one True, "
                f"got shape {mask.shape} and dtype {mask.dtype}"
            )
        return np.flatnonzero(mask)

    def _plan_starts(self, lanes: np.ndarray, options: dict[str, Any]) -> tuple[list[Start], list[int], list[int]]:
        problems = self._per_lane(options, "problem", lanes)
        numbers = self._per_lane(options, "group", lanes)
        if numbers is not None:
            if problems is not None:
                raise ConfigurationError("options['group'] must come without options['problem']: a group has its own")
            problem_ids, groups, members = self._resume_groups(lanes, numbers, self._per_lane(options, "member", lanes))
        elif problems is None:
            problem_ids, groups, members = self._draw_groups(lanes)
        else:
            problem_ids, groups, members = self._join_groups(lanes, problems, self._per_lane(options, "member", lanes))
        if not options and self.reveal_plan is None:
            return [self.task.start(problem_id, 0) for problem_id in problem_ids], groups, members
        prefixes = self._per_lane(options, "prefix", lanes)
        prefix_roles = self._per_lane(options, "prefix_roles", lanes)
        given = self._per_lane(options, "reveal", lanes)
        if given is not None:
            given = [None if amount is None or np.isnan(amount) else float(amount) for amount in given]
        amounts = reveal_amounts(
            self.reveal_plan, self._order.root, self.group_size, problem_ids, groups, members, given
        )
        plan, starts = self.reveal_plan or NO_REVEAL, []
        for i, problem_id in enumerate(problem_ids):
            if prefixes is not None and prefixes[i] is not None:
                roles = None if prefix_roles is None else prefix_roles[i]
                starts.append(self.task.start_from_prefix(problem_id, prefixes[i], roles))
            else:
                starts.append(self.task.start(problem_id, amounts[i], plan))
        return starts, groups, members

    def _per_lane(self, options: dict[str, Any], key: str, lanes: np.ndarray) -> list[Any] | None:
        """Return the option for the lanes that are reset; scalars (and strings) hold for every lane."""
        value = options.get(key)
        if value is None:
            return None
        if isinstance(value, str) or np.isscalar(value):
            return [value] * len(lanes)
        if len(value) != self.num_envs:
            raise ConfigurationError(
                f"options[{key!r}] must have one entry per lane, {self.num_envs}, got {len(value)}"
            )
        return [value[lane] for lane in lanes]

    def _draw_groups(self, lanes: np.ndarray) -> tuple[list[str], list[int], list[int]]:
        """Take the next groups of the seeded order for whole groups of lanes."""
        size = self.group_size
        if size == 1:
            groups = [self._order.take() for _ in lanes]
            return self._order.problems(self.task, groups), groups, [0] * len(groups)
        blocks, counts = np.unique(lanes // size, return_counts=True)
        if (counts != size).any():
            raise ConfigurationError(
                f"options['reset_mask'] splits a group of group_size={size}: give options['problem'] (and 'member') "
                "for the lanes, or mask whole groups"
            )
        number = {block: self._order.take() for block in blocks.tolist()}
        groups = [number[lane // size] for lane in lanes.tolist()]
        return self._order.problems(self.task, groups), groups, [lane % size for lane in lanes.tolist()]

    def _join_groups(
        self, lanes: np.ndarray, problems: list[Any], members: list[Any] | None
    ) -> tuple[list[str], list[int], list[int]]:
        missing = [int(lane) for lane, p in zip(lanes, problems, strict=True) if p is None]
        if missing:
            raise ConfigurationError(f"options['problem'] is None for lane {missing[0]}, which is to be reset")
        problem_ids = [str(problem) for problem in problems]
        members = self._check_members(lanes, members)
        groups = [self._order.join(p, m) for p, m in zip(problem_ids, members, strict=True)]
        return problem_ids, groups, members

    def _resume_groups(
        self, lanes: np.ndarray, numbers: list[Any], members: list[Any] | None
    ) -> tuple[list[str], list[int], list[int]]:
        groups = [int(number) for number in numbers]
        self._order.check_taken(groups, "options['group']")
        members = self._check_members(lanes, members)
        return self._order.problems(self.task, groups), groups, members

    def _check_members(self, lanes: np.ndarray, members: list[Any] | None) -> list[int]:
        if members is None:
            return [int(lane) % self.group_size for lane in lanes]
        members = [int(member) for member in members]
        bad = [m for m in members if not 0 <= m < self.group_size]
        if bad:
            raise ConfigurationError(f"options['member']={bad[0]} must lie in [0, group_size={self.group_size})")
        return members

    def _begin(self, lanes: np.ndarray, starts: list[Start], groups: list[int], members: list[int]) -> dict[str, Any]:
        for lane, before, start in zip(lanes.tolist(), self._length[lanes].tolist(), starts, strict=True):
            end = len(start.tokens_T)
            tokens_T, role_T = self._tokens[lane], self._roles[lane]
            # Nothing was written behind the last episode, so that a restart need not touch the whole row.
            tokens_T[end:before] = 0
            role_T[end:before] = Role.SAMPLED
            tokens_T[:end] = start.tokens_T
            role_T[:end] = start.role_T
            self._length[lane] = end
            self._cursor[lane] = lane * self.task.length + end
            self._deadline[lane] = self._clock + start.budget
            self._answer_start[lane], self._tries[lane] = start.answer_start, start.tries
            self._problems[lane] = start.problem
        self._active[lanes] = True
        self._advance[lanes] = 1
        self._next_deadline = min(self._next_deadline, self._clock + min(start.budget for start in starts))
        if self._autoreset_next:
            self._autoreset_next = [lane for lane in self._autoreset_next if not self._active[lane]]
        return self._batch_info(lanes, reset_columns(starts, groups, members))

    # -- step -------------------------------------------------------------------------------------------------------

    def step(self, actions: Any) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Append one token to every running lane.

        Raises:
            ResetNeededError: the environment was never reset.
            InvalidActionError: the action of a running lane is no token id.
        """
        tokens = self._check_actions(actions)
        restart = self._autoreset_next  # NEXT_STEP: these lanes ignore their action and start again
        self._cells[self._cursor] = tokens
        self._cursor += self._advance
        self._length += self._advance
        self._clock += 1
        reward = np.zeros(self.num_envs)  # (N,)
        terminations = np.zeros(self.num_envs, np.bool_)  # (N,)
        truncations = np.zeros(self.num_envs, np.bool_)  # (N,)
        info: dict[str, Any] = {}
        ends = tokens == self._ends if isinstance(self._ends, int) else self._ends[tokens]
        if np.count_nonzero(ends) or self._clock >= self._next_deadline:
            info = self._end_tries(ends, tokens, reward, terminations, truncations)
        elif self.task.stop_strings:
            candidates = self.task.may_stop(tokens)
            if np.count_nonzero(candidates):
                info = self._end_tries(ends, tokens, reward, terminations, truncations)
        if restart:
            info = self._restart(np.array(restart)) | info  # reset keys and final keys are disjoint
        return self._observation(), reward, terminations, truncations, info

    def _check_actions(self, actions: Any) -> np.ndarray:
        """Return the token ids of some actions, (N,); those of waiting lanes do not matter."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise InvalidActionError(f"actions must have shape ({self.num_envs},), got {actions.shape}")
        unsigned = UNSIGNED.get(actions.dtype)
        if unsigned is None:
            raise InvalidActionError(f"actions must hold token ids, integers, got dtype {actions.dtype}")
        if self._order.root is None:
            raise ResetNeededError("step() needs running episodes: call reset() first")
        # One reduction finds both kinds of bad ids: seen as unsigned, negative ones are huge.
        if np.maximum.reduce(actions.view(unsigned)) >= self._actions:
            bad = self._active & ((actions < 0) | (actions >= self._actions))
            if bad.any():
                lane = int(bad.argmax())
                raise InvalidActionError(
                    f"action={int(actions[lane])} of lane {lane} must be {action_rule(self.vocabulary)} "
                    f"in [0, {self._actions})"
                )
            actions = np.where(self._active, actions, 0)
        return actions if self.vocabulary is None else self.vocabulary[actions]

    def _end_tries(
        self,
        ends: np.ndarray,
        tokens: np.ndarray,
        reward: np.ndarray,
        terminations: np.ndarray,
        truncations: np.ndarray,
    ) -> dict[str, Any]:
        """Find the lanes whose try ended, grade them in one call and write their rewards and flags; return the info."""
        ends = ends & self._active
        stopped = self._find_stopped(tokens) if self.task.stop_strings else []
        ends[stopped] = True
        over = ends
        if self._clock >= self._next_deadline:
            spent = self._deadline <= self._clock
            self._next_deadline = int(np.min(self._deadline, where=~spent, initial=NEVER))
            over = ends | spent
        lanes = over.nonzero()[0].tolist()
        if not lanes:
            return {}
        graded = grade_tries(self.task, [self._try(lane, lane in stopped) for lane in lanes])
        if self.task.reply is not None:
            lanes, graded = self._go_on(lanes, graded)
            if not lanes:
                return {}
        done = np.array(lanes)  # (M,)
        terminations[done] = ends[done]
        truncations[done] = ~ends[done]
        reward[done] = [one.verdict.reward for one in graded]
        return self._finish(done, graded)

    def _go_on(self, lanes: list[int], graded: list[Graded]) -> tuple[list[int], list[Graded]]:
        """Append the replies to wrong tries and return the lanes that got none, with their grades."""
        over = []
        for lane, one in zip(lanes, graded, strict=True):
            if one.reply_T is None:
                over.append((lane, one))
            else:
                self._append_reply(lane, one.reply_T)
        return [lane for lane, _ in over], [one for _, one in over]

    def _find_stopped(self, tokens: np.ndarray) -> list[int]:
        """Return the running lanes whose new token completed a stop string."""
        candidates = self.task.may_stop(tokens)
        lanes = np.flatnonzero(candidates & self._active).tolist()
        return [lane for lane in lanes if self.task.stops(self._answer(lane))]

    def _answer(self, lane: int) -> np.ndarray:
        """Return the tokens of the running try of a lane, int32 (T,), a view."""
        return self._tokens[lane, self._answer_start[lane] : self._length[lane]]

    def _try(self, lane: int, stopped: bool) -> Try:
        problem = self._problems[lane]
        assert problem is not None  # the lane has started
        may_go_on = self.task.reply is not None and bool(self._deadline[lane] > self._clock)
        return Try(problem, self._answer(lane), stopped, self._tries[lane], may_go_on)

    def _append_reply(self, lane: int, reply_T: np.ndarray) -> None:
        end = append_reply(self._tokens[lane], self._roles[lane], int(self._length[lane]), reply_T)
        self._length[lane] = end
        self._cursor[lane] += len(reply_T)
        self._answer_start[lane] = end
        self._tries[lane] += 1

    def _finish(self, lanes: np.ndarray, graded: list[Graded]) -> dict[str, Any]:
        """End or restart finished lanes; return the info of this step."""
        self._active[lanes] = False
        self._advance[lanes] = 0
        self._cursor[lanes] = self._spare
        self._deadline[lanes] = NEVER
        final = self._batch_info(lanes, final_columns(graded))
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            final_obs = np.full(self.num_envs, None, dtype=object)  # (N,), observations of single lanes
            for lane in lanes:
                final_obs[lane] = self._lane_observation(lane)
            mask = self._mask(lanes)
            ended = {"final_obs": final_obs, "_final_obs": mask, "final_info": final, "_final_info": mask.copy()}
            return {**ended, **self._restart(lanes)}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._autoreset_next = lanes.tolist()
        return final

    def _restart(self, lanes: np.ndarray) -> dict[str, Any]:
        starts, groups, members = self._plan_starts(lanes, {})
        return self._begin(lanes, starts, groups, members)

    # -- info and observation ---------------------------------------------------------------------------------------

    def _batch_info(self, lanes: np.ndarray, columns: Columns) -> dict[str, Any]:
        """Return Gymnasium's batched info: per key an array over all lanes and a mask of who has it.

        Args:
            lanes: Who has it, ints (M,).
            columns: Key -> type, and the values of these lanes, M of them.
        """
        info: dict[str, Any] = {}
        mask = self._mask(lanes)
        for key, (dtype, values) in columns.items():
            if dtype is object:
                column = np.empty(self.num_envs, object)  # (N,), None
                for lane, value in zip(lanes.tolist(), values, strict=True):
                    column[lane] = value
            else:
                column = np.zeros(self.num_envs, dtype)  # (N,)
                column[lanes] = values
            info[key], info[f"_{key}"] = column, mask.copy()
        return info

    def _mask(self, lanes: np.ndarray) -> np.ndarray:
        mask = np.zeros(self.num_envs, np.bool_)  # (N,)
        mask[lanes] = True
        return mask

    def _observation(self) -> Observation:
        if self.copy:
            return {"tokens": self._tokens.copy(), "length": self._shown_length.copy()}
        return {"tokens": self._tokens, "length": self._shown_length}

    def _lane_observation(self, lane: int) -> Observation:
        return {
            "tokens": self._tokens[lane].copy(),
            "length": np.array([self._length[lane]], np.int32),
        }

    def render(self) -> tuple[Any, ...] | None:
        """Return one text (``ansi``) or one frame (``rgb_array``) for each lane, as TokenEnv would.

        Raises:
            MissingDependencyError: ``rgb_array`` without Pillow.
        """
        if self.render_mode is None:
            return None
        picture = RENDERERS[self.render_mode]
        return tuple(picture(self.tokenizer, *self.episode_tokens(lane)) for lane in range(self.num_envs))

    # -- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the seeded order of problems, between episodes."""
        return {**self._order.state_dict(), **source_state(self.task)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position; the next ``reset()`` draws the groups that would have come next."""
        self._order.load_state_dict(state)
        load_source_state(self.task, state)
        self._stand_still()

    def _stand_still(self) -> None:
        """Let no lane run."""
        self._active[:] = False
        self._advance[:] = 0
        self._cursor[:] = self._spare
        self._deadline[:] = NEVER
        self._autoreset_next = []


def _end_table(task: Task) -> int | np.ndarray:
    """Return the end token where there is one, which is quicker to compare with; else which tokens are, bool (V,)."""
    if len(task.end_tokens) == 1:
        return next(iter(task.end_tokens))
    table = np.zeros(task.vocab_size, np.bool_)
    table[list(task.end_tokens)] = True
    return table


def _autoreset_mode(mode: AutoresetMode | str | None, group_size: int) -> AutoresetMode:
    if mode is None:
        return AutoresetMode.DISABLED if group_size > 1 else AutoresetMode.NEXT_STEP
    try:
        # by value ("NextStep") or by name ("NEXT_STEP")
        chosen = AutoresetMode.__members__.get(str(mode)) or AutoresetMode(mode)
    except ValueError:
        names = ", ".join(AutoresetMode.__members__)
        raise ConfigurationError(f"autoreset_mode={mode!r} must be one of {names}") from None
    if group_size > 1 and chosen is not AutoresetMode.DISABLED:
        raise ConfigurationError(
            f"autoreset_mode={chosen.name} must be DISABLED for group_size={group_size}: a lane that restarts by "
            "itself would begin a second episode inside its group"
        )
    return chosen
