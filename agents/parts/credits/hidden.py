"""Credits by what a token does to the likelihood of the right answers of its group, from hidden states and residuals.

With h the last hidden state before a token y and g = one-hot(y) - pi, the gradient of log pi(y) for the output matrix
is g h'. The inner product of two such gradients, (g . g') (h . h'), says how much a step on one token raises the other.
Summed over the right answers, that is g' M h with one matrix M.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.scoring import TokenStates
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError

COLUMNS = ("group", "all")
"""Columns of the residuals: words that the group sampled, or all words."""


def find_influence(states: Sequence[TokenStates], right_G: np.ndarray, averaged: bool) -> list[torch.Tensor]:
    """Return what a step on each sampled token does to the right answers of its group, float32 (M,) per episode.

    Args:
        states: Those of the G episodes of a group.
        right_G: bool, which answers are right; at least one with a token.
        averaged: Whether each right answer counts by the mean of its tokens, or by their sum.
    """
    first = states[0]
    matrix_VD = torch.zeros((first.residual_MV.shape[1], first.hidden_MD.shape[1]))
    for state, right in zip(states, right_G, strict=True):
        if right and len(state.position_M):
            product_VD = state.residual_MV.T @ state.hidden_MD
            matrix_VD += product_VD / len(state.position_M) if averaged else product_VD
    return [((state.residual_MV @ matrix_VD) * state.hidden_MD).sum(-1) for state in states]


def find_least_mean(influence: Sequence[torch.Tensor], right_G: np.ndarray) -> float:
    """Return the least mean influence of a right answer's tokens."""
    means = [float(one_M.mean()) for one_M, right in zip(influence, right_G, strict=True) if right and len(one_M)]
    return min(means)


def is_mixed(group: Group, states: Sequence[TokenStates]) -> bool:
    """Whether a group has a wrong answer, and a right one with a token to it."""
    right = [len(s.position_M) > 0 for e, s in zip(group.episodes, states, strict=True) if e.correct]
    return any(right) and len(right) < len(group.episodes)


def share_out(
    groups: Groups,
    advantage_PG: Sequence[np.ndarray],
    states_of: Callable[..., list[TokenStates]],
    every_column: bool,
    find_factors: Callable[[np.ndarray, Sequence[TokenStates]], list[np.ndarray]],
) -> list[np.ndarray]:
    """Return the advantage of each token, float64 (T,) per episode: times its factor where sampled, as it is elsewhere.

    Args:
        groups: The groups.
        advantage_PG: float (G,) per group.
        states_of: (group, every_column) -> its states.
        every_column: Whether residuals have a column for every word.
        find_factors: (right_G, states) -> float (M,) per episode; asked for groups with right and wrong answers.
    """
    found = []
    for group, advantage_G in zip(groups, advantage_PG, strict=True):
        rows = [np.full(len(e.tokens_T), float(a)) for e, a in zip(group.episodes, advantage_G, strict=True)]
        right_G = np.array([e.correct for e in group.episodes])
        if right_G.any() and not right_G.all():
            states = states_of(group, every_column)
            if is_mixed(group, states):
                for row_T, state, factor_M in zip(rows, states, find_factors(right_G, states), strict=True):
                    row_T[state.position_M.numpy()] *= factor_M
        found += rows
    return found


def check_hidden(threshold: float | None, columns: str) -> None:
    """Raise ConfigurationError unless the options that both credits have are what they must be."""
    if threshold is not None and not threshold >= 0:
        raise ConfigurationError(f"threshold={threshold} must be None or at least 0")
    if columns not in COLUMNS:
        raise ConfigurationError(f"columns={columns!r} must be one of {', '.join(COLUMNS)}")


@dataclass(frozen=True)
class HiddenReward:
    """THR: tokens that hardly move the right answers of their group are masked, the others are tilted by their sign.

    Formula: in a group with right and wrong answers, g = one-hot(y) - pi and h the last hidden state before y,
    M = sum over right answers i of mean_t g_t h_t'; s_t = (+1 in right, -1 in wrong answers) g_t' M h_t;
    tau = threshold times the least mean of s over a right answer; A'_t = [abs(s_t) > tau] (1 + sign(s_t) tilt) A.
    Other groups keep A. A positive tilt exploits, a negative one explores. tau may be negative, where right answers
    disagree; then nothing is masked.

    With all columns g' M h is the inner product of the gradients, for the output matrix, of log pi of the token and of
    the right answers' mean log pi. With those of the group it is an approximation, coarse for a flat policy.

    Source: arXiv 2510.03669 (v4), as a note on the paper gives it; no code was released. ``correct`` decides what is
    right, never a shaped reward.

    Deviations: 1. The denominator of the loss stays that of all tokens. 2. Scores are those of the policy before the
    update, frozen for all its gradient steps.

    Args:
        tilt: What tokens of positive score gain and those of negative score lose, in [-1, 1].
        threshold: Factor of the bound below which tokens are masked, >= 0; None masks none.
        columns: ``group``, the words that the group sampled, or ``all``, exact, and as large as the vocabulary.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    tilt: float = 0.1
    threshold: float | None = 1.0
    columns: str = "group"

    requires = frozenset({"states"})
    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        if not -1 <= self.tilt <= 1:
            raise ConfigurationError(f"tilt={self.tilt} must lie in [-1, 1]")
        check_hidden(self.threshold, self.columns)

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float64 (T,) per episode."""
        return share_out(groups, advantage_PG, given["states_of"], self.columns == "all", self._find_factors)

    def _find_factors(self, right_G: np.ndarray, states: Sequence[TokenStates]) -> list[np.ndarray]:
        influence = find_influence(states, right_G, averaged=True)
        bound = -np.inf if self.threshold is None else self.threshold * find_least_mean(influence, right_G)
        factors = []
        for one_M, right in zip(influence, right_G, strict=True):
            score_M = one_M.double().numpy() * (1.0 if right else -1.0)
            factors.append((np.abs(score_M) > bound) * (1 + np.sign(score_M) * self.tilt))
        return factors


@dataclass(frozen=True)
class NegativeHiddenReward:
    """NTHR: wrong answers are blamed less for tokens whose punishment would make the right ones less likely.

    Formula: in a group with right and wrong answers, g and h as in :class:`HiddenReward`, M = sum over right answers of
    sum_t g_t h_t'; s_t = g_t' M h_t, without a sign: what raises the token raises the right answers. tau = threshold
    times the least mean of s over a right answer. Tokens of wrong answers with s_t > tau get eta A,
    eta = 2 abs(1/2 - share of right answers); all others, and other groups, keep A.

    Source: arXiv 2505.18830, as notes on it and on its successor give it. ``correct`` decides what is right.

    Deviations: 1. Scores are those of the policy before the update, frozen for all its gradient steps.

    Args:
        threshold: Factor of the bound above which the blame is reduced, >= 0.
        columns: See HiddenReward.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    threshold: float = 1.0
    columns: str = "group"

    requires = frozenset({"states"})
    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        check_hidden(self.threshold, self.columns)

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float64 (T,) per episode."""
        return share_out(groups, advantage_PG, given["states_of"], self.columns == "all", self._find_factors)

    def _find_factors(self, right_G: np.ndarray, states: Sequence[TokenStates]) -> list[np.ndarray]:
        influence = find_influence(states, right_G, averaged=False)
        bound, eta = self.threshold * find_least_mean(influence, right_G), 2 * abs(0.5 - right_G.mean())
        return [
            np.where((one_M.double().numpy() > bound) & (not right), eta, 1.0)
            for one_M, right in zip(influence, right_G, strict=True)
        ]
