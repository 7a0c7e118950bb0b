"""Needs: what parts need of an environment, looked up on its first problems before the first rollout.

A part says it in an attribute ``needs``, a set of names from :data:`NEEDS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.checks.problems import GRADED
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import suggest
from g2rpo_env.problem import Problem


@dataclass(frozen=True)
class Need:
    """Something that a part may need.

    Attributes:
        rule: What must be there, as the end of a message.
        lack: TokenVectorEnv -> the argument and the value that show that it is missing; ``""`` where it is there.
    """

    rule: str
    lack: Callable[[Any], str]


def get_needs(part: Any) -> frozenset[str]:
    """Return the names that a part declares in ``needs``; none where it declares nothing."""
    return frozenset(getattr(part, "needs", ()))


def list_first_problems(task: Any) -> list[Problem]:
    """Return the first few problems of a task, in a seeded order."""
    source = task.source
    return [source.get(name) for name in dict.fromkeys(source.draw(0, index) for index in range(GRADED))]


def lack_members(envs: Any) -> str:
    """Return ``group_size=1`` where groups have one member."""
    return f"group_size={envs.group_size}" if envs.group_size < 2 else ""


def lack_steps(envs: Any) -> str:
    """Return the first problem whose solution has no steps."""
    without = [p for p in list_first_problems(envs.task) if not any(step.strip() for step in p.steps)]
    return f"steps={without[0].steps!r} of problem {without[0].problem_id!r}" if without else ""


def lack_answers(envs: Any) -> str:
    """Return the first problem in whose own solution the verifier names no answer."""
    problems = list_first_problems(envs.task)
    verdicts = envs.task.grade(problems, [p.solution for p in problems])
    for problem, verdict in zip(problems, verdicts, strict=True):
        if verdict.valid and (not verdict.answer or str(verdict.answer) not in problem.solution):
            return f"answer={verdict.answer!r:.40} in the solution of problem {problem.problem_id!r}"
    return ""


def lack_binary(envs: Any) -> str:
    """Return the first verdict on an empty answer that has a score, which tasks give that grade by degrees."""
    problems = list_first_problems(envs.task)
    for problem, verdict in zip(problems, envs.task.grade(problems, [""] * len(problems)), strict=True):
        if verdict.valid and verdict.score is not None:
            return f"score={verdict.score} of an empty answer to problem {problem.problem_id!r}"
    return ""


NEEDS: Mapping[str, Need] = {
    "members": Need("groups must have two members or more, who are compared", lack_members),
    "steps": Need("solutions must come in steps", lack_steps),
    "answers": Need("verdicts must name the final answer as it stands in the completion", lack_answers),
    "binary": Need("rewards must be 0 or 1, and not by degrees", lack_binary),
}
"""Need -> its rule, and how its lack is found."""


def check_needs(recipe: Recipe, envs: Any) -> None:
    """Raise ConfigurationError unless an environment has what the parts of a recipe need.

    Args:
        recipe: The parts.
        envs: The TokenVectorEnv; it is not stepped. Its verifier is asked where a part needs answers or binary rewards.

    Raises:
        ConfigurationError: something is missing, or a part names a need that nothing is known of.
    """
    for field in dataclasses.fields(recipe):
        part = getattr(recipe, field.name)
        for name in sorted(get_needs(part)):
            what = f"{field.name}={type(part).__name__}"
            if name not in NEEDS:
                known = f"{', '.join(NEEDS)}{suggest(name, NEEDS)}"
                raise ConfigurationError(f"needs={name!r} of {what} must be one of {known}")
            found = NEEDS[name].lack(envs)
            if found:
                raise ConfigurationError(f"{found}: {NEEDS[name].rule}; {what} needs it")


def check_controller(recipe: Recipe) -> None:
    """Raise ConfigurationError where the controller of a recipe follows a success that its strategy never samples."""
    controller, strategy = recipe.controller, recipe.strategy
    if controller is not None and controller.follows_success and not getattr(strategy, "samples", True):
        raise ConfigurationError(
            f"controller={type(controller).__name__} follows success, and strategy={type(strategy).__name__} samples "
            "no answer that could succeed: take FixedGuidance, Replay or a schedule"
        )
