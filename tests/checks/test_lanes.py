"""check_vector_env: every shipped id passes, and every rule has a case that breaks it."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from broken import TASK, made, refusal, unbroken, with_info, without
from gymnasium.vector import AutoresetMode

from g2rpo_env import TokenVectorEnv, VectorGuidanceWrapper, check_vector_env
from g2rpo_env.checks import lanes
from g2rpo_env.checks.rules import SEED
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.registration import TASKS


@pytest.mark.parametrize(
    "options",
    [
        {"num_envs": 6, "group_size": 3},
        {"num_envs": 2, "group_size": 2, "copy": False},
        {"num_envs": 3},
        {"num_envs": 3, "autoreset_mode": "SAME_STEP"},
        {"num_envs": 3, "autoreset_mode": "DISABLED"},
        {"num_envs": 4, "group_size": 2, "rank": 1, "world_size": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_id_passes_in_lanes(name: str, options: dict[str, Any], gsm8k_folder: Path) -> None:
    envs = gym.make_vec(f"g2rpo_env/{name}", **options, **made(name, gsm8k_folder))
    check_vector_env(envs)
    # AIME gives answers alone: it has no steps to count a reveal length in.
    unit = "steps" if envs.unwrapped.task.max_steps else "tokens"
    check_vector_env(VectorGuidanceWrapper(envs, length=2, unit=unit, ratio=0.5))


# -- what is refused: environments with one broken rule ----------------------------------------------------------------


def lanes_with(num_envs: int = 4, group_size: int = 2, mode: Any = None, **members: Any) -> TokenVectorEnv:
    """A TokenVectorEnv with some members replaced."""
    return type("Broken", (TokenVectorEnv,), members)(TASK, num_envs, group_size=group_size, autoreset_mode=mode)


def lanes_show(
    reset: Callable[..., Any] | None = None, step: Callable[..., Any] | None = None, **options: Any
) -> TokenVectorEnv:
    """A TokenVectorEnv whose results go through a function of (envs, result)."""
    members: dict[str, Any] = {}
    if reset is not None:
        members["reset"] = lambda self, **arguments: reset(self, TokenVectorEnv.reset(self, **arguments))
    if step is not None:
        members["step"] = lambda self, actions: step(self, TokenVectorEnv.step(self, actions))
    return lanes_with(**options, **members)


def set_space(envs: TokenVectorEnv, name: str, space: gym.Space) -> TokenVectorEnv:
    setattr(envs, name, space)
    return envs


def with_metadata(envs: TokenVectorEnv, **metadata: Any) -> TokenVectorEnv:
    envs.metadata = metadata
    return envs


def next_step_groups() -> TokenVectorEnv:
    envs = lanes_with()
    envs.autoreset_mode = AutoresetMode.NEXT_STEP
    return with_metadata(envs, autoreset_mode=AutoresetMode.NEXT_STEP)


def changed(result: Any, key: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    info = result[-1]
    return with_info(result, **{key: change(info[key].copy())}) if key in info else result


def swapped(column: np.ndarray) -> np.ndarray:
    return column[[-1, *range(len(column) - 1)]]


def ending_twice(self: TokenVectorEnv, actions: Any) -> Any:
    before = getattr(self, "before", None)
    observation, reward, terminated, truncated, info = TokenVectorEnv.step(self, actions)
    self.before = terminated.copy()
    return observation, reward, terminated if before is None else terminated | before, truncated, info


def waiting_with_info(envs: TokenVectorEnv, result: Any) -> Any:
    waiting = ~envs.active & ~(result[2] | result[3])
    return with_info(result, waits=waiting, _waits=waiting) if waiting.any() else result


def moving_on(self: TokenVectorEnv, actions: Any) -> Any:
    result = TokenVectorEnv.step(self, actions)
    result[0]["tokens"][~self.active & ~(result[2] | result[3]), 0] += 1  # those that wait
    return result


def resetting_others(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    options = dict(options or {})
    options.pop("reset_mask", None)
    return TokenVectorEnv.reset(self, seed=seed, options=options)


def writing_into_others(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    _, info = TokenVectorEnv.reset(self, seed=seed, options=options)
    if options:
        self._tokens[0, 0] = 7
    return self._observation(), info


def popping(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    result = TokenVectorEnv.reset(self, seed=seed, options=options)
    if options:
        options.pop("reset_mask", None)
    return result


def cutting_the_mask(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    if options and len(options.get("reset_mask", ())) > self.num_envs:
        options = {"reset_mask": options["reset_mask"][: self.num_envs]}
    return TokenVectorEnv.reset(self, seed=seed, options=options)


def widening_the_mask(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    if options and "reset_mask" in options and options["reset_mask"].sum() == 1:
        options = {"reset_mask": np.arange(self.num_envs) < self.group_size}
    return TokenVectorEnv.reset(self, seed=seed, options=options)


def one_stream(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    self.resets = getattr(self, "resets", -1) + 1
    return TokenVectorEnv.reset(self, seed=None if seed is None else seed + self.resets, options=options)


def always_seeded(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    return TokenVectorEnv.reset(self, seed=SEED if not options else None, options=options)


def vector_views(self: TokenVectorEnv) -> Any:
    copies, self.copy = self.copy, False
    observation = TokenVectorEnv._observation(self)
    self.copy = copies
    return observation


class ForgetfulLanes(TokenVectorEnv):
    """Copies without running episodes."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_active": np.zeros_like(self._active)}


def clipping(self: TokenVectorEnv, actions: Any) -> Any:
    return TokenVectorEnv.step(self, np.clip(actions, 0, 257))


def deaf_to_stop_strings() -> TokenVectorEnv:
    def step(self: TokenVectorEnv, actions: Any) -> Any:
        self.task = copy.copy(self.task)
        self.task.may_stop = lambda tokens: np.zeros(len(tokens), np.bool_)  # type: ignore[method-assign]
        return TokenVectorEnv.step(self, actions)

    task = Addition(digits=1, max_new_tokens=6, stop_strings=("!?",))
    return type("Broken", (TokenVectorEnv,), {"step": step})(task, 2, group_size=2)


def own_problems(self: TokenVectorEnv, lanes: np.ndarray) -> Any:
    ids, groups, members = TokenVectorEnv._draw_groups(self, lanes)
    return [f"{lane % 9}+{lane % 9}" for lane in lanes], groups, members


def revealing(amount: Callable[[Any], Any]) -> Callable[..., Any]:
    """A way to plan resets with another option ``reveal`` than the one that is given."""

    def plan_starts(self: TokenVectorEnv, lanes: Any, options: dict[str, Any]) -> Any:
        return TokenVectorEnv._plan_starts(self, lanes, {**options, "reveal": amount(options.get("reveal"))})

    return plan_starts


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "no TokenVectorEnv": (
        lambda: gym.make_vec("CartPole-v1", num_envs=2),
        "CartPoleVectorEnv must be a TokenVectorEnv: give a Task",
    ),
    "single space": (
        lambda: set_space(lanes_with(), "single_action_space", gym.spaces.Discrete(3)),
        r"must be Discrete\(258\)",
    ),
    "batched space": (
        lambda: set_space(lanes_with(), "action_space", gym.spaces.Discrete(3)),
        r"action_space must be the single one batched, MultiDiscrete",
    ),
    "mode": (
        lambda: with_metadata(lanes_with(), autoreset_mode="DISABLED"),
        r"metadata\['autoreset_mode'\] must be the Auto",
    ),
    "mode of groups": (next_step_groups, "NEXT_STEP must be DISABLED for group_size=2"),
    "observation": (
        lambda: lanes_show(step=lambda e, r: ({**r[0], "length": r[0]["length"] + 1}, *r[1:])),
        r"the observation of lane 0 after step\(\) differs from that of a TokenEnv",
    ),
    "reward": (
        lambda: lanes_show(step=lambda e, r: (r[0], r[1] + 0.5, *r[2:])),
        "reward of lane 0 is 0.5, but 0.0 for a Token",
    ),
    "flag": (
        lambda: lanes_show(step=lambda e, r: (r[0], r[1], np.zeros_like(r[2]), r[2] | r[3], r[4])),
        "terminated of lane . is False, but True for a TokenEnv",
    ),
    "info": (
        lambda: lanes_show(step=lambda e, r: changed(r, "completion", swapped)),
        "info of lane . is .* for a TokenEnv with the same problem and actions",
    ),
    "no mask": (
        lambda: lanes_show(reset=lambda e, r: without(r, "_group")),
        "every key of a batched info needs its mask '_key'",
    ),
    "reset info": (
        lambda: lanes_show(reset=lambda e, r: without(r, "member")),
        "info of lane 0 at reset must have the keys",
    ),
    "prompt length": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "prompt_length", lambda column: column + 1)),
        r"info\['prompt_length'\] of lane 0 is 5, not 4",
    ),
    "ends twice": (
        lambda: lanes_with(step=ending_twice),
        r"on exactly one step; under DISABLED lane . shows .* \(0.0, True, False\)",
    ),
    "ends twice, NEXT_STEP": (
        lambda: lanes_with(group_size=1, step=ending_twice),
        "on exactly one step; under NEXT_STEP lane . shows",
    ),
    "waits with info": (
        lambda: lanes_show(step=waiting_with_info),
        r"lane . waits and must have no info, got \['waits'\]",
    ),
    "waits and moves": (lambda: lanes_with(step=moving_on), r"observation of lane . after step\(\) differs"),
    "final_obs": (
        lambda: lanes_show(
            step=lambda e, r: without(without(r, "final_obs"), "_final_obs"), group_size=1, mode="SAME_STEP"
        ),
        r"SAME_STEP must keep the end of lane . in info\['final_obs'\]",
    ),
    "dtype": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "group", lambda column: column.astype(np.int32))),
        r"info\['group'\] must be an array of dtype int64, as Gymnasium batches it, got int32",
    ),
    "unpaid": (
        lambda: lanes_show(step=lambda e, r: (r[0], np.zeros_like(r[1]), *r[2:])),
        "reward of lane 0 is 0.0, but 1.0 for a TokenEnv with the same problem and actions",
    ),
    "deaf to stop strings": (lambda: deaf_to_stop_strings(), "terminated of lane 0 is False, but True for a TokenEnv"),
    "roles": (
        lambda: lanes_with(
            episode_tokens=lambda self, lane: (TokenVectorEnv.episode_tokens(self, lane)[0], np.zeros(4, np.int8))
        ),
        r"episode_tokens\(0\) after step\(\) must give .* roles \[0, 0, 0, 0, 2\], got \[0, 0, 0, 0\]",
    ),
    "clips actions": (lambda: lanes_with(step=clipping), r"step\(\[-1 -1 -1 -1\]\) must raise InvalidActionError"),
    "active": (
        lambda: lanes_with(active=property(lambda self: np.ones(self.num_envs, np.bool_))),
        "active must say which lanes have a running episode",
    ),
    "problems of a group": (
        lambda: lanes_with(_draw_groups=own_problems),
        r"must share info\['problem_id'\], got \['0\+0', '1\+1'\]",
    ),
    "members": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "member", np.zeros_like)),
        r"the members of a group must be 0 to 1, got \[0, 0\] in lanes \[0, 1\]",
    ),
    "numbers": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "group", np.zeros_like)),
        r"every group must have a number of its own, got \[0, 0\]",
    ),
    "growing": (lambda: lanes_with(reset=always_seeded), "group numbers must increase from reset to reset"),
    "unseeded": (lambda: lanes_with(reset=one_stream), "twice with one seed must give the same episodes"),
    "mask": (lambda: lanes_with(reset=resetting_others), "lane 0 is not in the reset mask, but has a reset info"),
    "mask and tokens": (lambda: lanes_with(reset=writing_into_others), r"lane 0 after reset\(\) differs"),
    "options": (lambda: lanes_with(reset=popping), "reset must not change its options"),
    "long mask": (
        lambda: lanes_with(reset=cutting_the_mask),
        r"reset\(\) with a mask that is too long must raise Config",
    ),
    "split": (lambda: lanes_with(reset=widening_the_mask), "a mask that splits a group must raise ConfigurationError"),
    "no reveal": (
        lambda: lanes_with(_plan_starts=revealing(lambda given: 0)),
        r"lane 0 must reveal 9 tokens under plan RevealPlan\(length=1000000, .*ratio=1.0.* got 0",
    ),
    "all are guided": (
        lambda: lanes_with(_plan_starts=revealing(lambda given: given or 9)),
        "lane 1 must reveal 0 tokens under plan .*ratio=0.5.* got 9",
    ),
    "reveal of options": (
        lambda: lanes_with(_plan_starts=revealing(lambda given: None)),
        r"lane 0 must reveal 1 tokens under plan None and options\['reveal'\]=1, got 0",
    ),
    "copy": (
        lambda: lanes_with(_observation=vector_views),
        "with copy=True an observation must stay as it was returned",
    ),
    "order": (
        lambda: lanes_with(state_dict=lambda self: {"root": self.root_seed, "counter": 0, "open": {}}),
        "state_dict must resume the order",
    ),
    "copies": (lambda: ForgetfulLanes(TASK, 4, group_size=2), "copy.deepcopy in mid-episode must give an environment"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named(name: str) -> None:
    make, words = CASES[name]
    assert re.search(words, str(refusal(check_vector_env, make)), re.DOTALL)


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert unbroken(lanes, [refusal(check_vector_env, make) for make, _ in CASES.values()]) == []
