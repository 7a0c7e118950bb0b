"""Stages: what the parts of a recipe make of groups, and the rules that they are held to, each named with its part.

GRPO calls them on what was collected, :mod:`g2rpo_env.agents.rehearsal` on made-up episodes before the first rollout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from g2rpo_env.agents.batch import cut_context
from g2rpo_env.agents.given import Given
from g2rpo_env.agents.parts.protocols import get_requirements
from g2rpo_env.episode import Episode, Group, Groups
from g2rpo_env.errors import ConfigurationError, NonFiniteError


def compute_rewards(part: Any, groups: Groups, given: Given) -> list[np.ndarray]:
    """Return the shaped rewards of all groups, float64 (G,) each.

    Raises:
        ConfigurationError: there is not one for each member.
        NonFiniteError: one is NaN or infinite; the message names its episode.
    """
    given.prepare(part, groups)
    return [check_rewards(part, part(group, **given.for_group(part, group)), group) for group in groups]


def check_rewards(part: Any, reward_G: Any, group: Group) -> np.ndarray:
    """Return the rewards of a group as an array; raises as :func:`compute_rewards` does."""
    if np.shape(reward_G) != (len(group.episodes),) or not _are_numbers(reward_G):
        raise ConfigurationError(
            f"shaping={type(part).__name__} returned {_describe(reward_G)}; it must give one reward per member, "
            f"({len(group.episodes)},)"
        )
    for reward, episode in zip(reward_G, group.episodes, strict=True):
        if not math.isfinite(reward):
            raise NonFiniteError(
                f"reward={float(reward)} of problem {episode.problem_id!r}, group {episode.group}, member "
                f"{episode.member} must be finite; it is that of shaping={type(part).__name__}"
            )
    return reward_G if isinstance(reward_G, np.ndarray) else np.asarray(reward_G, np.float64)


def select(part: Any, groups: Groups, reward_PG: list[np.ndarray], given: Given) -> tuple[Groups, list[np.ndarray]]:
    """Return the groups that are learnt from and their rewards.

    Raises:
        ConfigurationError: it returns something else, or not one reward for each episode.
    """
    found = part(groups, reward_PG, **given.for_groups(part, groups))
    rule = f"selection={type(part).__name__} must return (Groups, rewards), one array (G,) of rewards for each group"
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Groups):
        raise ConfigurationError(f"{rule}; it returned {_describe(found)}")
    selected, rewards = found
    _check_rows(rule, rewards, [(len(group),) for group in selected])
    return selected, list(rewards)


def compute_advantages(part: Any, groups: Groups, rewards: list[np.ndarray]) -> list[np.ndarray]:
    """Return the advantages of all groups, float (G,) each, by a part that sees one group or requires them all.

    Raises:
        ConfigurationError: there is not one finite number for each reward.
    """
    together = "groups" in get_requirements(part)
    found = part(rewards, groups) if together else [part(reward_G) for reward_G in rewards]
    rule = f"advantage={type(part).__name__} must return one finite number per reward, an array (G,) for each group"
    _check_rows(rule, found, [np.shape(reward_G) for reward_G in rewards])
    return list(found)


def compute_credits(
    part: Any, groups: Groups, advantages: list[np.ndarray], given: Given
) -> tuple[np.ndarray, ...] | None:
    """Return the advantage of each token, float (T,) per episode; None without a credit part.

    Raises:
        ConfigurationError: there is not one array (T,) for each episode.
    """
    if part is None:
        return None
    found = part(groups, advantages, **given.for_groups(part, groups))
    rule = f"credit={type(part).__name__} must give one array per episode, with an advantage for each of its tokens"
    _check_rows(rule, found, [e.tokens_T.shape for e in groups.episodes])
    return tuple(found)


def compute_weights(part: Any, groups: Groups, advantages: list[np.ndarray], given: Given) -> list[np.ndarray]:
    """Return the loss weights of the tokens of each episode, float32 (T,).

    Raises:
        ConfigurationError: there is not one finite weight of at least 0 for each token.
    """
    episodes = groups.episodes
    advantage_N = np.concatenate(advantages) if advantages else np.zeros(0)
    rows = given.for_episodes(part, episodes, advantage_N)
    found = [part(episode, **row) for episode, row in zip(episodes, rows, strict=True)]
    rule = f"token_weight={type(part).__name__} must return one finite weight >= 0 per token, an array (T,)"
    _check_rows(rule, found, [e.tokens_T.shape for e in episodes])
    lowest = min((float(np.min(weight_T, initial=0.0)) for weight_T in found), default=0.0)
    if lowest < 0:
        raise ConfigurationError(f"{rule}; it returned {lowest}")
    return found


def count_weights(part: Any, episodes: Sequence[Episode], weights: list[np.ndarray]) -> list[float] | None:
    """Return what each episode adds to the denominator as it is trained; None for the sum of its weights.

    Raises:
        ConfigurationError: one is no finite number of at least 0.
    """
    count_of = getattr(part, "count", None)
    if count_of is None:
        return None
    found = [count_of(cut_context(*row)[-1]) for row in zip(episodes, weights, strict=True)]
    for count in found:
        if np.shape(count) != () or not _are_numbers(count) or not 0 <= count < math.inf:
            raise ConfigurationError(
                f"token_weight={type(part).__name__}: count must return a finite number >= 0, it returned "
                f"{_describe(count)}"
            )
    return found


# -- rules of arrays --------------------------------------------------------------------------------------------------


def _check_rows(rule: str, rows: Any, shapes: list[tuple[int, ...]]) -> None:
    """Raise ConfigurationError unless there are arrays of finite numbers of these shapes."""
    if not isinstance(rows, list | tuple | np.ndarray):
        raise ConfigurationError(f"{rule}; it returned {_describe(rows)}")
    if len(rows) != len(shapes):
        raise ConfigurationError(f"{rule}; it returned {len(rows)} of them for {len(shapes)}")
    for row, shape in zip(rows, shapes, strict=True):
        if np.shape(row) != shape or not _are_numbers(row):
            raise ConfigurationError(f"{rule}; it returned {_describe(row)} where {shape} is due")
        if not np.isfinite(row).all():
            raise ConfigurationError(f"{rule}; one that it returned is not finite: {np.asarray(row).tolist()!r:.80}")


def _are_numbers(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "fiub"


def _describe(value: Any) -> str:
    """Return what a value is, for messages: its type, and the shape and type of numbers where it is an array."""
    if isinstance(value, str | tuple | list | dict) or not hasattr(value, "shape"):
        return "None" if value is None else f"{type(value).__name__} {value!r:.40}"
    return f"an array of shape {tuple(value.shape)} and {value.dtype}"
