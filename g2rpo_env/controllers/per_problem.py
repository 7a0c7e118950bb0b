"""Rules with a memory: each problem has a length of its own, learnt from its own history.

A problem that was never seen starts from what all the others taught. Problems are told apart by ``problem_id``; where
nearly every problem is new (a generator of sums), these rules act like their global part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from g2rpo_env.controllers.base import Bounded, Controller, Feedback
from g2rpo_env.controllers.rules import TargetSuccess
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import CONTROLLERS, find_class, public_name

KEPT = 10_000
"""Problems that a rule remembers: those seen last. A generator makes new ones for ever."""

Memory = TypeVar("Memory")


def remember(own: dict[str, Memory], problem_id: str, memory: Memory) -> None:
    """Keep the memory of a problem, as the one seen last; forget the problem that was not seen for longest.

    >>> own = {"a": 1, "b": 2}
    >>> remember(own, "a", 3)
    >>> own
    {'b': 2, 'a': 3}
    """
    own.pop(problem_id, None)
    own[problem_id] = memory
    while len(own) > KEPT:
        del own[next(iter(own))]


@dataclass
class PerProblem(Bounded):
    """A copy of another rule for each problem, and one for all of them together, which newcomers start from.

    A problem's copy begins, when the problem is first seen, in the state that the common copy has then, and is updated
    with that problem's episodes alone. Our own composition; ADHint (arXiv 2512.13095, abstract only) and SEELE argue
    for lengths per problem.

    Args:
        length: Starting length of the common copy.
        source: Whose success counts.
        min_length: Least length.
        max_length: Greatest length, None for no bound.
        rule: The rule, as an object or as ``{"class": "TargetSuccess", "options": {...}}``, which it is kept as; a
            class of yours is named ``"module:Name"``. Its length, source and bounds are replaced by those above.

    Raises:
        ConfigurationError: an argument breaks its rule, ``rule`` names no class, or it has no length of its own for
            all problems.

    >>> rule = PerProblem(length=20, rule=TargetSuccess(gain=1.0), source="all")
    >>> def seen(problem, correct):
    ...     one = np.ones(1, bool)
    ...     return Feedback(np.array([problem], object), np.zeros(1, int), one, one * 20, one * correct, one)
    >>> _ = rule.update(seen("easy", True)), rule.update(seen("hard", False))
    >>> rule.plan(["easy", "hard", "new"], [0, 0, 0]).round(1).tolist()       # 20 exp(-0.5), 12.1 exp(0.5), common copy
    [12.1, 20.0, 20.0]
    """

    source: str = "guided"
    rule: Controller | dict[str, Any] = field(default_factory=TargetSuccess)
    _common: Controller = field(init=False, repr=False, compare=False)
    _own: dict[str, Controller] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rule, Controller):
            kind = type(self.rule)
            options = {f.name: getattr(self.rule, f.name) for f in fields(self.rule) if f.init}
        else:
            kind, options = find_class(self.rule["class"], [CONTROLLERS], "rule"), self.rule["options"]
        # Plain data, so that a recipe with this rule can be written to a file.
        self.rule = {"class": public_name(kind, [CONTROLLERS]), "options": options}
        self._common = self._copy()
        if type(self._common).plan is not Controller.plan:
            raise ConfigurationError(
                f"rule={type(self._common).__name__} gives lengths per problem already; PerProblem copies rules with "
                "one length for all"
            )

    def _copy(self) -> Controller:
        assert isinstance(self.rule, dict)
        kind = find_class(self.rule["class"], [CONTROLLERS], "rule")
        shared = {n: getattr(self, n) for n in ("length", "source", "min_length", "max_length")}
        known = {f.name for f in fields(kind) if f.init}
        return kind(**{**self.rule["options"], **{n: value for n, value in shared.items() if n in known}})

    def _learn(self, feedback: Feedback) -> None:
        before = self._common.state_dict()
        for problem_id in dict.fromkeys(feedback.problem_id.tolist()):
            rule = self._own.get(problem_id)
            if rule is None:
                rule = self._copy()
                rule.load_state_dict({**before, "history": []})
            rule.update(feedback.of_problem(problem_id))
            remember(self._own, problem_id, rule)

    def _next(self, reward: float) -> float:
        return self._clip(self._common.update(reward=reward))

    def _next_unseen(self, reward: float) -> float:
        return self._clip(self._common.update(reward=reward))

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the length of each problem, float (N,); the common one for problems never seen."""
        return np.array([self._own[p].length if p in self._own else self.length for p in problem_ids], dtype=float)

    def state_dict(self) -> dict[str, Any]:
        """Return length, history and the state of every copy."""
        own = {problem_id: rule.state_dict() for problem_id, rule in self._own.items()}
        return {**super().state_dict(), "_common": self._common.state_dict(), "_own": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._common.load_state_dict(state["_common"])
        self._own = {}
        for problem_id, one in state["_own"].items():
            self._own[problem_id] = self._copy()
            self._own[problem_id].load_state_dict(one)


SHARES = np.linspace(0, 1, 101)
"""Reveal shares h of the grid on which response curves are kept."""
PLACES, SLOPES, GUESSES = np.linspace(-0.5, 1.5, 41), np.array([4.0, 8.0, 16.0]), np.array([0.0, 0.05, 0.2])
"""Values of b, a and c that the fit weighs against each other."""
GUESS_PRIOR = np.log([0.8, 0.15, 0.05])
"""Log prior of c; a is uniform, b normal around 1/2 with standard deviation 1/2."""


def response_curves() -> tuple[np.ndarray, np.ndarray]:
    """Return the success of every curve at every share, float (101, K), and the log prior of the curves, float (K,).

    Curve: P(h) = c + (1 - c) / (1 + exp(-a (h - b))), the three-parameter logistic of item response theory.
    """
    b, a, c = (grid.ravel() for grid in np.meshgrid(PLACES, SLOPES, GUESSES, indexing="ij"))
    success = c + (1 - c) / (1 + np.exp(-a * (SHARES[:, None] - b)))
    prior = -((b - 0.5) ** 2) / (2 * 0.5**2) + np.tile(GUESS_PRIOR, len(PLACES) * len(SLOPES))
    return np.clip(success, 1e-4, 1 - 1e-4), prior


@dataclass
class ItemResponse(Bounded):
    """SEELE's idea: fit a response curve of each problem, and reveal what should give a success of ``target``.

    P(h) = c + (1 - c) / (1 + exp(-a (h - b))), h the revealed share. The posterior over a grid of (a, b, c) gives the
    expected curve; the length is the least h with E[P(h)] >= target, times ``max_length``. Episodes without a reveal
    count with h = 0.

    Source: SEELE (abstract only, third-party: multi-round rollouts, three-parameter item response curve, 50 %, since
    the improvement is bounded by a multiple of p (1 - p)).

    Deviations: 1. The rounds are the updates in which a problem comes up, not several inside one update. 2. A posterior
    over a grid instead of a least-squares fit, so that few or all-equal answers do no harm. 3. Old answers count less,
    by ``memory`` per visit, because the policy changes. 4. A problem borrows from all problems together: their
    likelihood, shrunk to the weight of ``borrowed`` episodes.

    Args:
        length: Length of the first update.
        source: Whose success the history shows; the fit takes all valid episodes.
        min_length: Least length.
        max_length: Length of a whole solution in the unit of the guidance wrapper, > 0 and not None: h is relative to
            it. The default is that of the unit ``fraction``.
        target: Success aimed at, in (0, 1).
        memory: Weight of the past at each visit, in [0, 1].
        borrowed: Episodes that all other problems together are worth, >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.

    >>> rule = ItemResponse(length=50, max_length=100)
    >>> one = np.ones(8, bool)
    >>> def visit(correct):
    ...     return Feedback(np.array(["a"] * 8, object), np.arange(8), one, one * 50, one * correct, one)
    >>> _ = rule.update(visit(True)), rule.plan(["a", "new"], [0, 0])     # right with half of it: less will do
    >>> bool(rule.plan(["a"], [0])[0] < 50)
    True
    """

    source: str = "guided"
    min_length: float = 0.0
    max_length: float | None = 1.0
    target: float = 0.5
    memory: float = 0.7
    borrowed: float = 8.0
    _own: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)
    _common: np.ndarray = field(init=False, repr=False, compare=False)
    _episodes: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is None or not self.max_length > 0:
            raise ConfigurationError(f"max_length={self.max_length} must be above 0: the length of a whole solution")
        if not 0 < self.target < 1:
            raise ConfigurationError(f"target={self.target} must lie in (0, 1)")
        if not 0 <= self.memory <= 1:
            raise ConfigurationError(f"memory={self.memory} must lie in [0, 1]")
        if not self.borrowed >= 0:
            raise ConfigurationError(f"borrowed={self.borrowed} must be at least 0")
        self._curves, self._prior = response_curves()
        self._common = np.zeros_like(self._prior)

    def _learn(self, feedback: Feedback) -> None:
        amounts = np.where(feedback.guided, self.plan(feedback.problem_id.tolist(), feedback.member.tolist()), 0.0)
        at = np.rint(np.clip(amounts / self._ceiling, 0, 1) * (len(SHARES) - 1)).astype(int)
        correct = feedback.correct.astype(float)
        log_NK = correct[:, None] * np.log(self._curves[at]) + (1 - correct[:, None]) * np.log1p(-self._curves[at])
        log_NK *= feedback.valid[:, None]
        for problem_id in dict.fromkeys(feedback.problem_id.tolist()):
            mine = log_NK[feedback.problem_id == problem_id].sum(axis=0)
            remember(self._own, problem_id, self.memory * self._own.get(problem_id, np.zeros_like(mine)) + mine)
        self._common = self.memory * self._common + log_NK.sum(axis=0)
        self._episodes = self.memory * self._episodes + float(feedback.valid.sum())

    def _next(self, reward: float) -> float:
        return self._next_unseen(reward)

    def _next_unseen(self, reward: float) -> float:
        return self._solve(None) if self._episodes else self.length  # a mean alone: nothing to fit

    def _solve(self, problem_id: str | None) -> float:
        """Return the length for a problem, the one for newcomers if None."""
        log_K = self._prior + self._common * min(1.0, self.borrowed / max(self._episodes, 1e-9))
        if problem_id is not None:
            log_K = log_K + self._own[problem_id]
        weight_K = np.exp(log_K - log_K.max())
        success = self._curves @ weight_K / weight_K.sum()
        enough = np.flatnonzero(success >= self.target)
        return self._clip(float(SHARES[enough[0]] if len(enough) else 1.0) * self._ceiling)

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the length of each problem, float (N,); the common one for problems never seen."""
        solved = {p: self._solve(p) if p in self._own else self.length for p in dict.fromkeys(problem_ids)}
        return np.array([solved[p] for p in problem_ids], dtype=float)

    def state_dict(self) -> dict[str, Any]:
        """Return length, history and the log-likelihoods of the curves."""
        own = {problem_id: log_K.tolist() for problem_id, log_K in self._own.items()}
        mine = {"_own": own, "_common": self._common.tolist(), "_episodes": self._episodes}
        return {**super().state_dict(), **mine}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._own = {problem_id: np.array(log_K) for problem_id, log_K in state["_own"].items()}
        self._common, self._episodes = np.array(state["_common"]), state["_episodes"]
