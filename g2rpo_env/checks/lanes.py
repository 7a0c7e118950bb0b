"""check_vector_env: the rules of TokenVectorEnv, every lane beside a TokenEnv."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from g2rpo_env.checks.episodes import FINAL_INFO, RESET_INFO, action_of, check_info, ending, filler, writable
from g2rpo_env.checks.problems import check_task
from g2rpo_env.checks.rules import (
    SEED,
    check_base,
    check_raises,
    deep_copy,
    no_error_escapes,
    pickle_round_trip,
    require,
    same,
    twin,
)
from g2rpo_env.checks.single import check_token_spaces, check_vocabulary
from g2rpo_env.checks.wrappers import check_wrappers_keep_infos, warn_of_wrappers
from g2rpo_env.core import TokenEnv
from g2rpo_env.errors import ConfigurationError, InvalidActionError, UnknownProblemError
from g2rpo_env.reveal.plan import RevealPlan
from g2rpo_env.tokenizer import encode
from g2rpo_env.vector import TokenVectorEnv


def check_vector_env(envs: gym.vector.VectorEnv[Any, Any, Any]) -> None:
    """Check a vector environment built on TokenVectorEnv; works on copies, ``envs`` itself is not stepped.

    Every lane is compared with a TokenEnv that is given the same problem and the same actions.

    Args:
        envs: The vector environment, wrapped or not.

    Raises:
        ConformanceError: the first rule that is broken, and what to fix.
    """
    check_base(envs, TokenVectorEnv)
    warn_of_wrappers(envs)
    own = deep_copy(envs)
    base: TokenVectorEnv = own.unwrapped
    check_task(base.task)
    with no_error_escapes("task"):
        check_vocabulary(base.task, base.vocabulary)
    _check_vector_spaces(base)
    with no_error_escapes("environment"):
        for rule in VECTOR_RULES:
            rule(twin(base))
        check_wrappers_keep_infos(own)


def _check_vector_spaces(envs: TokenVectorEnv) -> None:
    check_token_spaces(envs, envs.single_observation_space, envs.single_action_space)
    for name in ("observation_space", "action_space"):
        expected = batch_space(getattr(envs, f"single_{name}"), envs.num_envs)
        require(getattr(envs, name) == expected, f"{name} must be the single one batched, {expected}")
    mode = envs.metadata.get("autoreset_mode")
    require(
        isinstance(mode, AutoresetMode) and mode is envs.autoreset_mode,
        f"metadata['autoreset_mode'] must be the AutoresetMode {envs.autoreset_mode}, got {mode!r}",
    )
    require(
        envs.group_size == 1 or mode is AutoresetMode.DISABLED,
        f"autoreset_mode={mode} must be DISABLED for group_size={envs.group_size}",
    )


class _Lanes:
    """A TokenEnv for every lane, which is given what the lane is given and must show what the lane shows."""

    def __init__(self, envs: TokenVectorEnv) -> None:
        self.envs = envs
        self.singles = [TokenEnv(envs.task, vocabulary=envs.vocabulary) for _ in range(envs.num_envs)]
        self.running = np.zeros(envs.num_envs, np.bool_)
        self.shown: list[dict[str, np.ndarray]] = [{} for _ in range(envs.num_envs)]

    def reset(self, **arguments: Any) -> dict[str, Any]:
        """Reset the vector environment and compare the lanes that were reset; the others must be as they were."""
        mask = (arguments.get("options") or {}).get("reset_mask", np.ones(self.envs.num_envs, np.bool_))
        observation, info = self.envs.reset(**arguments)
        _check_columns(info)
        for lane in range(self.envs.num_envs):
            found = lane_info(info, lane)
            if mask[lane]:
                self._begin(lane, found)
            else:
                require(found == {}, f"lane {lane} is not in the reset mask, but has a reset info")
            self._compare(lane, observation, "after reset()")
        _check_groups(self.envs, info, mask)
        self._check_active()
        return info

    def step(self, actions: np.ndarray) -> None:
        """Step the vector environment and compare every lane."""
        observation, reward, terminated, truncated, info = self.envs.step(actions)
        _check_columns(info)
        for lane in range(self.envs.num_envs):
            flags = float(reward[lane]), bool(terminated[lane]), bool(truncated[lane])
            found = lane_info(info, lane)
            if self.running[lane]:
                self._compare_step(lane, int(actions[lane]), flags, found)
            else:
                self._check_waiting(lane, flags, found)
            self._compare(lane, observation, "after step()")
        self._check_active()

    def _begin(self, lane: int, info: dict[str, Any]) -> None:
        check_info(info, RESET_INFO, f"of lane {lane} at reset")
        plan, shown = self.envs.reveal_plan or RevealPlan(), info["reveal_length"]
        self.singles[lane].reveal_plan = RevealPlan(place=plan.place, counted=plan.counted)
        if shown:  # without the tokens that a place adds of its own
            shown -= self.envs.task.start(info["problem_id"], 1, RevealPlan(place=plan.place)).reveal_length - 1
        options = {"problem": info["problem_id"], "reveal": shown}
        self.shown[lane], single = self.singles[lane].reset(seed=SEED, options=options)
        for key in ("problem_id", "prompt_length", "reveal_length"):
            require(info[key] == single[key], f"info[{key!r}] of lane {lane} is {info[key]}, not {single[key]}")
        self.running[lane] = True

    def _compare_step(self, lane: int, action: int, flags: tuple[Any, ...], found: dict[str, Any]) -> None:
        self.shown[lane], *expected, info = self.singles[lane].step(action)
        names = ("reward", "terminated", "truncated")
        for name, got, wanted in zip(names, flags, expected, strict=True):
            require(
                got == wanted,
                f"{name} of lane {lane} is {got}, but {wanted} for a TokenEnv with the same problem and actions",
            )
        ended = expected[1] or expected[2]
        if ended and self.envs.autoreset_mode is AutoresetMode.SAME_STEP:
            final = found.pop("final_obs", None)
            require(
                same(final, self.shown[lane]) and same(found.pop("final_info", None), info),
                f"SAME_STEP must keep the end of lane {lane} in info['final_obs'] and info['final_info']",
            )
            self._begin(lane, found)
            return
        require(
            same(found, info),
            f"info of lane {lane} is {found}, but {info} for a TokenEnv with the same problem and actions",
        )
        self.running[lane] = not ended

    def _check_waiting(self, lane: int, flags: tuple[Any, ...], found: dict[str, Any]) -> None:
        mode = self.envs.autoreset_mode.name
        require(
            flags == (0.0, False, False),
            f"the flags and the reward of an episode must appear on exactly one step; under {mode} lane {lane} shows "
            f"(reward, terminated, truncated) = {flags} on the step after its end",
        )
        if self.envs.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._begin(lane, found)
        else:
            require(found == {}, f"lane {lane} waits and must have no info, got {sorted(found)}")

    def _compare(self, lane: int, observation: dict[str, np.ndarray], when: str) -> None:
        got = {key: observation[key][lane] for key in observation}
        require(
            same(got, self.shown[lane]),
            f"the observation of lane {lane} {when} differs from that of a TokenEnv with the same problem and actions",
        )

        tokens_T, role_T = self.envs.episode_tokens(lane)
        single = self.singles[lane]
        require(
            np.array_equal(tokens_T, single.context) and np.array_equal(role_T, single.roles),
            f"episode_tokens({lane}) {when} must give the tokens and roles of a TokenEnv with the same problem and "
            f"actions, roles {single.roles.tolist()}, got {role_T.tolist()}",
        )

    def _check_active(self) -> None:
        active = self.envs.active
        require(
            np.array_equal(active, self.running),
            f"active must say which lanes have a running episode, {self.running.tolist()}, got {active.tolist()}",
        )


def _check_columns(info: dict[str, Any]) -> None:
    require(
        all(f"_{key}" in info for key in info if not key.startswith("_")),
        f"every key of a batched info needs its mask '_key', got the keys {sorted(info)}",
    )
    for key, kind in {**RESET_INFO, **FINAL_INFO}.items():
        if key in info:
            expected = np.dtype(kind if kind in (int, bool) else object)
            require(
                info[key].dtype == expected,
                f"info[{key!r}] must be an array of dtype {expected}, as Gymnasium batches it, got {info[key].dtype}",
            )


def lane_info(info: dict[str, Any], lane: int) -> dict[str, Any]:
    """Return the info of one lane out of Gymnasium's batched info."""
    keys = [key for key in info if not key.startswith("_") and info[f"_{key}"][lane]]
    return {key: _lane_value(info[key], lane) for key in keys}


def _lane_value(values: Any, lane: int) -> Any:
    if isinstance(values, dict):
        return lane_info(values, lane)
    value = values[lane]
    return value.item() if isinstance(value, np.generic) else value


def _check_groups(envs: TokenVectorEnv, info: dict[str, Any], mask: np.ndarray) -> None:
    lanes = np.flatnonzero(mask)
    for block in lanes.reshape(-1, envs.group_size):  # masks here hold whole groups
        for key in ("group", "problem_id"):
            require(
                len(set(info[key][block])) == 1,
                f"the members of a group must share info[{key!r}], got {info[key][block].tolist()} in lanes "
                f"{block.tolist()}",
            )
        members = info["member"][block].tolist()
        require(
            sorted(members) == list(range(envs.group_size)),
            f"the members of a group must be 0 to {envs.group_size - 1}, got {members} in lanes {block.tolist()}",
        )
    groups = info["group"][lanes[:: envs.group_size]].tolist()
    require(len(set(groups)) == len(groups), f"every group must have a number of its own, got {groups}")


def _actions(envs: TokenVectorEnv, seed: int) -> Iterator[np.ndarray]:
    """Yield actions that end about every eighth token."""
    random, filling, end = np.random.default_rng(seed), filler(envs), ending(envs)[0]
    tokens = [end if filling is None else filling] * 7 + [end]
    while True:
        yield random.choice([action_of(envs, token) for token in tokens], size=envs.num_envs)


def _check_lanes(envs: TokenVectorEnv) -> None:
    lanes = _Lanes(envs)
    first = lanes.reset(seed=SEED)
    groups = first["group"].tolist()
    for actions in itertools.islice(_actions(envs, SEED), 40):
        lanes.step(actions)
    again = lanes.reset(seed=SEED)
    require(same(first, again), "reset(seed=...) twice with one seed must give the same episodes")
    require(min(lanes.reset()["group"]) > max(groups), "group numbers must increase from reset to reset")


def _check_answers(envs: TokenVectorEnv) -> None:
    """Write the right answer in every lane, then every stop string."""
    task, lanes = envs.task, _Lanes(envs)
    envs.reveal_plan = None
    info = lanes.reset(seed=SEED, options={"reveal": task.max_reveal})
    encoded = [task.encode(task.source.get(problem_id)) for problem_id in info["problem_id"]]
    answers = [one.solution_T[one.revealable :] for one in encoded]
    for texts in (answers, *([encode(task.tokenizer, text)[0]] * envs.num_envs for text in task.stop_strings)):
        lanes.reset(seed=SEED, options={"reveal": task.max_reveal})
        end = ending(envs)[0]
        for row in itertools.islice(itertools.zip_longest(*texts, ending(envs), fillvalue=end), task.max_new_tokens):
            lanes.step(np.array([max(action_of(envs, token), 0) for token in row[:-1]]))


def _check_mask(envs: TokenVectorEnv) -> None:
    lanes, size = _Lanes(envs), envs.group_size
    lanes.reset(seed=SEED)
    for actions in itertools.islice(_actions(envs, SEED + 1), 3):
        lanes.step(actions)
    mask = np.zeros(envs.num_envs, np.bool_)
    mask[-size:] = True
    options = {"reset_mask": mask}
    given = copy.deepcopy(options)
    lanes.reset(options=options)
    require(same(options, given), "reset must not change its options")
    for actions in itertools.islice(_actions(envs, SEED + 2), 10):
        lanes.step(actions)
    long = {"reset_mask": np.ones(envs.num_envs + 1, np.bool_)}
    check_raises(lambda: envs.reset(options=long), ConfigurationError, "reset() with a mask that is too long")
    if size > 1:
        split = {"reset_mask": np.arange(envs.num_envs) == 0}
        check_raises(lambda: envs.reset(options=split), ConfigurationError, "reset() with a mask that splits a group")


def _check_vector_refusals(envs: TokenVectorEnv) -> None:
    envs.reset(seed=SEED)
    good, actions = next(_actions(envs, SEED)), len(writable(envs))
    for bad in (np.full_like(good, -1), np.full_like(good, actions), good[:-1], good + 0.5):
        check_raises(partial(envs.step, bad), InvalidActionError, f"step({bad})")
    unknown = {"problem": "\0 no such problem"}
    check_raises(lambda: envs.reset(options=unknown), UnknownProblemError, "reset() with an unknown problem")
    check_raises(lambda: envs.reset(options={"problm": "x"}), ConfigurationError, "reset() with an unknown option")


def _check_vector_reveal(envs: TokenVectorEnv) -> None:
    lanes, every_second = _Lanes(envs), RevealPlan(length=10**6, ratio=0.5)
    for plan, amount in ((RevealPlan(length=10**6), None), (every_second, None), (None, 1)):
        envs.reveal_plan = plan
        info = lanes.reset(seed=SEED, options={"reveal": amount})
        for lane in range(envs.num_envs):
            group, member = int(info["group"][lane]), int(info["member"][lane])
            hidden = plan is not None and not plan.is_guided(SEED, group, member, envs.group_size)
            encoded = envs.task.encode(envs.task.source.get(info["problem_id"][lane]))
            expected = 0 if hidden else min(encoded.revealable, amount or encoded.revealable)
            require(
                info["reveal_length"][lane] == expected,
                f"lane {lane} must reveal {expected} tokens under plan {plan} and options['reveal']={amount}, "
                f"got {info['reveal_length'][lane]}",
            )


def _check_vector_memory(envs: TokenVectorEnv) -> None:
    first, _ = envs.reset(seed=SEED)
    snapshot = copy.deepcopy(first)
    envs.step(next(_actions(envs, SEED)))
    require(
        not envs.copy or same(first, snapshot),
        "with copy=True an observation must stay as it was returned; return copies of the arrays",
    )


def _check_vector_order(envs: TokenVectorEnv) -> None:
    envs.reset(seed=SEED)
    other = twin(envs)
    other.reset(seed=SEED + 1)
    other.load_state_dict(envs.state_dict())
    require(
        same(other.reset(), envs.reset()),
        "state_dict must resume the order: after load_state_dict, reset() must draw the groups that would come next",
    )


def _check_vector_copies(envs: TokenVectorEnv) -> None:
    envs.reset(seed=SEED)
    actions = list(itertools.islice(_actions(envs, SEED), 6))
    envs.step(actions[0])
    clones = {"copy.deepcopy": deep_copy(envs), "pickling": pickle_round_trip(envs)}
    expected = [copy.deepcopy(envs.step(row)) for row in actions]
    for name, clone in clones.items():
        shown = [copy.deepcopy(clone.step(row)) for row in actions]
        require(same(shown, expected), f"{name} in mid-episode must give an environment that continues alike")


VECTOR_RULES = (
    _check_lanes,
    _check_answers,
    _check_mask,
    _check_vector_refusals,
    _check_vector_reveal,
    _check_vector_memory,
    _check_vector_order,
    _check_vector_copies,
)
