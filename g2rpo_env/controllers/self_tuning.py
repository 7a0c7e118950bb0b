"""Self-tuning guidance: holds the success at a set point, with a step that finds its own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from g2rpo_env.controllers.base import SOURCES, Bounded, Feedback
from g2rpo_env.controllers.per_problem import remember
from g2rpo_env.errors import ConfigurationError

GROW, SHRINK = 1.3, 0.6
"""Factors of the step after an error of the same sign and of the other sign. Noise alone gives both equally often, and
1.3 * 0.6 < 1: the step shrinks; a lasting error lets it grow."""
LEAST_STEP, GREATEST_STEP = 0.02, 0.5
"""Bounds of the step as shares of ``max_length``. It starts at the upper one, because updates at a useless length are
lost or worse; the lower one keeps the rule awake."""
FARTHEST = 0.5
"""Greatest distance of the length of a problem from that of all, as a share of ``max_length``."""
HALF, HIGHEST = 0.5, 0.95
"""The success of a group that is held; the highest set point of guided members, below 1, where nothing leads down."""
KEPT_SHARE = 0.8
"""Weight of the past in the running mean of plain success, per update."""


def set_point(plain: float, share: float) -> float:
    """Return the success of guided members that takes the whole group to 1/2, within [1/2, 0.95].

    share * t + (1 - share) * plain = 1/2, solved for t.

    Args:
        plain: Success of the plain members, in [0, 1].
        share: Share of guided members, in (0, 1].

    >>> [round(set_point(plain, 0.5), 6) for plain in (0.0, 0.25, 0.5, 0.9)], set_point(0.0, 1.0)
    ([0.95, 0.75, 0.5, 0.5], 0.5)
    """
    return min(max((HALF - (1 - share) * plain) / share, HALF), HIGHEST)


@dataclass
class SelfTuning(Bounded):
    """Our default for any start: a set point for the guided success, an adaptive step, and an offset per problem.

    With L = ``max_length``, r the success of guided members, t its set point and e = (t - r) / max(t, 1 - t):

    * **Set point**: t = ``target``. Without one it depends on what learns. Where only sampled tokens are trained, t is
      1/2. Where revealed tokens are trained too, t takes the whole group to 1/2, see :func:`set_point`: nearly all
      guided members are to succeed while the policy fails alone, half of them once the plain ones succeed as often.
      The agent says which it is (:meth:`set_trains_revealed`); until then it is 1/2.
    * **All problems**: l <- clip(l + L a e). The step a grows by 1.3 while e keeps its sign and shrinks to 0.6 of
      itself when the sign changes, within [0.02, 0.5]; it starts at 0.5. At zero success e = 1: the length
      rises by half of the solution and is at its bound after two updates.
    * **One problem**: o_p <- clip(o_p + own a (r - r_p)), within half of L; it is shown l + L o_p. Problems that
      succeed less often than the others get more, those that succeed more often less; newcomers have o_p = 0.
    * **To zero**: nothing has to be scheduled. As the policy learns, the set point is held by ever shorter reveals, and
      once unguided success reaches it the length is 0. A problem without a guided episode then counts with its plain
      ones, so that help comes back where success falls again.

    Why a set point: the length of a rule of ratios depends for ever on where it began, here the start is forgotten. Why
    1/2: there rewards differ most, p (1 - p). Why of the whole group where reveals are trained: its differences praise
    them. Where they are not, all that is learnt is what guided members write themselves, and that is short when
    they nearly always succeed. With all members guided both are the same.

    Source: our own. The step follows Kesten (Accelerated stochastic approximation, 1958: shrink it when the error
    changes its sign) and Rprop (Riedmiller and Braun, 1993: let it grow while it does not). In the simulator
    :class:`~g2rpo_env.controllers.ItemResponse` does about as well; it believes in a logistic curve, this rule only in
    more help giving more success.

    Args:
        length: Starting length, in the unit of the guidance wrapper.
        source: Whose success is held.
        min_length: Least length, >= 0; above 0 help never ends.
        max_length: Length of a whole solution in the unit of the guidance wrapper, > 0 and not None; the default is
            that of the unit ``fraction``.
        target: Set point in (0, 1); None as above.
        own: Gain of the offsets, >= 0; 0 gives all problems one length.

    Raises:
        ConfigurationError: an argument breaks its rule.

    >>> rule = SelfTuning(length=10, max_length=100)
    >>> [round(rule.update(reward=r), 2) for r in (0.0, 0.0, 0.0)]                    # 10 + 50, + 50 and no further
    [60.0, 100.0, 100.0]
    >>> round(rule.update(reward=0.75), 3)                                # the other sign: 100 - 50 * 0.6 * 0.5
    85.0
    """

    source: str = "guided"
    min_length: float = 0.0
    max_length: float | None = 1.0
    _SCALARS: ClassVar = ("_step", "_sign", "_plain", "_guided", "_revealed")
    target: float | None = None
    own: float = 1.0
    _plain: float = field(default=0.0, init=False, repr=False)
    _guided: float = field(default=1.0, init=False, repr=False)
    _revealed: bool = field(default=False, init=False, repr=False)
    _step: float = field(default=GREATEST_STEP, init=False, repr=False)
    _sign: int = field(default=0, init=False, repr=False)
    _own: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _success: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is None or not self.max_length > 0:
            raise ConfigurationError(f"max_length={self.max_length} must be above 0: the length of a whole solution")
        if self.target is not None and not 0 < self.target < 1:
            raise ConfigurationError(f"target={self.target} must be None or lie in (0, 1)")
        if not self.own >= 0:
            raise ConfigurationError(f"own={self.own} must be at least 0")

    def set_trains_revealed(self, trains_revealed: bool) -> None:
        """Take from an agent whether it trains revealed tokens too."""
        self._revealed = trains_revealed

    @property
    def _aim(self) -> float:
        if self.target is not None:
            return self.target
        return set_point(self._plain, self._guided) if self._revealed else HALF

    def _next_unseen(self, reward: float) -> float:
        return self.length if self._success is None else self._next(reward)

    def _next(self, reward: float) -> float:
        reward, self._success = reward if self._success is None else self._success, None
        aim = self._aim
        error = (aim - reward) / max(aim, 1 - aim)
        sign = (error > 0) - (error < 0)
        if sign * self._sign > 0:
            self._step = min(self._step * GROW, GREATEST_STEP)
        elif sign * self._sign < 0:
            self._step = max(self._step * SHRINK, LEAST_STEP)
        self._sign = sign or self._sign
        return self._clip(self.length + self._ceiling * self._step * error)

    def _learn(self, feedback: Feedback) -> None:
        if not feedback.valid.any():
            return
        plain_N = feedback.valid & ~feedback.guided
        if plain_N.any():
            self._plain += (1 - KEPT_SHARE) * (float(np.mean(feedback.correct[plain_N])) - self._plain)
        if not plain_N[feedback.valid].all():
            self._guided = 1 - float(np.mean(plain_N[feedback.valid]))
        ids, place_N = np.unique(feedback.problem_id, return_inverse=True)
        counted_N = SOURCES[self.source](feedback)
        if self.source == "guided":  # at length 0 a guided member is a plain one
            counted_N = counted_N | (feedback.valid & (np.bincount(place_N, counted_N) == 0)[place_N])
        count = np.bincount(place_N, counted_N)
        right = np.bincount(place_N, counted_N * feedback.correct)
        if not count.any():
            return
        self._success = float(right.sum() / count.sum())
        change = self.own * self._step * np.where(count > 0, self._success - right / np.maximum(count, 1), 0.0)
        for problem_id, change_p in zip(ids.tolist(), change.tolist(), strict=True):
            offset = self._own.get(problem_id, 0.0) + change_p
            remember(self._own, problem_id, min(max(offset, -FARTHEST), FARTHEST))

    def plan(self, problem_ids: Sequence[str], members: Sequence[int]) -> np.ndarray:
        """Return the length of each problem, float (N,); the common one for problems never seen."""
        offset_N = np.array([self._own.get(p, 0.0) for p in problem_ids], dtype=float)
        return np.clip(self.length + self._ceiling * offset_N, self.min_length, self._ceiling)

    def state_dict(self) -> dict[str, Any]:
        """Return length, history, step, sign of the last error, offsets, and what the set point depends on."""
        mine = {name: getattr(self, name) for name in self._SCALARS}
        return {**super().state_dict(), **mine, "_own": dict(self._own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._own = dict(state["_own"])
        for name in self._SCALARS:
            setattr(self, name, state[name])
