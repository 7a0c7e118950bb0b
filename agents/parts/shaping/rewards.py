"""Shaping: groups to rewards. The controller never sees shaped rewards, only ``correct``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.protocols import check_inner, get_requirements
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class EnvironmentReward:
    """The reward the environment gave, unchanged."""

    def __call__(self, group: Group) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        return group.reward_G


@dataclass(frozen=True)
class TruncationPenalty:
    """Subtracts a constant from answers that ran out of budget.

    Args:
        penalty: What is subtracted, >= 0.
    """

    penalty: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if not self.penalty >= 0:
            raise ConfigurationError(f"penalty={self.penalty} must be at least 0")

    def __call__(self, group: Group) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        return group.reward_G - self.penalty * np.array([e.truncated for e in group.episodes], np.float64)


@dataclass(frozen=True)
class Signed:
    """2 r - 1 of another reward: rewards of 0 and 1 become -1 and 1, so that wrong answers have a sign of their own.

    It needs rewards of 0 and 1: by degrees, some answers would have neither sign.

    Args:
        inner: Any shaping.

    Raises:
        ConfigurationError: ``inner`` breaks its rule.
    """

    inner: Any = field(default_factory=EnvironmentReward)

    def __post_init__(self) -> None:
        check_inner(self.inner, "group")

    @property
    def requires(self) -> frozenset[str]:
        """What the inner shaping requires."""
        return get_requirements(self.inner)

    @property
    def needs(self) -> frozenset[str]:
        """Rewards of 0 and 1, and what the inner shaping needs of the environment."""
        return frozenset({"binary"}) | frozenset(getattr(self.inner, "needs", ()))

    def __call__(self, group: Group, **given: Any) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        return 2 * np.asarray(self.inner(group, **given), np.float64) - 1


def overlong(length_G: np.ndarray, limit: float, buffer: float) -> np.ndarray:
    """Return 0 up to ``limit - buffer`` tokens, and from there a line down to -1 at ``limit``, float64 (G,).

    >>> overlong(np.array([8, 9, 10]), 10, 2).tolist()
    [0.0, -0.5, -1.0]
    """
    return np.clip((limit - buffer - length_G) / buffer, -1.0, 0.0) + 0.0  # + 0.0: no -0.0


@dataclass(frozen=True)
class SoftOverlong:
    """DAPO's soft overlong punishment: r + penalty p(n), n sampled tokens of an answer, L the budget, C = buffer L.

    p(n) = 0 up to L - C, then (L - C - n) / C, which is -1 at L (arXiv 2503.14476, equation 13). Read in verl's DAPO
    reward manager, where C is 4096 tokens of 20480.

    Args:
        buffer: Share of the budget in which the punishment grows, in (0, 1].
        penalty: Punishment of an answer that spends the whole budget, >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    buffer: float = 0.2
    penalty: float = 1.0

    requires = frozenset({"budget"})

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.buffer <= 1:
            raise ConfigurationError(f"buffer={self.buffer} must lie in (0, 1]")
        if not 0 <= self.penalty < np.inf:
            raise ConfigurationError(f"penalty={self.penalty} must be finite and at least 0")

    def __call__(self, group: Group, *, budget: int) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        length_G = np.array([e.sampled_T.sum() for e in group.episodes], np.float64)
        return group.reward_G + self.penalty * overlong(length_G, budget, self.buffer * budget)


@dataclass(frozen=True)
class KLPenalty:
    """r - beta sum_t (log pi - log pi_ref) over the sampled tokens: the KL term of PPO and RLOO, in the reward.

    The sum is the estimator k1 of the divergence from the reference. In the reward it is a constant to the gradient
    and works through the advantage; as a term of the loss its gradient has mean 0. verl's ``kl_penalty="kl"``, TRL's
    RLOOTrainer (beta 0.05).

    log pi is that of the policy before the update, at the temperature it is trained at, and not the recorded one, which
    a truncated sampling distribution changes. Episodes are scored in the context that they were sampled in.

    Args:
        beta: Weight of the divergence, in nats, > 0.

    Raises:
        ConfigurationError: ``beta`` breaks its rule.
    """

    beta: float = 0.01

    requires = frozenset({"log_probs", "reference_log_probs"})

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.beta < np.inf:
            raise ConfigurationError(f"beta={self.beta} must be finite and above 0")

    def __call__(
        self, group: Group, *, log_prob_GT: list[np.ndarray], reference_log_prob_GT: list[np.ndarray]
    ) -> np.ndarray:
        """Return rewards, float64 (G,)."""
        rows = zip(group.episodes, log_prob_GT, reference_log_prob_GT, strict=True)
        divergence_G = [(new_T - old_T)[e.sampled_T].sum(dtype=np.float64) for e, new_T, old_T in rows]
        return group.reward_G - self.beta * np.array(divergence_G)
