"""Staged: several recipes one after the other on one policy, in one order of problems."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.evaluation import ContextRule, Evaluation, UnreadWatch
from g2rpo_env.agents.grpo import GRPO, check_recipe
from g2rpo_env.agents.loop import Callback, run_updates
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.protocol import Policy
from g2rpo_env.agents.progress import Progress
from g2rpo_env.agents.recipe import Recipe, check_known
from g2rpo_env.agents.rehearsal import rehearse
from g2rpo_env.agents.rollout import token_vector_env
from g2rpo_env.agents.update import Update
from g2rpo_env.curriculum import Without
from g2rpo_env.episode import Episode, Group, Groups
from g2rpo_env.errors import BudgetError, ConfigurationError, ResumeError
from g2rpo_env.guidance import find_guidance
from g2rpo_env.streams import stream

STAGES_FILE, STORE_FILE = "stages.json", "store.jsonl"


@dataclass(frozen=True)
class Stage:
    """One stage of a staged training.

    Args:
        recipe: What is done in it.
        updates: How many updates, >= 1. The last stage goes on for as long as it is asked to.
        keep: The groups of so many of its last updates are kept for later stages, >= 0. A stage that keeps some begins
            with an empty store.
        drop: Share of the problems solved in it that no later stage draws, in [0, 1]. Solved are those whose last group
            was all right without guidance.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    recipe: Recipe
    updates: int
    keep: int = 0
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        if not isinstance(self.recipe, Recipe):
            raise ConfigurationError(f"recipe={self.recipe!r:.80} of a stage must be a Recipe")
        if self.updates < 1:
            raise ConfigurationError(f"updates={self.updates} of a stage must be at least 1")
        if self.keep < 0:
            raise ConfigurationError(f"keep={self.keep} of a stage must be at least 0")
        if not 0 <= self.drop <= 1:
            raise ConfigurationError(f"drop={self.drop} of a stage must lie in [0, 1]")
        if self.keep and self.takes_store:
            raise ConfigurationError(
                f"keep={self.keep} of a stage must be 0 where its strategy, {type(self.recipe.strategy).__name__}, "
                "hands out what was kept"
            )

    @property
    def takes_store(self) -> bool:
        """Whether its strategy hands out groups that earlier stages kept."""
        return callable(getattr(self.recipe.strategy, "fill", None))  # an option may have that name too

    def to_config(self) -> dict[str, Any]:
        """Return the stage as plain data; raises as :meth:`Recipe.to_config` does."""
        return {"recipe": self.recipe.to_config(), "updates": self.updates, "keep": self.keep, "drop": self.drop}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Stage:
        """Return the stage of plain data; see :meth:`Recipe.from_config`."""
        check_known(config, ["recipe", "updates", "keep", "drop"], "a field of a stage")
        return cls(**{**config, "recipe": Recipe.from_config(config["recipe"])})


class Staged:
    """An agent of several stages: a GRPO agent for each, one after the other, that trains one policy.

    A stage begins with a new optimiser, with a reference that is the policy as it is then, with its controller at its
    start and with the guidance wrapper at the length it had when the training began. The order of problems and the
    numbers of updates and sampled tokens go on. It follows :class:`~g2rpo_env.agents.agent.Agent`.

    Args:
        policy: The policy; trained in place.
        envs: A TokenVectorEnv, wrapped or not, see :class:`~g2rpo_env.agents.grpo.GRPO`. A stage that drops problems
            gives it a task with another source.
        seed: Root seed of the environment and of all sampling.
        stages: The stages, at least one.
        device: See GRPO.
        dtype: See GRPO.
        agent: The agent of a stage that runs already, for :meth:`load`; None makes that of the first stage.

    Attributes:
        stages: The stages.
        agent: The agent of the stage that runs.
        number: Number of that stage, counted from 0.
        done: Its updates so far.
        store: Groups that were kept, those of an update together.
        dropped: Problems that are not drawn any more.

    Raises:
        ConfigurationError: there is no stage; one hands out what none before it kept; a recipe of any of them is
            refused as GRPO refuses it.
        MissingGuidanceError, BudgetError: see there.
    """

    def __init__(
        self,
        policy: Policy,
        envs: Any,
        *,
        seed: int = 0,
        stages: Sequence[Stage],
        device: str | torch.device | None = None,
        dtype: str | None = None,
        agent: GRPO | None = None,
    ) -> None:
        token_vector_env(envs)  # raises unless it is one whose lanes wait
        check_stages(stages)
        self.stages = tuple(stages)
        self.number, self.done = 0, 0
        self.store: list[Groups] = []
        self.dropped: frozenset[str] = frozenset()
        self._solved: set[str] = set()
        self._unread = UnreadWatch(warnings.warn, envs.unwrapped.task.max_new_tokens)
        self._envs, self._source = envs, envs.unwrapped.task.source
        guidance = find_guidance(envs)
        self._length = None if guidance is None else guidance.length
        if agent is None:
            agent = GRPO(policy, envs, seed=seed, device=device, dtype=dtype, recipe=self.stage.recipe)
            for number, stage in enumerate(self.stages[1:], 1):
                _check_recipe(stage.recipe, number, envs, agent)
        self.agent = agent

    # -- what callers read ------------------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The stage that runs."""
        return self.stages[self.number]

    @property
    def policy(self) -> Policy:
        """The policy."""
        return self.agent.policy

    @property
    def envs(self) -> Any:
        """The training environment."""
        return self._envs

    @property
    def seed(self) -> int:
        """Root seed."""
        return self.agent.seed

    @property
    def updates(self) -> int:
        """Updates done, in all stages."""
        return self.agent.updates

    @property
    def sampled_tokens(self) -> int:
        """Tokens sampled in them; groups that are handed out again count once."""
        return self.agent.sampled_tokens

    @property
    def groups(self) -> Groups:
        """Groups of the last update of this stage, as they were collected."""
        return self.agent.groups

    @property
    def last_update(self) -> Update | None:
        """Record of the last update of this stage."""
        return self.agent.last_update

    @property
    def context(self) -> ContextRule | None:
        """Tokens that answers start from in the place of the prompt, as the strategy of this stage says."""
        return self.agent.context

    # -- training ---------------------------------------------------------------------------------------------------

    def learn(
        self,
        updates: int,
        callback: Callable[[Staged, dict[str, Any]], bool | None] | None = None,
        progress_bar: bool = False,
    ) -> Staged:
        """Do some more updates, through as many stages as they span; see :meth:`GRPO.learn`."""
        if updates < 0:
            raise ConfigurationError(f"updates={updates} must be at least 0")
        end = self.updates + updates
        with Progress(updates, enabled=progress_bar) as progress:
            callbacks: list[Callback] = [lambda metrics, seconds: progress.update(metrics)]
            callbacks.append(self._unread)
            if callback is not None:
                callbacks.append(lambda metrics, seconds: callback(self, metrics))
            run_updates(self.update, lambda: self.updates < end, callbacks)
        return self

    def update(self) -> dict[str, Any]:
        """Do one update, in the next stage where this one is over, and return its metrics.

        ``stage`` is among them where there are several.
        """
        if self.done >= self.stage.updates and self.number + 1 < len(self.stages):
            self._go_on()
        metrics = self.agent.update()
        self.done += 1
        self._remember(self.agent.groups)
        return metrics if len(self.stages) == 1 else {**metrics, "stage": self.number}

    def _remember(self, groups: Groups) -> None:
        """Keep what later stages need of the groups of an update."""
        if groups.reused:
            return
        if self.stage.keep:
            self.store.append(Groups(groups))  # without what was left out
            del self.store[: -self.stage.keep]
        if self.stage.drop:
            for group in groups:
                change = self._solved.add if _is_solved(group) else self._solved.discard
                change(group.problem_id)

    def _go_on(self) -> None:
        """Begin the next stage."""
        self._drop_solved()
        base, guidance, before = self._envs.unwrapped, find_guidance(self._envs), self.agent
        order, updates, sampled_tokens = base.state_dict(), before.updates, before.sampled_tokens
        if guidance is not None and self._length is not None:
            guidance.length = self._length  # it follows the old controller no longer
        recipe = self.stages[self.number + 1].recipe
        agent = GRPO(before.policy, self._envs, seed=before.seed, recipe=recipe)
        base.load_state_dict(order)  # a new agent goes back to the first problem
        agent.updates, agent.sampled_tokens = updates, sampled_tokens
        self.agent, self.number, self.done = agent, self.number + 1, 0
        if self.stage.keep:
            self.store.clear()
        self._fill()

    def _fill(self) -> None:
        """Give the strategy what was kept, where it hands that out."""
        if self.stage.takes_store:
            strategy: Any = self.agent.parts.strategy
            strategy.fill([group for groups in self.store for group in groups])

    def _drop_solved(self) -> None:
        """Let the later stages do without a share of the problems that this one solved."""
        names = sorted(self._solved - self.dropped)
        self._solved.clear()
        count = int(np.floor(self.stage.drop * len(names) + 0.5))
        if count:
            order = stream(self.seed, "drop", self.number).permutation(len(names))
            self._set_dropped(self.dropped | {names[int(i)] for i in order[:count]})

    def _set_dropped(self, dropped: frozenset[str]) -> None:
        self.dropped = dropped
        base = self._envs.unwrapped
        task = copy.copy(base.task)  # another environment may share it
        task.source = Without(self._source, dropped)
        base.task = task

    # -- evaluation, saving, loading --------------------------------------------------------------------------------

    def evaluate(self, split: str = "test", problems: int = 256, *args: Any, **options: Any) -> Evaluation:
        """Return unguided accuracy on a split; see :meth:`GRPO.evaluate`."""
        return self.agent.evaluate(split, problems, *args, **options)

    def save(self, folder: str | Path) -> None:
        """Write the policy and the agent of this stage as :meth:`GRPO.save` does, and beside them stages and store.

        ``stages.json`` has the stages and where the training stands, ``store.jsonl`` the episodes that were kept, as
        :meth:`Episode.to_record` gives them, with their log-probabilities in full.

        Raises:
            ConfigurationError: a part of a recipe is no dataclass, see :meth:`Recipe.to_config`.
        """
        folder = Path(folder)
        state = {
            "stages": [stage.to_config() for stage in self.stages],
            "number": self.number,
            "done": self.done,
            "length": self._length,
            "solved": sorted(self._solved),
            "dropped": sorted(self.dropped),
            "kept": len(self.store),  # updates; those that had no groups leave no line in the store
        }
        self.agent.save(folder)
        (folder / STAGES_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        lines = [json.dumps(record) for record in make_records(self.store)]
        (folder / STORE_FILE).write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        envs: Any,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        policy: Policy | None = None,
    ) -> Staged:
        """Return the agent that was saved, ready to go on with the next update; see :meth:`GRPO.load`.

        Args:
            folder: What :meth:`save` wrote. Its configuration names classes, which are imported: load what you trust.
            envs: An environment made and wrapped like the one the agent was trained on, no problem dropped.
            device: See GRPO.load.
            dtype: See there.
            policy: See there.

        Raises:
            ResumeError: the folder holds no saved agent of stages, or a damaged one.
            ConfigurationError: its configuration names a class, a slot or an option that nothing has.
        """
        folder = Path(folder)
        if not (folder / STAGES_FILE).is_file():
            raise ResumeError(f"folder={str(folder)!r} must hold {STAGES_FILE}, written by Staged.save()")
        try:
            state = json.loads((folder / STAGES_FILE).read_text(encoding="utf-8"))
            stages = [dict(stage) for stage in state["stages"]]
            number, done, length = int(state["number"]), int(state["done"]), state["length"]
            solved, dropped = set(map(str, state["solved"])), frozenset(map(str, state["dropped"]))
            kept = int(state["kept"]) if "kept" in state else None  # not in what earlier versions wrote
            if not 0 <= number < len(stages):
                raise ValueError(f"number={number}")
        except (ValueError, TypeError, KeyError) as error:
            raise ResumeError(f"folder={str(folder)!r}: {STAGES_FILE} is damaged; {error!r}") from None
        made, store = [Stage.from_config(stage) for stage in stages], read_store(folder / STORE_FILE, kept)
        agent = GRPO.load(folder, envs, device=device, dtype=dtype, policy=policy)
        staged = cls(agent.policy, envs, seed=agent.seed, stages=made, agent=agent)
        staged._restore(number, done, store, solved, length)
        if dropped:
            staged._set_dropped(dropped)
        return staged

    def _restore(self, number: int, done: int, store: list[Groups], solved: set[str], length: float | None) -> None:
        """Go to a place in the stages."""
        self.number, self.done, self.store = number, done, store
        self._solved, self._length = solved, length
        self._fill()


def check_stages(stages: Sequence[Stage]) -> None:
    """Raise ConfigurationError unless there are stages, and those that hand out groups come behind some that keep."""
    if not isinstance(stages, Sequence) or not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise ConfigurationError(f"stages={stages!r:.80} must be a list of one Stage or more")
    kept = False
    for number, stage in enumerate(stages):
        if stage.takes_store and not kept:
            raise ConfigurationError(
                f"stages[{number}]: strategy={type(stage.recipe.strategy).__name__} hands out groups that were kept: a "
                "stage before it must have keep above 0"
            )
        kept = kept or stage.keep > 0


def _check_recipe(recipe: Recipe, number: int, envs: Any, first: GRPO) -> None:
    """Raise what an agent of a later stage would raise, before the first rollout and without making one."""
    try:
        check_recipe(recipe, envs, first.policy)
        rehearse(recipe, envs.unwrapped, first.policy.device)
    except (ConfigurationError, BudgetError) as error:
        raise type(error)(f"stages[{number}]: {error}") from error


def _is_solved(group: Group) -> bool:
    """Whether all answers of a group that were graded are right, and none of them was helped."""
    valid = [episode for episode in group.episodes if episode.valid]
    return bool(valid) and all(episode.correct and not episode.guided for episode in valid)


def make_records(store: Sequence[Groups]) -> list[dict[str, Any]]:
    """Return the episodes of a store as plain data, with the places of their update and group, exact."""
    return [
        {
            "update": update,
            "place": place,
            **episode.to_record(),
            "logprobs": [float(x) if s else None for x, s in zip(episode.logprob_T, episode.sampled_T, strict=True)],
        }
        for update, groups in enumerate(store)
        for place, group in enumerate(groups)
        for episode in group.episodes
    ]


def read_store(file: Path, kept: int | None = None) -> list[Groups]:
    """Return the store that a file of :func:`make_records` holds.

    Args:
        file: The file.
        kept: Number of updates in the store, of which those without groups have no line; None: those with lines.

    Raises:
        ResumeError: it is not there, or damaged.
    """
    found: dict[int, dict[int, list[Episode]]] = {}
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            places = found.setdefault(int(record["update"]), {})
            places.setdefault(int(record["place"]), []).append(Episode.from_record(record))
        if kept is not None and not kept > max(found, default=-1):
            raise ValueError(f"kept={kept} of {STAGES_FILE} must be above update={max(found, default=-1)}")
    except (OSError, ValueError, TypeError, KeyError, ConfigurationError) as error:
        raise ResumeError(f"{str(file)!r} is damaged, and can not be read: {error!r:.200}") from None
    rows = found.values() if kept is None else [found.get(update, {}) for update in range(kept)]
    return [Groups(Group(tuple(episodes)) for episodes in places.values()) for places in rows]
