"""Shaping by how likely an answer is after its own reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Episode, Group
from g2rpo_env.errors import ConfigurationError

ROUNDING = 1e-6
"""A likelihood that equals the mean up to rounding reaches it: members with one and the same answer all do."""


def answer_likelihood(log_prob_T: np.ndarray, span_T: np.ndarray, cap: float) -> float:
    """Return min(exp(mean of log-probabilities over a span), cap), 0 for an empty span.

    Args:
        log_prob_T: float (T,), nats.
        span_T: bool (T,).
        cap: Upper bound, in (0, 1].
    """
    return min(float(np.exp(np.mean(log_prob_T[span_T], dtype=np.float64))), cap) if span_T.any() else 0.0


def choose_consistent(
    accuracy_G: np.ndarray, likelihood_G: np.ndarray, margin: float = 0.0, least: float = 0.1
) -> np.ndarray:
    """Return the members that earn the bonus, bool (G,).

    H = {i: accuracy_i > least and accuracy_i >= mean accuracy}; those of H with likelihood_i >= mean over H - margin,
    and above 0. None where H is empty.

    Args:
        accuracy_G: float (G,), in [0, 1].
        likelihood_G: float (G,), in [0, 1]; 0 where an answer has no place.
        margin: Subtracted from the mean, >= 0.
        least: In [0, 1).

    >>> choose_consistent(np.array([1.0, 1, 0, 1]), np.array([0.9, 0.5, 0.9, 0.7])).tolist()
    [True, False, False, True]
    """
    high_G = (accuracy_G > least) & (accuracy_G >= accuracy_G.mean() - ROUNDING)
    if not high_G.any():
        return high_G
    threshold = likelihood_G[high_G].mean() - margin - ROUNDING
    return high_G & (likelihood_G >= threshold) & (likelihood_G > 0)


@dataclass(frozen=True)
class ConsistencyBonus:
    """GRPO-CARE's bonus for right answers that the reference finds likely after their own reasoning.

    c_i = min(exp(mean of the reference's log-probability over the tokens of the final answer), cap); H = the members
    whose accuracy is above ``least`` and not below the group's mean; R_i = r_i + kappa accuracy_i for those of H with
    c_i >= mean of c over H - margin. The accuracy is 1 where the verdict is right, else 0. The reference is a moving
    average of the policy, see :class:`~g2rpo_env.agents.parts.references.MovingAverage`.

    Source: GRPO-CARE (arXiv 2506.16141), read in TencentARC/GRPO-CARE b0628fc, grpo_trainer_ref_ema.py lines 578-610.

    Deviations: 1. The place of the answer follows from the verdict; there it lies behind a tag, up to three tokens
    before the end. 2. Without a place c = 0 and no bonus; there such an answer gets the cap. 3. The means are of a
    group; there of all that is on a device. 4. Selections see the bonus: an all-right group is then no uniform one.
    5. A c that misses the mean by rounding alone, 1e-6, reaches it.

    Args:
        kappa: Size of the bonus, >= 0; 0 gives the rewards of the environment.
        margin: How far c may be below the mean, >= 0.
        cap: Upper bound of c, in (0, 1].
        least: Accuracy that does not suffice, in [0, 1).

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    kappa: float = 0.5
    margin: float = 0.0
    cap: float = 0.95
    least: float = 0.1

    requires = frozenset({"reference_log_probs", "answer_spans"})
    needs = frozenset({"members", "answers"})

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("kappa", "margin"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        if not 0 < self.cap <= 1:
            raise ConfigurationError(f"cap={self.cap} must lie in (0, 1]")
        if not 0 <= self.least < 1:
            raise ConfigurationError(f"least={self.least} must lie in [0, 1)")

    def reads(self, episode: Episode) -> bool:
        """Whether the likelihood of an episode's answer is compared: that of a right one."""
        return episode.correct

    def __call__(
        self, group: Group, *, reference_log_prob_GT: Sequence[np.ndarray], answer_GT: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Return rewards, float64 (G,).

        Args:
            group: The group.
            reference_log_prob_GT: float (T,) per member, under the reference.
            answer_GT: bool (T,) per member, the tokens of its final answer.
        """
        accuracy_G = np.array([float(e.correct) for e in group.episodes])
        rows = zip(group.episodes, reference_log_prob_GT, answer_GT, strict=True)
        # Nobody scored other tokens than those that were written; of those that were shown the policy is no author.
        likelihood_G = np.array([answer_likelihood(lp_T, span_T & e.sampled_T, self.cap) for e, lp_T, span_T in rows])
        chosen_G = choose_consistent(accuracy_G, likelihood_G, self.margin, self.least)
        return group.reward_G + self.kappa * accuracy_G * chosen_G
