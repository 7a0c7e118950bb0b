"""Shaping by how far wrong answers got, where no answer of a group is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from g2rpo_env.agents.parts.judges import Judge, StepMatch, ask_progress, check_judge
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Group
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem


def scale_progress(progress_G: np.ndarray, beta: float, gamma: float, cap: float) -> np.ndarray:
    """Return cap / (1 + exp(-beta (progress - gamma))), float64 of the same shape, between 0 and ``cap``.

    >>> scale_progress(np.array([0.5, 9 / 22]), 10.0, 0.5, 0.5).round(4).tolist()
    [0.25, 0.1436]
    """
    # As a tanh, which no slope overflows.
    return cap * (1 + np.tanh(beta * (progress_G - gamma) / 2)) / 2


@dataclass(frozen=True)
class Progress:
    """SGPO's reward for groups without a right answer: r_i = cap / (1 + exp(-beta (s_i - gamma))), s_i from a judge.

    s_i, in [0, 1], is the share of an answer before its first wrong step (RTS). Groups with a right answer keep their
    rewards. Use an advantage that does not divide by the deviation, ``GroupCentered``: it would make any spread of the
    judge's numbers full-scale.

    Source: Stepwise Guided Policy Optimization (arXiv 2505.11595, TMLR 2026); the formula from reviews and third-party
    code, no official code was found.

    Deviations: 1. Groups without a right answer only; sources differ on wrong answers in mixed groups. 2. beta, gamma
    and cap are ours: the paper's values were not readable. 3. A rule instead of a judge model; a revealed part of the
    solution counts as progress.

    Args:
        judge: (problem, completions) -> one number in [0, 1] per completion.
        beta: Steepness, > 0.
        gamma: Progress that earns half of ``cap``, in [0, 1].
        cap: Bound of the reward, in (0, 1]; below 1 no wrong answer is worth a right one.

    Raises:
        ConfigurationError: an argument breaks its rule, or the judge returns something else, when it is asked.
    """

    judge: Judge = field(default_factory=StepMatch)
    beta: float = 10.0
    gamma: float = 0.5
    cap: float = 0.5

    requires = frozenset({"texts", "problem"})

    def __post_init__(self) -> None:
        check_types(self)
        check_judge(self.judge)
        if not self.beta > 0:
            raise ConfigurationError(f"beta={self.beta} must be above 0")
        if not 0 <= self.gamma <= 1:
            raise ConfigurationError(f"gamma={self.gamma} must lie in [0, 1]")
        if not 0 < self.cap <= 1:
            raise ConfigurationError(f"cap={self.cap} must lie in (0, 1]")

    @property
    def needs(self) -> frozenset[str]:
        """Members to compare, and what the judge needs."""
        return frozenset({"members"}) | getattr(self.judge, "needs", frozenset())

    def __call__(self, group: Group, *, completion_G: Sequence[str], problem: Problem) -> np.ndarray:
        """Return rewards, float64 (G,).

        Args:
            group: The group.
            completion_G: Its completions.
            problem: Its problem.
        """
        if any(episode.correct for episode in group.episodes):
            return group.reward_G
        progress_G = ask_progress(self.judge, problem, completion_G)
        return scale_progress(progress_G, self.beta, self.gamma, self.cap)
