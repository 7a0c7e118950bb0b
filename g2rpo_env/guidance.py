"""Guidance wrappers: they write the reveal plan that the environment executes at every reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from g2rpo_env.assignment import Assignment, chosen
from g2rpo_env.core import TokenEnv
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal import RevealPlan
from g2rpo_env.vector import TokenVectorEnv

if TYPE_CHECKING:
    from g2rpo_env.controller import Controller


LONGEST = {
    "tokens": lambda task: float(task.max_reveal),
    "steps": lambda task: float(task.max_steps),
    "fraction": lambda task: 1.0,
}


class _Guidance:
    """What both wrappers share: the plan, and who sets it."""

    plan: RevealPlan

    def _install(self, env: Any, kind: type[TokenEnv] | type[TokenVectorEnv], plan: RevealPlan) -> None:
        base = env.unwrapped
        if not isinstance(base, kind):
            raise ConfigurationError(
                f"env must be built on a {kind.__name__} to be guided, got {type(base).__name__}"
            )
        if base.reveal_plan is not None:
            raise ConfigurationError("env already has a guidance wrapper; an environment follows one reveal plan")
        if plan.unit == "steps" and base.task.max_steps == 0:
            raise ConfigurationError(
                "unit='steps' needs problems with steps, and no problem of this task has one: use unit='tokens' or "
                "'fraction', or give the problems steps"
            )
        self.plan = plan
        base.reveal_plan = plan

    @property
    def length(self) -> float:
        """Reveal length in :attr:`unit`; set it at any time, it takes effect at the next reset."""
        return self.plan.length

    @length.setter
    def length(self, value: float) -> None:
        before = self.plan.length, self.plan.rule
        self.plan.length, self.plan.rule = float(value), None
        try:
            self.plan.validate()
        except ConfigurationError:
            self.plan.length, self.plan.rule = before
            raise

    def follow(self, controller: Controller) -> None:
        """Take lengths from ``controller.plan`` at every reset, until :attr:`length` is set again.

        Call it again after each ``controller.update`` so that :attr:`length` shows the current value.

        Raises:
            ConfigurationError: the controller looks at the success of members that this plan does not have, or its
                length does not suit the unit.
        """
        if controller.source == "unguided" and self.plan.ratio == 1 and chosen(self.plan.who).guides_all:
            raise ConfigurationError(
                f"{type(controller).__name__} has source='unguided', but ratio=1 leaves no member of a group without "
                "guidance: use a ratio below 1, or source='all' or 'guided'"
            )
        self.length = controller.length
        self.plan.rule = controller.plan

    @property
    def ratio(self) -> float:
        """Share of the members of a group that are guided."""
        return self.plan.ratio

    @property
    def who(self) -> Assignment:
        """Which members are guided, and with what share of the length."""
        return chosen(self.plan.who)

    @property
    def longest(self) -> float:
        """The longest length that can make a difference, in :attr:`unit`."""
        return LONGEST[self.plan.unit](self.unwrapped.task)  # type: ignore[attr-defined]

    @property
    def unit(self) -> str:
        """``tokens``, ``steps`` or ``fraction``."""
        return self.plan.unit

    @property
    def reveal_cap(self) -> str:
        """How far a reveal may reach, ``final_answer`` or ``before_answer``."""
        return self.plan.cap

    def action_masks(self) -> np.ndarray:
        """Return the actions that make sense now, see TokenEnv: Gymnasium's wrappers pass no methods on."""
        return self.unwrapped.action_masks()  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the current length."""
        return {"length": self.plan.length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the length."""
        self.length = state["length"]


class GuidanceWrapper(_Guidance, gym.Wrapper, RecordConstructorArgs):
    """Reveals a prefix of the ground-truth solution at every reset of a TokenEnv.

    The revealed tokens become part of the context with role 1; the final answer is never revealed.

    Args:
        env: An environment built on TokenEnv.
        length: Reveal length in ``unit``, >= 0; more than there is reveals all steps.
        unit: ``tokens`` of the solution, whole ``steps``, or ``fraction`` of the revealable part in [0, 1].
        ratio: Probability that an episode is guided, in [0, 1].
        reveal_cap: ``final_answer`` reveals up to all steps; ``before_answer`` also stops before the first occurrence
            of the final answer in them (in most GSM8K solutions the last step already names it).

    Raises:
        ConfigurationError: an argument breaks its rule, or the environment is guided already.
    """

    def __init__(
        self,
        env: gym.Env,
        length: float = 0,
        unit: str = "tokens",
        ratio: float = 1.0,
        reveal_cap: str = "final_answer",
    ) -> None:
        RecordConstructorArgs.__init__(self, length=length, unit=unit, ratio=ratio, reveal_cap=reveal_cap)
        gym.Wrapper.__init__(self, env)
        self._install(env, TokenEnv, RevealPlan(float(length), unit, ratio, reveal_cap))


class VectorGuidanceWrapper(_Guidance, gym.vector.VectorWrapper, RecordConstructorArgs):
    """Reveals a prefix of the ground-truth solution to a share of the members of every group.

    ceil(ratio * G) members of each group are guided, the first ones unless ``who`` says otherwise; with groups of one
    each episode is guided with probability ``ratio`` from a random stream of its own.

    Args:
        env: A vector environment built on TokenVectorEnv.
        length: Reveal length in ``unit``, >= 0.
        unit: ``tokens``, ``steps`` or ``fraction``, see GuidanceWrapper.
        ratio: Share of the members of a group that are guided, in [0, 1].
        reveal_cap: ``final_answer`` or ``before_answer``, see GuidanceWrapper.
        who: ``first`` or ``random`` members, or an object of :mod:`g2rpo_env.assignment`: ``Levels((1/3, 2/3))``.

    Raises:
        ConfigurationError: an argument breaks its rule, or the environment is guided already.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        length: float = 0,
        unit: str = "tokens",
        ratio: float = 0.25,
        reveal_cap: str = "final_answer",
        who: Assignment | str = "first",
    ) -> None:
        RecordConstructorArgs.__init__(self, length=length, unit=unit, ratio=ratio, reveal_cap=reveal_cap, who=who)
        gym.vector.VectorWrapper.__init__(self, env)
        self._install(env, TokenVectorEnv, RevealPlan(float(length), unit, ratio, reveal_cap, who=who))

    @property
    def active(self) -> np.ndarray:
        """bool (N,), lanes with a running episode."""
        return self.unwrapped.active  # type: ignore[attr-defined]


def find_guidance(env: Any) -> GuidanceWrapper | VectorGuidanceWrapper | None:
    """Return the guidance wrapper of an environment, found by walking ``.env``; None if there is none."""
    while env is not None:
        if isinstance(env, _Guidance):
            return env  # type: ignore[return-value]
        env = env.__dict__.get("env")
    return None
