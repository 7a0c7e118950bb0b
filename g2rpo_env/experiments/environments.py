"""Environments of an experiment: made from an id and plain options, and torch made ready for them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import OrderEnforcing

from g2rpo_env.core import TokenEnv
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.guidance import VectorGuidanceWrapper
from g2rpo_env.naming import suggest
from g2rpo_env.registration import env_ids
from g2rpo_env.vector import TokenVectorEnv


def env_spec(env_id: str) -> Any:
    """Return Gymnasium's spec of an id, after importing the module it may name.

    Raises:
        ConfigurationError: there is no such id, or the module cannot be imported.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigurationError(f"env={env_id!r} must name a module that can be imported: {error}") from None
    # Gymnasium's own games have ids too, but no tokens.
    if name not in gym.registry or str(gym.registry[name].entry_point).startswith("gymnasium."):
        known = env_ids()
        raise ConfigurationError(f"env={name!r} must be one of {', '.join(known)}{suggest(name, known)}")
    return gym.spec(name)


def make_envs(
    env_id: str,
    problems: int,
    group_size: int,
    task: Mapping[str, Any],
    guidance: Mapping[str, Any] | None = None,
) -> Any:
    """Return the vector environment of some options, guided if ``guidance`` is given.

    Args:
        env_id: Id, perhaps with a module.
        problems: Problems per update, >= 1.
        group_size: Members per problem, >= 1.
        task: Arguments of the task.
        guidance: Arguments of the guidance wrapper, or None for no guidance.

    Raises:
        ConfigurationError: an argument breaks its rule, or the id makes no lanes of tokens.
    """
    if problems < 1 or group_size < 1:
        raise ConfigurationError(f"problems={problems} and group_size={group_size} must be at least 1")
    spec, lanes = env_spec(env_id), problems * group_size
    options: dict[str, Any] = {"group_size": group_size, "autoreset_mode": "DISABLED", "copy": False}
    if spec.vector_entry_point is None:
        envs: Any = _make_lanes(spec, lanes, options, task)
    else:
        envs = gym.make_vec(spec, num_envs=lanes, **options, **task)
    return envs if guidance is None else VectorGuidanceWrapper(envs, **guidance)


def _make_lanes(spec: Any, lanes: int, options: Mapping[str, Any], task: Mapping[str, Any]) -> TokenVectorEnv:
    """Return the vector environment of an id that is registered with a single one alone, such as a function's."""
    env = gym.make(spec, disable_env_checker=True, **task)
    env = env.env if isinstance(env, OrderEnforcing) else env  # gym.make adds it, and lanes do the same
    if type(env) is not TokenEnv:
        raise ConfigurationError(
            f"env={spec.id!r} must make a TokenEnv, or be registered with a vector_entry_point that makes a "
            f"TokenVectorEnv: it makes a {type(env).__name__}, which has no lanes (g2rpo_env.register_task does both)"
        )
    return TokenVectorEnv(env.task, lanes, vocabulary=env.vocabulary, **options)


def prepare_torch(threads: int | None = None) -> None:
    """Set torch's threads if a number is given, and silence the bars of saving and loading.

    For a process that nothing else runs in, such as that of a command; see
    :func:`g2rpo_env.agents.threads.fit_threads` for the number that suits a model.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
