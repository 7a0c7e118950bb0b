"""Credits by the probability of a token: unlikely tokens, whose gradients are large, get less of the advantage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Episode, Groups, Role
from g2rpo_env.errors import ConfigurationError


def pair_advantages(groups: Groups, advantage_PG: Sequence[np.ndarray]) -> Iterator[tuple[Episode, float]]:
    """Yield the episodes of all groups, each with its advantage."""
    for group, advantage_G in zip(groups, advantage_PG, strict=True):
        for episode, advantage in zip(group.episodes, advantage_G, strict=True):
            yield episode, float(advantage)


def scale_written(advantage: float, factor_T: np.ndarray, episode: Episode) -> np.ndarray:
    """Return the advantage of each token, float64 (T,): times its factor where it is sampled or revealed."""
    written_T = np.isin(episode.role_T, (Role.SAMPLED, Role.REVEALED))
    return advantage * np.where(written_T, factor_T, 1.0)


def regulate(
    log_prob_T: np.ndarray, scale: float, temperature: float, shift: float, low: float, high: float
) -> np.ndarray:
    """Return clip(scale (sigmoid(temperature pi) - shift), low, high), pi = exp(log_prob_T), float64 (T,)."""
    sigmoid_T = 1 / (1 + np.exp(-temperature * np.exp(np.asarray(log_prob_T, np.float64))))
    return np.clip(scale * (sigmoid_T - shift), low, high)


@dataclass(frozen=True)
class Regulated:
    """TR-GRPO: likely tokens get more of the advantage, by a sigmoid of their probability.

    Formula: A_t = w_t A, w = clip(scale (sigmoid(temperature pi) - shift), low, high), pi that of the policy before the
    update, frozen for all its gradient steps. Prompt and environment tokens keep A.

    Source: arXiv 2511.00066, as a third-party configuration and the public reviews give it.

    Deviations: 1. The argument of the sigmoid is temperature times pi. The printed pi / temperature is at most 1/9, so
    that the weight is ``low`` everywhere. 2. The weight is outside the clip of the ratio: inside, every token whose
    weight is above 1 + clip_high has no gradient where A > 0. 3. A KL term is not weighted.

    Args:
        scale: Factor of the shifted sigmoid, > 0.
        temperature: Factor of the probability, > 0.
        shift: What is taken from the sigmoid.
        low: Least weight, >= 0.
        high: Greatest weight, >= low.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    scale: float = 2.0
    temperature: float = 9.0
    shift: float = 0.25
    low: float = 1.0
    high: float = 1.4

    requires = frozenset({"old_log_probs"})

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("scale", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be above 0")
        if not np.isfinite(self.shift):
            raise ConfigurationError(f"shift={self.shift} must be finite")
        if not 0 <= self.low <= self.high:
            raise ConfigurationError(f"low={self.low} and high={self.high} must have 0 <= low <= high")

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float64 (T,) per episode."""
        options = self.scale, self.temperature, self.shift, self.low, self.high
        rows = zip(pair_advantages(groups, advantage_PG), given["old_log_prob_GT"], strict=True)
        return [scale_written(a, regulate(log_prob_T, *options), e) for (e, a), log_prob_T in rows]


@dataclass(frozen=True)
class ByProbability:
    """Advantage reweighting: a share of the advantage of a token is proportional to its probability.

    Formula: A_t = (share pi + 1 - share) A, pi that of the policy before the update, frozen for all its gradient steps.
    Prompt and environment tokens keep A.

    Source: arXiv 2505.12929; read in zhyang2226/AR-Lopti cbeb333, ray_evaluator.py lines 318-349.

    Deviations: 1. The second method of the paper, which trains unlikely tokens in steps of their own, is left out.

    Args:
        share: Share that goes by probability, in [0, 1]; 0 leaves all advantages as they are.

    Raises:
        ConfigurationError: ``share`` breaks its rule.
    """

    share: float = 0.2

    requires = frozenset({"old_log_probs"})

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.share <= 1:
            raise ConfigurationError(f"share={self.share} must lie in [0, 1]")

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float64 (T,) per episode."""
        rows = zip(pair_advantages(groups, advantage_PG), given["old_log_prob_GT"], strict=True)
        found = []
        for (episode, advantage), log_prob_T in rows:
            factor_T = self.share * np.exp(np.asarray(log_prob_T, np.float64)) + 1 - self.share
            found.append(scale_written(advantage, factor_T, episode))
        return found
