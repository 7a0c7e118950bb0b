"""Wrappers: those that make no sense on tokens, and what every other must let through."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from g2rpo_env.checks.episodes import action_of, ending
from g2rpo_env.checks.rules import SEED, require, same, twin
from g2rpo_env.core import TokenEnv

IDS = "token ids are names, not numbers"
WRAPPERS = {
    "TimeLimit": "the budget is max_new_tokens; a cut by steps ends the episode without a verdict",
    "Autoreset": "the ground truth of one episode would stand before the next; use autoreset_mode of gym.make_vec",
    "TimeAwareObservation": "observation['length'] already says how far the episode is",
    "FrameStackObservation": "tokens are append-only: the last observation holds all earlier ones",
    "DelayObservation": "a policy that does not see its last token cannot write text",
    "MaxAndSkipObservation": f"{IDS}, and no token may be skipped",
    "NormalizeObservation": f"{IDS}: a normalised id means nothing",
    "RescaleObservation": f"{IDS}: a rescaled id means nothing",
    "DiscretizeObservation": f"{IDS}: bins of ids mean nothing",
    "ClipAction": f"{IDS}: the nearest valid id is another word",
    "RescaleAction": f"{IDS}: a rescaled id is another word",
    "DiscretizeAction": "actions are discrete already",
    "StickyAction": "it replaces the policy's token by the one before, and log-probabilities no longer fit",
    "RepeatAction": "it writes tokens that the policy did not sample",
    "DictInfoToList": "agents read the batched info with its masks",
}
"""Gymnasium wrapper, single or vector -> why it makes no sense on token ids."""


def warn_of_wrappers(env: Any) -> None:
    """Warn of every wrapper around ``env`` that :data:`WRAPPERS` lists."""
    while (inner := env.__dict__.get("env")) is not None:
        for kind in type(env).__mro__:
            if kind.__module__.startswith("gymnasium.wrappers") and kind.__name__ in WRAPPERS:
                warnings.warn(f"{kind.__name__} makes no sense here: {WRAPPERS[kind.__name__]}", stacklevel=3)
        env = inner


def check_wrappers_keep_infos(env: Any) -> None:
    """Play the same through the wrappers and without them: no key of info may be lost or changed."""
    base, bare = env.unwrapped, twin(env.unwrapped)
    if env is base or env.action_space != base.action_space:
        return
    shown: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    for one, infos in ((env, shown), (bare, expected)):
        infos.append(one.reset(seed=SEED)[1])
        end = action_of(base, ending(base)[0])
        actions = end if isinstance(base, TokenEnv) else np.full(base.num_envs, end)
        infos.append(one.step(actions)[4])
    for got, wanted in zip(shown, expected, strict=True):
        kept = isinstance(got, dict) and all(key in got and same(got[key], wanted[key]) for key in wanted)
        require(kept, f"a wrapper of {env} loses or changes info: the keys {sorted(wanted)} must pass through it")
