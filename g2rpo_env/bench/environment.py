"""``bench env``: how fast the environments step, beside Gymnasium's own vectorisation."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np

from g2rpo_env.bench.measurement import Measurement

ENV = "g2rpo_env/Addition-v0"
DIGITS = 5
LENGTH = 2048
"""Length of the observation in most rows."""
TOKEN = 5  # any token that ends nothing


def bench_env(repeats: int) -> list[Measurement]:
    """Return the measurements of both environments and of Gymnasium's SyncVectorEnv over the single one."""
    check_same_computation()
    rows = [
        Measurement(f"TokenEnv through gym.make, L = {LENGTH}", measure_single(LENGTH, 0, 1500, repeats), "tokens/s")
    ]
    early, late = (measure_single(4200, at, 60, 40 * repeats) for at in (64, 4000))
    rows.append(Measurement("TokenEnv, L = 4200: cost at 4,000 / cost at 64", early / late, "ratio"))
    for copy in (False, True):
        for lanes in (16, 256):
            name = f"TokenVectorEnv, {lanes} lanes, copy={copy}, all active"
            rows.append(Measurement(name, measure_lane_steps(make_lanes(lanes, copy=copy), repeats), "lane-steps/s"))
        sync = measure_lane_steps(make_sync(16, copy=copy), repeats)
        rows.append(Measurement(f"SyncVectorEnv, 16 lanes, copy={copy}", sync, "lane-steps/s"))
        ours = next(row for row in rows if row.name.startswith(f"TokenVectorEnv, 16 lanes, copy={copy}"))
        rows.append(Measurement(f"TokenVectorEnv / SyncVectorEnv, 16 lanes, copy={copy}", ours.value / sync, "ratio"))
    for mean in (100, 250, 1000):
        name = f"TokenVectorEnv, 256 lanes, geometric lengths, mean {mean}, resets and verdicts"
        rows.append(Measurement(name, measure_useful_tokens(mean, repeats), "useful tokens/s"))
    return rows


def make_lanes(lanes: int, **kwargs: Any) -> gym.vector.VectorEnv:
    """Return the native vector environment whose observation has the length LENGTH."""
    return gym.make_vec(ENV, num_envs=lanes, digits=DIGITS, max_new_tokens=get_budget(LENGTH), **kwargs)


def make_sync(lanes: int, **kwargs: Any) -> gym.vector.VectorEnv:
    """Return Gymnasium's vectorisation of the same environment."""
    return gym.vector.SyncVectorEnv([lambda: make_single(LENGTH)] * lanes, **kwargs)


def make_single(length: int) -> gym.Env:
    """Return the single environment with an observation of some length."""
    return gym.make(ENV, digits=DIGITS, max_new_tokens=get_budget(length))


def get_budget(length: int) -> int:
    """Return the budget that gives an observation of ``length`` tokens."""
    shortest = gym.make(ENV, digits=DIGITS, max_new_tokens=2)
    return length - shortest.unwrapped.task.length + 2  # type: ignore[attr-defined]


def check_same_computation(steps: int = 200, lanes: int = 4) -> None:
    """Raise AssertionError unless both vectorisations give the same observations, rewards and flags."""
    ours, theirs = make_lanes(lanes), make_sync(lanes)
    problem = "12345+67890"
    ours.reset(options={"problem": problem})
    theirs.reset(options={"problem": problem})
    random = np.random.default_rng(0)
    for _ in range(steps):
        actions = random.integers(2, 200, lanes)
        mine, other = ours.step(actions), theirs.step(actions)
        for key in ("tokens", "length"):
            assert np.array_equal(mine[0][key], other[0][key]), key
        assert all(np.array_equal(a, b) for a, b in zip(mine[1:4], other[1:4], strict=True))


def measure_single(length: int, position: int, steps: int, repeats: int) -> float:
    """Return tokens per second of the single environment, measured over ``steps`` from ``position`` on."""
    env = make_single(length)
    best = 0.0
    for _ in range(repeats):
        env.reset(seed=0)
        # A prefix of sampled tokens would spend budget like steps do, so that the end stays out of the measurement.
        while env.unwrapped.context.size < position:  # type: ignore[attr-defined]
            env.step(TOKEN)
        started = time.perf_counter()
        for _ in range(steps):
            env.step(TOKEN)
        best = max(best, steps / (time.perf_counter() - started))
    return best


def measure_lane_steps(envs: gym.vector.VectorEnv, repeats: int, steps: int = 1000) -> float:
    """Return lane-steps per second while all lanes run."""
    actions = np.full(envs.num_envs, TOKEN)
    best = 0.0
    for _ in range(repeats):
        envs.reset(seed=0)
        started = time.perf_counter()
        for _ in range(steps):
            envs.step(actions)
        best = max(best, steps * envs.num_envs / (time.perf_counter() - started))
    return best


def measure_useful_tokens(mean: int, repeats: int, lanes: int = 256, steps: int = 2000) -> float:
    """Return tokens per second that belong to an episode, with restarts and grading; ignored actions do not count."""
    envs = make_lanes(lanes, copy=False)
    random = np.random.default_rng(0)
    end = envs.unwrapped.task.eos_token_id  # type: ignore[attr-defined]
    actions = np.where(random.random((steps, lanes)) < 1 / mean, end, TOKEN)
    best = 0.0
    for repeat in range(repeats):
        envs.reset(seed=repeat)  # problems that are in no store yet
        useful, waiting = 0, 0
        started = time.perf_counter()
        for row in actions:
            useful += lanes - waiting
            *_, terminated, truncated, _ = envs.step(row)
            waiting = int(np.count_nonzero(terminated | truncated))
        best = max(best, useful / (time.perf_counter() - started))
    return best
