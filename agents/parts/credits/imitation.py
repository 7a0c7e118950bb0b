"""Credit that imitates right answers and compares what the policy wrote itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Group, Groups, Role
from g2rpo_env.errors import ConfigurationError


def center_each(right_K: np.ndarray) -> np.ndarray:
    """Return R_i - mean R."""
    return right_K - right_K.mean()


def leave_out_each(right_K: np.ndarray) -> np.ndarray:
    """Return R_i - the mean of the others; 0 for one alone."""
    return center_each(right_K) * len(right_K) / max(len(right_K) - 1, 1)


def divide_by_success(right_K: np.ndarray) -> np.ndarray:
    """Return (R_i - mean R) / mean R; 0 where none is right."""
    return center_each(right_K) / right_K.mean() if right_K.any() else np.zeros(len(right_K))


BASELINES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": center_each,
    "others": leave_out_each,
    "success": divide_by_success,
}
"""Name -> (R of the members that are compared, 0 or 1) -> their advantages, all float64 (K,)."""


@dataclass(frozen=True)
class FilteredImitation:
    """Right answers are imitated with what was revealed to them, and sampled tokens are compared with their like.

    A_t = w R_i at revealed tokens and w R_i + contrast C_i at sampled ones. R_i is 1 for a right answer, else 0. C_i is
    the advantage of R_i among the members of the group that were shown as many tokens, so that nobody is blamed for
    help that others got; it is 0 for a member whose like there is not. w = (1 - p)^focus, p the success of the members
    without guidance: problems that the policy solves alone teach less. The advantage of the recipe is not used.
    ``contrast=0, focus=0`` is RAFT with the reveals in its loss, but that wrong answers stay in the denominator.

    Source: our own; RAFT's filter (arXiv 2504.11343) on the reveal, and the group-relative term of GRPO without it.

    Args:
        contrast: Weight of the comparison, >= 0.
        baseline: ``mean``, ``others`` (leave-one-out) or ``success`` (divided by the mean, as MaxRL does).
        focus: Exponent of the weight of problems, >= 0; 0 gives all the same.
        reveal: Weight of revealed tokens over that of sampled ones, >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    contrast: float = 0.3
    baseline: str = "mean"
    focus: float = 0.0
    reveal: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("contrast", "focus", "reveal"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        if self.baseline not in BASELINES:
            raise ConfigurationError(f"baseline={self.baseline!r} must be one of {', '.join(BASELINES)}")

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float64 (T,) per episode."""
        return [credit_T for group in groups for credit_T in self._of(group)]

    def _of(self, group: Group) -> list[np.ndarray]:
        right_G = np.array([float(e.correct) for e in group.episodes])
        reveal_G = np.array([e.reveal for e in group.episodes])
        contrast_G = compare_alike(right_G, reveal_G, BASELINES[self.baseline])
        plain = right_G[reveal_G == 0]
        weight = (1 - plain.mean()) ** self.focus if len(plain) else 1.0
        credits = []
        for episode, right, contrast in zip(group.episodes, right_G, contrast_G, strict=True):
            credit_T = np.zeros(len(episode.role_T))
            credit_T[episode.role_T == Role.REVEALED] = self.reveal * weight * right
            credit_T[episode.role_T == Role.SAMPLED] = weight * right + self.contrast * contrast
            credits.append(credit_T)
        return credits


def compare_alike(right_G: np.ndarray, reveal_G: np.ndarray, compare: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the advantage of each member among those that were shown as many tokens, float64 (G,); 0 for one alone.

    >>> compare_alike(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 5]), center_each).tolist()
    [0.5, -0.5, 0.0]
    """
    found_G = np.zeros(len(right_G))
    for shown in np.unique(reveal_G):
        alike = reveal_G == shown
        if alike.sum() > 1:
            found_G[alike] = compare(right_G[alike])
    return found_G
