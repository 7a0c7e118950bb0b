"""Arms: several ways to train one base, with one budget, measured on the same problems."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from g2rpo_env.agents import CausalLMPolicy, Evaluation, evaluate, recipes
from g2rpo_env.agents.agent import Agent, Updater
from g2rpo_env.agents.evaluation import ContextRule
from g2rpo_env.agents.loop import run_updates
from g2rpo_env.agents.needs import check_needs
from g2rpo_env.agents.progress import Report
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.controllers.base import Controller
from g2rpo_env.controllers.schedules import Replay
from g2rpo_env.curriculum import Ramp
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.guidance import find_guidance
from g2rpo_env.naming import load_object
from g2rpo_env.report.plots import Curves

UNGUIDED = "@unguided"
"""Ending of the name of an algorithm that trains without guidance."""

GUIDED: Mapping[str, bool | str] = {"@guided": True, "@guided-masked": False, "@guided-positive": "positive"}
"""Ending of the name of a recipe -> what its guided form makes of revealed tokens; see ``recipes.guided``."""


@dataclass(frozen=True)
class Arm:
    """One way to train the base.

    Attributes:
        label: Row of the table, and name of the run folder.
        algorithm: Name of a recipe, ``"module:function"`` of one of yours, either perhaps with an ending of
            :data:`GUIDED` for its guided form, or ``"module:Class"`` of an :class:`~g2rpo_env.agents.agent.Agent`.
        learning_rate: None leaves that of the recipe, of ``parts["optimizer"]`` or of the agent.
        guided: Whether it trains in the guided environment; False reveals nothing to it.
        controller: Replaces that of the recipe; None leaves it.
        parts: Name of another part of the recipe -> what replaces it; the decay of an optimizer is that of the
            setting. An agent that is no recipe is made with them as further arguments.
        replays: Label of a guided arm whose reveal lengths this one plays back, update by update: with the same seed
            it then sees exactly the tokens that were revealed there.
    """

    label: str
    algorithm: str
    learning_rate: float | None = None
    guided: bool = True
    controller: Controller | None = field(default=None, compare=False)
    replays: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Setting:
    """The environment, the budget and the measurement that all compared arms share.

    Attributes:
        env: Id of the environment.
        task: Arguments of its task.
        guidance: Arguments of the guidance wrapper, for guided arms.
        problems: Problems per update.
        group_size: Members per problem.
        updates: Updates of each arm, or of those that sample nothing where ``sampled_tokens`` is given.
        sampled_tokens: Arms end with the update that reaches this many sampled tokens; None counts updates.
        evaluation_problems: Problems of the split ``test`` in the final greedy evaluation.
        evaluations: Evaluations on the validation split after the one of the base, evenly over the budget, for the
            curves.
        curve_problems: Problems of those.
        seed: Root seed of every arm.
        decay: Whether learning rates fall linearly to the end of the budget, in every arm.
        order: Arguments of :class:`~g2rpo_env.curriculum.Ramp` around the training problems; None draws them at random.
        measured: Arguments of the task that accuracy is measured on; None measures on the one that is trained on.
    """

    env: str
    task: dict[str, Any]
    guidance: dict[str, Any]
    problems: int = 8
    group_size: int = 8
    updates: int = 200
    sampled_tokens: int | None = None
    evaluation_problems: int = 512
    evaluations: int = 6
    curve_problems: int = 128
    seed: int = 0
    decay: bool = False
    order: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None

    def get_environment(self) -> dict[str, Any]:
        """Return the environment as plain data, for the folders of bases and runs: a later command finds it there."""
        options = {"env": self.env, "task": self.task, "guidance": self.guidance}

        def convert(value: Any) -> Any:  # options such as traces are objects, and may be given as mappings too
            is_object = dataclasses.is_dataclass(value) and not isinstance(value, type)
            return dataclasses.asdict(value) if is_object else str(value)

        return json.loads(json.dumps(options, default=convert))

    def make_envs(self, *, guided: bool) -> Any:
        """Return the training environment."""
        envs = make_envs(self.env, self.problems, self.group_size, self.task, self.guidance if guided else None)
        if self.order is not None:
            task = envs.unwrapped.task
            task.source = Ramp(task.source, **self.order)
        return envs

    def evaluate(self, agent: Agent, split: str, problems: int) -> Evaluation:
        """Return the greedy unguided accuracy of an agent on problems in their own order, whatever it trains on."""
        if self.order is None and self.measured is None:
            return agent.evaluate(split, problems)
        task = self.task if self.measured is None else self.measured
        return evaluate(
            cast(Any, agent).policy,
            make_envs(self.env, 1, 1, task),
            split=split,
            problems=problems,
            context=getattr(agent, "context", None),
        )


@dataclass(frozen=True)
class Result:
    """The outcome of one arm.

    Attributes:
        arm: The arm.
        seed: Root seed.
        evaluation: Greedy unguided accuracy on the test problems.
        sampled_tokens: Tokens sampled in training: the budget that is compared.
        curves: Metrics and evaluations.
        seconds: Wall-clock time of the training.
    """

    arm: Arm
    seed: int
    evaluation: Evaluation
    sampled_tokens: int = 0
    curves: Curves = field(default_factory=lambda: Curves(()))
    seconds: float = 0.0

    @property
    def reveal_lengths(self) -> tuple[float, ...]:
        """Reveal length of each update."""
        return tuple(row["reveal_length"] for row in self.curves.metrics)


@dataclass(frozen=True)
class Failure:
    """An arm that has no result.

    Attributes:
        arm: The arm.
        seed: Root seed.
        error: What it raised, as one line.
    """

    arm: Arm
    seed: int
    error: str

    def __str__(self) -> str:
        return f"{self.arm.label}, seed {self.seed}: {self.error}"


def evaluate_base(
    setting: Setting,
    base: Path,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Report | None = None,
    context: ContextRule | None = None,
) -> Evaluation:
    """Return the accuracy of the base on the test problems.

    Args:
        setting: Environment and number of problems.
        base: Folder of the base.
        device: Torch device.
        dtype: Torch dtype of the weights.
        progress: Shows how far it is.
        context: Tokens that answers start from in the place of the prompt; None for the prompt.
    """
    policy = CausalLMPolicy.from_pretrained(base, device=device, dtype=dtype)
    envs = setting.make_envs(guided=False)
    return evaluate(policy, envs, problems=setting.evaluation_problems, progress=progress, context=context)


class UpdateRecorder(Protocol):
    """Keeps the updates and the evaluations of a training, as a run folder does."""

    def record(self, metrics: dict[str, Any], seconds: float) -> None:
        """Keep one update."""
        ...

    def record_evaluation(self, update: int, evaluation: Evaluation) -> None:
        """Keep an evaluation made after ``update`` updates."""
        ...


def train(
    agent: Agent, setting: Setting, recorder: UpdateRecorder, on_share: Callable[[float], None] | None = None
) -> int:
    """Train an agent until its budget is spent, record its updates and evaluations, and return how many updates.

    Args:
        agent: The agent.
        setting: Its budget and when it is evaluated.
        recorder: Keeps both.
        on_share: Called after each update with the share of the budget that is spent, to show progress.
    """
    recorder.record_evaluation(0, setting.evaluate(agent, "validation", setting.curve_problems))
    updates = evaluations = 0

    def update() -> dict[str, Any]:
        if isinstance(agent, Updater):
            return agent.update()
        before = agent.sampled_tokens
        agent.learn(1)
        return {"update": updates + 1, "sampled_tokens": agent.sampled_tokens - before}

    def count(metrics: dict[str, Any], seconds: float) -> None:
        nonlocal updates
        updates += 1
        if on_share is not None:
            on_share(_share_used(setting, updates, agent.sampled_tokens))

    def evaluate_if_due(metrics: dict[str, Any], seconds: float) -> None:
        nonlocal evaluations
        due = int(_share_used(setting, updates, agent.sampled_tokens) * setting.evaluations)
        if due > evaluations:
            evaluations = due
            recorder.record_evaluation(updates, setting.evaluate(agent, "validation", setting.curve_problems))

    return run_updates(
        update,
        lambda: _share_used(setting, updates, agent.sampled_tokens) < 1,
        [recorder.record, count, evaluate_if_due],
    )


def _share_used(setting: Setting, updates: int, sampled_tokens: int) -> float:
    """Return the share of its budget that an agent has used; one that samples nothing is counted in updates."""
    if setting.sampled_tokens is None or (updates > 0 and sampled_tokens == 0):
        return updates / setting.updates
    return sampled_tokens / setting.sampled_tokens


def make_agent(setting: Setting, policy: Any, arm: Arm, lengths: Sequence[float] | None) -> Any:
    """Return the agent of an arm.

    Raises:
        ConfigurationError: no such recipe, module or class.
    """
    envs = setting.make_envs(guided=arm.guided)
    if not is_recipe(arm.algorithm):
        options = {} if arm.learning_rate is None else {"learning_rate": arm.learning_rate}
        return load_agent(arm.algorithm)(policy, envs, seed=setting.seed, **options, **arm.parts)
    recipe = get_recipe(arm.algorithm)
    optimizer = arm.parts.get("optimizer", recipe.optimizer)
    counts_updates = setting.sampled_tokens is None
    optimizer = replace(
        optimizer,
        learning_rate=optimizer.learning_rate if arm.learning_rate is None else arm.learning_rate,
        decay=setting.updates if setting.decay and counts_updates else None,
        decay_tokens=setting.sampled_tokens if setting.decay else None,
    )
    parts: dict[str, Any] = {**arm.parts, "optimizer": optimizer}
    if arm.controller is not None:
        parts["controller"] = arm.controller
    if lengths is not None:
        parts["controller"] = Replay(lengths=tuple(lengths))
    return recipes.make(recipe, policy, envs, seed=setting.seed, **parts)


def check_fits(setting: Setting, arm: Arm) -> None:
    """Raise ConfigurationError where the task or the guidance of a setting is not what the parts of an arm need.

    An agent says so as well, but only when it is made, which is after the warm start of its base.
    """
    if not is_recipe(arm.algorithm):
        return
    recipe, envs = replace(get_recipe(arm.algorithm), **arm.parts), setting.make_envs(guided=arm.guided)
    check_needs(recipe, envs.unwrapped)
    guidance, check = find_guidance(envs), getattr(recipe.strategy, "check_guidance", None)
    if guidance is not None and check is not None:
        check(guidance)


def split_form(name: str) -> tuple[str, str]:
    """Return the name of an algorithm without its ending, and the ending; ``""`` where it has none.

    Raises:
        ConfigurationError: there is no such ending.

    >>> split_form("dapo@guided-positive"), split_form("dapo")
    (('dapo', '@guided-positive'), ('dapo', ''))
    """
    plain, at, form = name.partition("@")
    if at and at + form not in (UNGUIDED, *GUIDED):
        raise ConfigurationError(f"algorithm={name!r} must end in {', '.join((UNGUIDED, *GUIDED))}, or have no @")
    return plain, at + form


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name, its guided form where the name ends in one of :data:`GUIDED`.

    Raises:
        ConfigurationError: there is no such recipe, or it has no such form.

    >>> get_recipe("dapo@guided") == recipes.guided("dapo")
    True
    """
    plain, form = split_form(name)
    if form not in GUIDED:
        return recipes.get(plain)
    try:
        return recipes.guided(plain, GUIDED[form])
    except ConfigurationError as error:
        raise ConfigurationError(f"algorithm={name!r}: {error}") from None


def is_recipe(name: str) -> bool:
    """Whether a name is that of a recipe: a Recipe, or a function that is called without arguments; agents take some.

    Raises:
        ConfigurationError: it cannot be imported.

    >>> is_recipe("grpo"), is_recipe("g2rpo_env.agents.recipes.plain:raft"), is_recipe("g2rpo_env.agents:GRPO")
    (True, True, False)
    """
    if ":" not in name:
        return True
    found = load_object(split_form(name)[0], "algorithm")
    if isinstance(found, type) or not callable(found):
        return isinstance(found, Recipe)
    try:
        inspect.signature(found).bind()
    except TypeError:
        return False
    return True


def load_agent(name: str) -> Callable[..., Agent]:
    """Return the class that ``"module:Class"`` names.

    Raises:
        ConfigurationError: it cannot be imported.
    """
    return load_object(name, "algorithm")
