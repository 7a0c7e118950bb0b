"""TokenVectorEnv: all lanes in one array, P problems x G members, finished lanes verified together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from g2rpo_env.core import (
    Observation,
    action_mask,
    action_rule,
    action_tokens,
    check_options,
    check_render_mode,
    load_source_state,
    source_state,
    token_spaces,
)
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, InvalidActionError, ResetNeededError
from g2rpo_env.problem import Problem
from g2rpo_env.render import RENDERERS
from g2rpo_env.reveal.plan import NO_REVEAL, RevealPlan
from g2rpo_env.streams import fresh_seed
from g2rpo_env.task import Start, Task, load_task
from g2rpo_env.verdict import Verdict

NEVER = np.iinfo(np.int64).max

AHEAD = 256
"""So many groups are drawn ahead at most."""

MANY = 16_384
"""With more problems than this in store, all are drawn again as they are needed."""

OpenGroups = dict[str, list[tuple[int, set[int]]]]

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
        task: The task, or ``"module:Name"`` of one that is built from ``options``.
        num_envs: Number of lanes N.
        group_size: Members per group G; must divide N.
        autoreset_mode: See above.
        copy: True returns copies of the observation arrays, False views that the next step changes.
        render_mode: ``"ansi"``, ``"rgb_array"`` (needs the extra ``video``) or None; ``render()`` gives one per lane.
        vocabulary: Reduces the actions to a few tokens, see TokenEnv.
        rank: This process among ``world_size``; each draws its own groups, and a group never spans ranks.
        world_size: Number of processes.
        **options: Arguments of the task, if it is given by name.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        task: Task | str,
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
        if not 0 <= rank < world_size:
            raise ConfigurationError(f"rank={rank} must lie in [0, world_size={world_size})")
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
        self.reveal_plan: RevealPlan | None = None
        """What is revealed at the next resets, autoreset included; a guidance wrapper sets it."""
        self._root: Any = None
        self._counter = 0
        self._shown_length = np.zeros((num_envs, 1), np.int32)
        self._advance = np.zeros(num_envs, np.int64)
        self._allocate()
        self._answer_start = [0] * num_envs
        self._tries = [1] * num_envs
        # A budget is spent when the clock strikes the lane's deadline: one comparison a step for all lanes.
        self._clock = 0
        self._deadline = np.full(num_envs, NEVER, np.int64)
        self._next_deadline = NEVER
        self._active = np.zeros(num_envs, np.bool_)
        self._autoreset_next: list[int] = []
        self._problems: list[Problem | None] = [None] * num_envs
        self._all_lanes = np.arange(num_envs)
        # Problems of groups, drawn ahead: a pure function of the source and the root seed.
        self._ahead: dict[int, str] = {}
        self._ahead_of: tuple[Any, Any] = (None, None)
        # Groups opened by explicit resets that may still take members: problem -> [(group, members started), ...].
        self._open: OpenGroups = {}

    def _allocate(self) -> None:
        """Make what depends on the length of the context."""
        self.single_observation_space, self.single_action_space = token_spaces(self.task, self._actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        # A step costs a handful of array operations, whatever the number of lanes and whoever waits: every lane writes
        # at its cursor, and that of a waiting lane stands on a spare cell behind the last row and does not move.
        self._spare = self.num_envs * self.task.length
        self._cells = np.zeros(self._spare + 1, np.int32)
        self._cursor = np.full(self.num_envs, self._spare, np.int64)
        self._make_views()
        # Whatever stands behind the start of an episode was sampled, so that a step has no role to write.
        self._roles = np.full((self.num_envs, self.task.length), Role.SAMPLED, np.int8)

    def make_room(self, room: int) -> None:
        """Lengthen the contexts by up to ``room`` tokens, for guidance outside of solutions; ends running episodes.

        Raises:
            BudgetError: see :meth:`g2rpo_env.task.Task.with_room`.
        """
        task = self.task.with_room(room)
        if task is not self.task:
            self.task = task
            self._stand_still()
            self._allocate()

    def _make_views(self) -> None:
        self._tokens = self._cells[: self._spare].reshape(self.num_envs, -1)
        self._length = self._shown_length[:, 0]

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle and deepcopy take: without the views, which would become arrays of their own."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_tokens", "_length")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state of :meth:`__getstate__`."""
        self.__dict__.update(state)
        self._make_views()

    # -- what callers read ------------------------------------------------------------------------------------------

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
        return self._root

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
        lanes = self._masked_lanes(options.get("reset_mask"))
        before = self._root, self._counter, _copied(self._open)
        try:
            self._reseed(seed)
            if options.get("reset_mask") is None:
                self._open.clear()
            starts, groups, members = self._plan_starts(lanes, options)
        except Exception:
            self._root, self._counter, self._open = before
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
        return [self._next_group() for _ in range(count)]

    def _reseed(self, seed: int | Sequence[int] | None) -> None:
        if seed is None and self._root is not None:
            return
        self._root = fresh_seed() if seed is None else _root_seed(seed)
        self._counter = 0
        self._open.clear()
        self._np_random, self._np_random_seed = seeding.np_random(self._root if isinstance(self._root, int) else None)

    def _masked_lanes(self, mask: Any) -> np.ndarray:
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
            problem_ids, groups, members = self._taken_groups(lanes, numbers, self._per_lane(options, "member", lanes))
        elif problems is None:
            problem_ids, groups, members = self._draw_groups(lanes)
        else:
            problem_ids, groups, members = self._given_groups(lanes, problems, self._per_lane(options, "member", lanes))
        if not options and self.reveal_plan is None:
            return [self.task.start(problem_id, 0) for problem_id in problem_ids], groups, members
        prefixes = self._per_lane(options, "prefix", lanes)
        prefix_roles = self._per_lane(options, "prefix_roles", lanes)
        amounts = self._reveal_amounts(problem_ids, groups, members, self._per_lane(options, "reveal", lanes))
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
            groups = [self._next_group() for _ in lanes]
            return self._drawn(groups), groups, [0] * len(groups)
        blocks, counts = np.unique(lanes // size, return_counts=True)
        if (counts != size).any():
            raise ConfigurationError(
                f"options['reset_mask'] splits a group of group_size={size}: give options['problem'] (and 'member') "
                "for the lanes, or mask whole groups"
            )
        number = {block: self._next_group() for block in blocks.tolist()}
        groups = [number[lane // size] for lane in lanes.tolist()]
        return self._drawn(groups), groups, [lane % size for lane in lanes.tolist()]

    def _drawn(self, groups: list[int]) -> list[str]:
        """Return the problems of some groups; a source that draws many at once is asked for the next ones as well."""
        source = self.task.source
        if not hasattr(source, "draw_many"):
            problem_of = {group: source.draw(self._root, group) for group in dict.fromkeys(groups)}
            return [problem_of[group] for group in groups]
        if self._ahead_of[0] is not source or self._ahead_of[1] is not self._root or len(self._ahead) > MANY:
            self._ahead_of = source, self._root
            self._ahead.clear()
        missing = [group for group in dict.fromkeys(groups) if group not in self._ahead]
        if missing:
            # As many more as there were before, up to a bound: nobody waits long for problems that nobody needs.
            more = range(self._counter, self._counter + min(self._counter - len(missing), AHEAD))
            missing += [self._group(number) for number in more]
            self._ahead.update(zip(missing, source.draw_many(self._root, missing), strict=True))
            self.task.prepare([self._ahead[group] for group in missing])
        return [self._ahead[group] for group in groups]

    def _next_group(self) -> int:
        self._counter += 1
        return self._group(self._counter - 1)

    def _group(self, number: int) -> int:
        return number * self.world_size + self.rank

    def _given_groups(
        self, lanes: np.ndarray, problems: list[Any], members: list[Any] | None
    ) -> tuple[list[str], list[int], list[int]]:
        missing = [int(lane) for lane, p in zip(lanes, problems, strict=True) if p is None]
        if missing:
            raise ConfigurationError(f"options['problem'] is None for lane {missing[0]}, which is to be reset")
        problem_ids = [str(problem) for problem in problems]
        members = self._checked_members(lanes, members)
        groups = [self._join(p, m) for p, m in zip(problem_ids, members, strict=True)]
        return problem_ids, groups, members

    def _taken_groups(
        self, lanes: np.ndarray, numbers: list[Any], members: list[Any] | None
    ) -> tuple[list[str], list[int], list[int]]:
        groups = [int(number) for number in numbers]
        own = [g >= 0 and g % self.world_size == self.rank and g // self.world_size < self._counter for g in groups]
        if not all(own):
            raise ConfigurationError(
                f"options['group']={groups[own.index(False)]} must be a number that take_groups() gave since the last "
                "seed"
            )
        members = self._checked_members(lanes, members)
        return self._drawn(groups), groups, members

    def _checked_members(self, lanes: np.ndarray, members: list[Any] | None) -> list[int]:
        if members is None:
            return [int(lane) % self.group_size for lane in lanes]
        members = [int(member) for member in members]
        bad = [m for m in members if not 0 <= m < self.group_size]
        if bad:
            raise ConfigurationError(f"options['member']={bad[0]} must lie in [0, group_size={self.group_size})")
        return members

    def _join(self, problem_id: str, member: int) -> int:
        """Return the newest group of the problem that still lacks this member, or a new one."""
        waiting = self._open.setdefault(problem_id, [])
        entry = next((entry for entry in reversed(waiting) if member not in entry[1]), None)
        if entry is None:
            entry = self._next_group(), set()
            waiting.append(entry)
        group, started = entry
        started.add(member)
        if len(started) == self.group_size:
            waiting.remove(entry)
        if not waiting:
            del self._open[problem_id]
        return group

    def _reveal_amounts(
        self, problem_ids: list[str], groups: list[int], members: list[int], given: list[Any] | None
    ) -> list[float]:
        """Return the length of the guidance of each episode, in the unit of the reveal plan."""
        amounts: list[Any] = [None] * len(problem_ids) if given is None else given
        amounts = [None if amount is None or np.isnan(amount) else float(amount) for amount in amounts]
        if self.reveal_plan is None:
            return [amount or 0.0 for amount in amounts]
        plan, planned_N = self.reveal_plan, self.reveal_plan.lengths(problem_ids, members)
        return [
            float(planned) * plan.share(self._root, group, member, self.group_size) if amount is None else amount
            for amount, planned, group, member in zip(amounts, planned_N, groups, members, strict=True)
        ]

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
        return self._batch_info(
            lanes,
            {
                "problem_id": (object, [start.problem.problem_id for start in starts]),
                "group": (np.int64, groups),
                "member": (np.int64, members),
                "prompt_length": (np.int64, [start.prompt_length for start in starts]),
                "reveal_length": (np.int64, [start.reveal_length for start in starts]),
            },
        )

    # -- step -------------------------------------------------------------------------------------------------------

    def step(self, actions: Any) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Append one token to every running lane.

        Raises:
            ResetNeededError: the environment was never reset.
            InvalidActionError: the action of a running lane is no token id.
        """
        tokens = self._checked(actions)
        restart = self._autoreset_next  # NEXT_STEP: these lanes ignore their action and start again
        self._cells[self._cursor] = tokens
        self._cursor += self._advance
        self._length += self._advance
        self._clock += 1
        reward = np.zeros(self.num_envs)
        terminations = np.zeros(self.num_envs, np.bool_)
        truncations = np.zeros(self.num_envs, np.bool_)
        info: dict[str, Any] = {}
        if np.count_nonzero(ends := tokens == self.task.eos_token_id) or self._clock >= self._next_deadline:
            info = self._end_tries(ends, tokens, reward, terminations, truncations)
        elif self.task.stop_strings:
            candidates = self.task.may_stop(tokens)
            if np.count_nonzero(candidates):
                info = self._end_tries(ends, tokens, reward, terminations, truncations)
        if restart:
            info = self._restart(np.array(restart)) | info  # reset keys and final keys are disjoint
        return self._observation(), reward, terminations, truncations, info

    def _checked(self, actions: Any) -> np.ndarray:
        """Return the token ids of some actions, (N,); what waiting lanes are given does not matter."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise InvalidActionError(f"actions must have shape ({self.num_envs},), got {actions.shape}")
        unsigned = UNSIGNED.get(actions.dtype)
        if unsigned is None:
            raise InvalidActionError(f"actions must hold token ids, integers, got dtype {actions.dtype}")
        if self._root is None:
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
        stopped = self._stopped(tokens) if self.task.stop_strings else []
        ends[stopped] = True
        over = ends
        if self._clock >= self._next_deadline:
            spent = self._deadline <= self._clock
            self._next_deadline = int(np.min(self._deadline, where=~spent, initial=NEVER))
            over = ends | spent
        lanes = over.nonzero()[0].tolist()
        if not lanes:
            return {}
        problems: list[Any] = [self._problems[lane] for lane in lanes]
        completions = [self.task.completion(self._answer(lane), lane in stopped) for lane in lanes]
        verdicts = self.task.grade(problems, completions)
        finished = list(range(len(lanes)))
        if self.task.reply is not None:
            finished = [i for i in finished if not self._replied(lanes[i], completions[i], verdicts[i])]
            if not finished:
                return {}
        done = np.array([lanes[i] for i in finished])
        terminations[done] = ends[done]
        truncations[done] = ~ends[done]
        completions, verdicts = [completions[i] for i in finished], [verdicts[i] for i in finished]
        reward[done] = [verdict.reward for verdict in verdicts]
        return self._finish(done, completions, verdicts)

    def _stopped(self, tokens: np.ndarray) -> list[int]:
        """Return the running lanes whose new token completed a stop string."""
        candidates = self.task.may_stop(tokens)
        lanes = np.flatnonzero(candidates & self._active).tolist()
        return [lane for lane in lanes if self.task.stops(self._answer(lane))]

    def _answer(self, lane: int) -> np.ndarray:
        return self._tokens[lane, self._answer_start[lane] : self._length[lane]]

    def _replied(self, lane: int, completion: str, verdict: Verdict) -> bool:
        """Append what the environment says to a wrong try, if the lane may go on."""
        problem = self._problems[lane]
        if problem is None or self._deadline[lane] <= self._clock:
            return False
        reply_T = self.task.reply_tokens(problem, completion, verdict, self._tries[lane])
        if reply_T is None:
            return False
        begin = int(self._length[lane])
        end = begin + len(reply_T)
        self._tokens[lane, begin:end] = reply_T
        self._roles[lane, begin:end] = Role.ENVIRONMENT
        self._length[lane] = end
        self._cursor[lane] += len(reply_T)
        self._answer_start[lane] = end
        self._tries[lane] += 1
        return True

    def _finish(self, lanes: np.ndarray, completions: list[str], verdicts: list[Verdict]) -> dict[str, Any]:
        """End or restart finished lanes; return the info of this step."""
        self._active[lanes] = False
        self._advance[lanes] = 0
        self._cursor[lanes] = self._spare
        self._deadline[lanes] = NEVER
        final = self._batch_info(
            lanes,
            {
                "completion": (object, completions),
                "correct": (np.bool_, [verdict.correct for verdict in verdicts]),
                "valid": (np.bool_, [verdict.valid for verdict in verdicts]),
                "verdict": (object, verdicts),
            },
        )
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            final_obs = np.full(self.num_envs, None, dtype=object)
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

    def _batch_info(self, lanes: np.ndarray, columns: dict[str, tuple[type, list[Any]]]) -> dict[str, Any]:
        """Return Gymnasium's batched info: per key an array over all lanes and a mask of who has it.

        Args:
            lanes: Who has it, ints (M,).
            columns: Key -> type, and the values of these lanes, M of them.
        """
        info: dict[str, Any] = {}
        mask = self._mask(lanes)
        for key, (dtype, values) in columns.items():
            if dtype is object:
                column = np.empty(self.num_envs, object)  # None
                for lane, value in zip(lanes.tolist(), values, strict=True):
                    column[lane] = value
            else:
                column = np.zeros(self.num_envs, dtype)
                column[lanes] = values
            info[key], info[f"_{key}"] = column, mask.copy()
        return info

    def _mask(self, lanes: np.ndarray) -> np.ndarray:
        mask = np.zeros(self.num_envs, np.bool_)
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
        waiting = {p: [[group, sorted(members)] for group, members in entries] for p, entries in self._open.items()}
        root = self._root if isinstance(self._root, int | None) else list(self._root)
        return {"root": root, "counter": self._counter, "open": waiting, **source_state(self.task)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position; the next ``reset()`` draws the groups that would have come next."""
        self._root, self._counter = state["root"], state["counter"]
        self._open = _copied(state["open"])
        load_source_state(self.task, state)
        self._stand_still()

    def _stand_still(self) -> None:
        """Let no lane run."""
        self._active[:] = False
        self._advance[:] = 0
        self._cursor[:] = self._spare
        self._deadline[:] = NEVER
        self._autoreset_next = []


def _copied(waiting: Any) -> OpenGroups:
    return {p: [(group, set(members)) for group, members in entries] for p, entries in waiting.items()}


def _root_seed(seed: int | Sequence[int]) -> int | list[int]:
    root = int(seed) if isinstance(seed, int | np.integer) else [int(s) for s in seed]
    if np.min(root, initial=0) < 0:
        raise ConfigurationError(f"seed={seed} must be at least 0")
    return root


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
