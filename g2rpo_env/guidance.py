"""Guidance wrappers: they write the reveal plan that the environment executes at every reset.

After each update :func:`give_feedback` hands its episodes to everyone who learns from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from g2rpo_env.controllers.base import Controller, Feedback
from g2rpo_env.core import TokenEnv
from g2rpo_env.curriculum import LearningSource
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError
from g2rpo_env.problem import walk_sources
from g2rpo_env.reveal.assignment import Assignment
from g2rpo_env.reveal.placement import InAnswer, Placement
from g2rpo_env.reveal.plan import RevealPlan
from g2rpo_env.task import Task
from g2rpo_env.vector import TokenVectorEnv

AnyEnv = gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]
"""An environment or a vector environment, wrapped or not."""

LONGEST = {
    "tokens": lambda longest: float(longest[0]),
    "steps": lambda longest: float(longest[1]),
    "fraction": lambda longest: 1.0,
}
"""Unit -> the longest length that can make a difference, from the most tokens and the most steps there are."""


class _Guidance:
    """The plan of both wrappers, and who sets it."""

    def __init__(self, base: AnyEnv, kind: type[TokenEnv] | type[TokenVectorEnv], plan: RevealPlan) -> None:
        if not isinstance(base, kind):
            raise ConfigurationError(f"env must be built on a {kind.__name__} to be guided, got {type(base).__name__}")
        if base.reveal_plan is not None:
            raise ConfigurationError("env already has a guidance wrapper; an environment follows one reveal plan")
        place, task = plan.place, base.task
        if plan.counted and not isinstance(place, InAnswer):
            raise ConfigurationError(
                f"counted=True must come with guidance in the answer, got place={place}: what stands in the prompt is "
                "never in the budget"
            )
        tokens, steps = task.longest(place.what)
        room = place.room(tokens, task.max_reveal, task.tokenizer)
        if plan.unit == "steps" and not steps:
            raise ConfigurationError(
                "unit='steps' needs problems with steps, and no problem of this task has one: use unit='tokens' or "
                "'fraction', or give the problems steps"
            )
        base.make_room(room)
        self.plan = plan
        base.reveal_plan = plan

    @property
    def _task(self) -> Task:
        return self.unwrapped.task  # type: ignore[attr-defined]

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

        Call it again after each ``controller.update``, as :func:`give_feedback` does: :attr:`length` then shows the
        current value.

        Raises:
            ConfigurationError: the controller looks at the success of members that this plan does not have, or its
                length does not suit the unit.
        """
        if controller.source == "unguided" and self.plan.ratio == 1 and self.plan.who.guides_all:
            raise ConfigurationError(
                f"{type(controller).__name__} has source='unguided', but ratio=1 leaves no member of a group without "
                "guidance: use a ratio below 1, or source='all' or 'guided'"
            )
        self.length = controller.length
        self.plan.rule = controller.plan

    def plan_tokens(self, problem_ids: Sequence[str]) -> dict[str, int]:
        """Return the tokens that the plan shows of problems now, to their first guided members, before its shares."""
        lengths_N = self.plan.lengths(problem_ids, [0] * len(problem_ids))  # float (N,)
        amounts = zip(problem_ids, lengths_N.tolist(), strict=True)
        return {problem_id: self.plan.tokens(self._task.lookup(problem_id), amount) for problem_id, amount in amounts}

    @property
    def ratio(self) -> float:
        """Share of the members of a group that are guided."""
        return self.plan.ratio

    @property
    def who(self) -> Assignment:
        """Assignment: the members that are guided, and the share of the length that each gets."""
        return self.plan.who

    @property
    def longest(self) -> float:
        """The longest length that can make a difference, in :attr:`unit`."""
        return LONGEST[self.plan.unit](self._task.longest(self.plan.place.what))

    @property
    def unit(self) -> str:
        """``tokens``, ``steps`` or ``fraction``."""
        return self.plan.unit

    @property
    def place(self) -> Placement:
        """The text that is shown, and where it stands."""
        return self.plan.place

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a VectorGuidanceWrapper that does the same, with the length as it is now."""
        plan = self.plan
        now = {"length": plan.length, "unit": plan.unit, "ratio": plan.ratio, "reveal_cap": plan.cap}
        return {**now, "who": plan.who, "place": plan.place, "counted": plan.counted}

    @property
    def reveal_cap(self) -> str:
        """End of every reveal, ``final_answer`` or ``before_answer``."""
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
        place: The text that is shown, and where: the solution in the ``answer`` or in the ``prompt``, the ``hint`` of a
            problem in the prompt, or an object of :mod:`g2rpo_env.reveal.placement`, such as
            ``InAnswer(opening="<think>\\n")``.
        counted: Whether guidance in the answer counts towards ``max_new_tokens``; 2 tokens always remain.

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
        place: Placement | str = "answer",
        counted: bool = False,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, length=length, unit=unit, ratio=ratio, reveal_cap=reveal_cap, place=place, counted=counted
        )
        gym.Wrapper.__init__(self, env)
        plan = RevealPlan(float(length), unit, ratio, reveal_cap, place=place, counted=counted)
        _Guidance.__init__(self, env.unwrapped, TokenEnv, plan)

    @property
    def unwrapped(self) -> TokenEnv:
        """The TokenEnv below all wrappers."""
        return cast("TokenEnv", self.env.unwrapped)


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
        who: ``first`` or ``random`` members, whole ``groups``, or an object of :mod:`g2rpo_env.reveal.assignment`:
            ``Levels((1/3, 2/3))``.
        place: ``answer``, ``prompt``, ``hint`` or an object, see GuidanceWrapper.
        counted: Whether guidance in the answer counts towards ``max_new_tokens``, see GuidanceWrapper.

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
        place: Placement | str = "answer",
        counted: bool = False,
    ) -> None:
        arguments: dict[str, Any] = {"unit": unit, "ratio": ratio, "who": who, "place": place, "counted": counted}
        RecordConstructorArgs.__init__(self, length=length, reveal_cap=reveal_cap, **arguments)
        gym.vector.VectorWrapper.__init__(self, env)
        _Guidance.__init__(self, env.unwrapped, TokenVectorEnv, RevealPlan(float(length), cap=reveal_cap, **arguments))

    @property
    def unwrapped(self) -> TokenVectorEnv:  # type: ignore[override]  # Gymnasium promises the wrapper itself
        """The TokenVectorEnv below all wrappers."""
        return cast("TokenVectorEnv", self.env.unwrapped)

    @property
    def active(self) -> np.ndarray:
        """bool (N,), lanes with a running episode."""
        return self.unwrapped.active


def find_guidance(env: AnyEnv | None) -> GuidanceWrapper | VectorGuidanceWrapper | None:
    """Return the guidance wrapper of an environment, found by walking ``.env``; None if there is none."""
    while env is not None:
        if isinstance(env, _Guidance):
            return env  # type: ignore[return-value]
        env = env.__dict__.get("env")
    return None


def give_feedback(envs: AnyEnv, feedback: Feedback, controller: Controller | None) -> None:
    """Hand the episodes of one update to everyone who learns from them; a training loop calls it once per update.

    The controller is updated, the guidance wrapper takes its new lengths, and every source of problems that learns
    (:class:`~g2rpo_env.curriculum.LearningSource`), below other sources too, takes the episodes, and then the guidance
    that the problems it has set aside would be shown now.

    Args:
        envs: The environment, wrapped or not.
        feedback: The episodes.
        controller: The controller that the wrapper follows; None leaves the wrapper alone.

    Raises:
        MissingGuidanceError: a controller without a guidance wrapper.
        ConfigurationError: see :meth:`Controller.update` and :meth:`VectorGuidanceWrapper.follow`.
    """
    guidance = find_guidance(envs)
    if controller is not None:
        if guidance is None:
            raise MissingGuidanceError(
                f"controller={type(controller).__name__} needs a guidance wrapper around envs: "
                "envs = g2rpo_env.VectorGuidanceWrapper(envs, ...)"
            )
        controller.update(feedback)
        guidance.follow(controller)
    base: Any = envs.unwrapped
    for source in walk_sources(base.task.source):
        if isinstance(source, LearningSource):
            source.learn(feedback)
            source.take_plan({} if guidance is None else guidance.plan_tokens(source.set_aside))
