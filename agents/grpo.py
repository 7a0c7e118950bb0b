"""GRPO: collect, shape, select, advantages, weights, loss, step, controller. Read `update` from top to bottom."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import make_batch
from g2rpo_env.agents.evaluation import ContextRule, Evaluation, UnreadWatch, evaluate
from g2rpo_env.agents.given import Given, check_parts, check_requirements
from g2rpo_env.agents.learner import NO_STEP, Learner
from g2rpo_env.agents.loop import Callback, run_updates
from g2rpo_env.agents.needs import check_controller, check_needs, list_first_problems
from g2rpo_env.agents.parts.advantages.groups import Clamped
from g2rpo_env.agents.parts.credits.entropy import TopEntropyTokens
from g2rpo_env.agents.parts.credits.hidden import HiddenReward, NegativeHiddenReward
from g2rpo_env.agents.parts.credits.probability import ByProbability, Regulated
from g2rpo_env.agents.parts.losses.lengths import LengthPreference
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.parts.protocols import get_requirements
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.agents.policy.loading import check_intact
from g2rpo_env.agents.policy.protocol import Policy
from g2rpo_env.agents.progress import Progress, Report
from g2rpo_env.agents.recipe import Recipe, warn_of_unfindable
from g2rpo_env.agents.rehearsal import rehearse
from g2rpo_env.agents.rollout import token_vector_env
from g2rpo_env.agents.stages import (
    compute_advantages,
    compute_credits,
    compute_rewards,
    compute_weights,
    count_weights,
    select,
)
from g2rpo_env.agents.update import Update
from g2rpo_env.checks.problems import describe_losses
from g2rpo_env.controllers.base import Feedback
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError, ResumeError
from g2rpo_env.guidance import find_guidance, give_feedback
from g2rpo_env.verdict import Outcome

STATE_FILE, CONFIG_FILE = "training_state.pt", "agent.json"


class GRPO:
    """Group-relative policy optimisation, built from part objects.

    Args:
        policy: The policy; trained in place.
        envs: A TokenVectorEnv with autoreset_mode DISABLED, wrapped or not.
        seed: Root seed of the environment and of all sampling.
        device: Torch device that the policy is moved to; None leaves it where it is.
        dtype: Name of a floating-point torch dtype that its weights get; None leaves theirs.
        recipe: The parts; see :class:`~g2rpo_env.agents.recipe.Recipe` for what each does and
            :mod:`~g2rpo_env.agents.recipes` for ready ones.
        **parts: Parts that replace those of ``recipe``: ``loss=...``, ``controller=...``.

    Attributes:
        recipe: The parts as they were given.
        parts: The same, with copies of those that keep something between updates.
        controller: That of ``parts``, or None.
        updates: Number of updates done.
        sampled_tokens: Tokens sampled in them.
        last_update: Record of the last update, for callbacks, files and viewers; None before the first one.

    Raises:
        ConfigurationError: ``envs`` is no TokenVectorEnv, or restarts lanes by itself; there is no such dtype; a part
            requires what nobody provides, or returns what its slot must not on made-up episodes; no group could give a
            gradient, see :func:`check_compares`; the strategy refuses the settings of the guidance wrapper.
        MissingGuidanceError: a controller without a guidance wrapper around ``envs``.
        VocabularyMismatchError, BudgetError: policy and environment do not fit.
    """

    def __init__(
        self,
        policy: Policy,
        envs: Any,
        *,
        seed: int = 0,
        device: str | torch.device | None = None,
        dtype: str | None = None,
        recipe: Recipe | None = None,
        **parts: Any,
    ) -> None:
        self.recipe = dataclasses.replace(recipe or Recipe(), **parts)
        self.policy, self.envs, self.seed = policy, envs, int(seed)
        check_recipe(self.recipe, envs, policy)
        self.guidance = find_guidance(envs)
        copies = copy.deepcopy({**self.recipe.stateful(), "controller": self.recipe.controller})
        self.parts = dataclasses.replace(self.recipe, **copies)
        self.controller = self.parts.controller
        if self.controller is not None and self.guidance is not None:
            self.controller.set_trains_revealed(bool(getattr(self.recipe.token_weight, "revealed", False)))
            self.guidance.follow(self.controller)
        policy.to(device, dtype)
        self.learner = Learner(policy, self.parts)
        rehearse(self.parts, envs.unwrapped, policy.device)
        warn_of_losses(envs.unwrapped.task)
        self.updates = 0
        self.sampled_tokens = 0
        self.last_update: Update | None = None
        self._unread = UnreadWatch(warnings.warn, envs.unwrapped.task.max_new_tokens)
        envs.unwrapped.load_state_dict({"root": self.seed, "counter": 0, "open": {}})

    @property
    def groups(self) -> Groups:
        """Groups of the last update, as they were collected; none before the first one."""
        return Groups() if self.last_update is None else self.last_update.groups

    @property
    def context(self) -> ContextRule | None:
        """Tokens that answers start from in the place of the prompt, as the strategy says; None for the prompt."""
        return getattr(self.parts.strategy, "context", None)

    # -- training ---------------------------------------------------------------------------------------------------

    def learn(
        self,
        updates: int,
        callback: Callable[[GRPO, dict[str, Any]], bool | None] | None = None,
        progress_bar: bool = False,
    ) -> GRPO:
        """Do some updates.

        Args:
            updates: How many more, >= 0.
            callback: Called after each with (agent, metrics); returning False stops the training. What the update saw
                and computed is in :attr:`last_update`.
            progress_bar: Show reward, reveal length and time left, as a bar in a terminal, as plain lines elsewhere.

        Warns once if most answers of an update cannot be graded: no final answer in them, or cut off.

        Raises:
            NonFiniteError: a reward, a log-probability, a loss or a gradient is NaN or infinite; the gradient step is
                not taken.
            OutOfMemoryError: the update does not fit; the gradient step is not taken.
        """
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
        """Do one update and return its metrics (no clock times, so that equal runs have equal metrics)."""
        parts = self.parts
        self.learner.begin(self.updates + 1, self.sampled_tokens)
        reveal_length = None if self.guidance is None else float(self.guidance.length)
        groups = parts.strategy(self.policy, self.envs)
        valid = drop_invalid(groups)
        given = Given(self.learner, self.envs.unwrapped.task, groups.as_trained and not groups.reused)
        rewards = compute_rewards(parts.shaping, valid, given)
        selected, selected_rewards = select(parts.selection, valid, rewards, given)
        advantages = compute_advantages(parts.advantage, selected, selected_rewards)
        credits = compute_credits(parts.credit, selected, advantages, given)
        weights = compute_weights(parts.token_weight, selected, advantages, given)
        losses = self._fit(selected, selected_rewards, advantages, credits, weights, given)
        described = {"update": self.updates + 1, **describe(groups, rewards)}
        metrics = join_metrics(described, groups.metrics, {"reveal_length": reveal_length}, losses)
        give_feedback(self.envs, Feedback.from_groups(groups), self.controller)
        self.updates += 1
        self.sampled_tokens += metrics["sampled_tokens"]
        computed = tuple(selected_rewards), tuple(advantages), credits, tuple(weights)
        self.last_update = Update(self.updates, groups, selected, *computed, dict(metrics))
        return metrics

    def _fit(
        self,
        selected: Groups,
        rewards: list[np.ndarray],
        advantages: list[np.ndarray],
        credits: tuple[np.ndarray, ...] | None,
        weights: list[np.ndarray],
        given: Given,
    ) -> dict[str, Any]:
        """Take the gradient steps of one update."""
        episodes = selected.episodes
        if not episodes:
            return dict(NO_STEP)
        known = given.find_known("reference_log_probs", episodes) if self.learner.needs_reference_column else None
        batch = make_batch(
            episodes,
            np.concatenate(advantages) if credits is None else credits,
            weights,
            self.policy.device,
            counts=count_weights(self.parts.token_weight, episodes, weights),
            rewards=np.concatenate(rewards),
            sets=np.repeat(np.arange(len(selected)), [len(group) for group in selected]),
            reference_log_probs=known,
        )
        return self.learner.fit(batch)

    # -- evaluation, saving, loading --------------------------------------------------------------------------------

    def evaluate(
        self,
        split: str = "test",
        problems: int = 256,
        mode: str = "greedy",
        k: Sequence[int] = (1,),
        *,
        samples: int | None = None,
        seed: int = 0,
        progress: Report | None = None,
    ) -> Evaluation:
        """Return unguided accuracy on a split; see :func:`g2rpo_env.agents.evaluation.evaluate`.

        Builds its own environment and leaves the training streams untouched.
        """
        return evaluate(
            self.policy,
            self.envs,
            split=split,
            problems=problems,
            mode=mode,
            k=k,
            samples=samples,
            seed=seed,
            context=self.context,
            progress=progress,
        )

    def save(self, folder: str | Path) -> None:
        """Write the policy as an ordinary Hugging Face folder, and the training state beside it.

        Call it between updates; no episode is in flight then. Warns of parts that no other program will find, such as
        classes of ``__main__``.

        Raises:
            ConfigurationError: a part of the recipe is no dataclass, see :meth:`Recipe.to_config`.
        """
        folder = Path(folder)
        # First, for a recipe that cannot be saved leaves no folder behind.
        recipe = self.recipe.to_config()
        config = {"seed": self.seed, "policy": self.policy.to_config(), "recipe": recipe}
        for slot, part in recipe.items():
            warn_of_unfindable(part, slot)
        folder.mkdir(parents=True, exist_ok=True)
        self.policy.save_pretrained(folder)
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        torch.save(self.state_dict(), folder / STATE_FILE)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next updates depend on, except the weights of the policy."""
        return {
            "updates": self.updates,
            "sampled_tokens": self.sampled_tokens,
            **self.learner.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.parts.stateful().items()},
            "envs": self.envs.unwrapped.state_dict(),
            "controller": None if self.controller is None else self.controller.state_dict(),
            "guidance": None if self.guidance is None else self.guidance.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            ResumeError: the state has a controller and the agent has none, or the other way round.
        """
        if (state["controller"] is None) != (self.controller is None):
            raise ResumeError("the checkpoint and the agent must both have a controller, or neither")
        self.updates, self.sampled_tokens = state["updates"], state["sampled_tokens"]
        self.learner.load_state_dict(state)
        for name, part in self.parts.stateful().items():
            part.load_state_dict(state["parts"][name])
        self.envs.unwrapped.load_state_dict(state["envs"])
        if self.guidance is not None and state["guidance"] is not None:
            self.guidance.load_state_dict(state["guidance"])
        if self.controller is not None and self.guidance is not None:
            self.controller.load_state_dict(state["controller"])
            self.guidance.follow(self.controller)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        envs: Any,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        policy: Policy | None = None,
    ) -> GRPO:
        """Return the agent that was saved, ready to go on with the next update.

        Args:
            folder: What :meth:`save` wrote. Its configuration names classes, which are imported: load what you trust.
            envs: An environment made and wrapped like the one the agent was trained on.
            device: Torch device.
            dtype: Name of a floating-point torch dtype; None for the one it was trained in.
            policy: The policy with its trained weights, where it is of a class of yours; None for a
                :class:`~g2rpo_env.agents.policy.causal_lm.CausalLMPolicy` with those of the folder.

        Raises:
            ResumeError: the folder holds no saved agent, or a damaged one.
            ConfigurationError: its configuration names a class, a slot or an option that nothing has.
        """
        folder = Path(folder)
        if not (folder / STATE_FILE).is_file() or not (folder / CONFIG_FILE).is_file():
            raise ResumeError(f"folder={str(folder)!r} must hold {CONFIG_FILE} and {STATE_FILE}, written by save()")
        try:
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            config = {name: config[name] for name in ("policy", "seed", "recipe")}
        except (ValueError, TypeError, KeyError) as error:
            raise ResumeError(f"folder={str(folder)!r}: {CONFIG_FILE} is damaged; {error!r}") from None
        try:
            state = torch.load(folder / STATE_FILE, map_location=device, weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
            raise ResumeError(f"folder={str(folder)!r}: {STATE_FILE} is damaged, and can not be read") from error
        if policy is None:
            check_intact(folder)
            options = config["policy"] if dtype is None else {**config["policy"], "dtype": dtype}
            policy = CausalLMPolicy.from_pretrained(folder, device=device, **options)
        else:
            policy.to(device, dtype)
        agent = cls(policy, envs, seed=config["seed"], recipe=Recipe.from_config(config["recipe"]))
        agent.load_state_dict(state)
        return agent


def check_recipe(recipe: Recipe, envs: Any, policy: Policy | None = None) -> None:
    """Raise what a recipe is refused for on an environment, before anything is made of it or sampled.

    Args:
        recipe: The parts. A strategy with ``prepare`` makes the environment ready for what it puts into contexts.
        envs: A TokenVectorEnv, wrapped or not; it is not stepped.
        policy: The policy; None leaves out what depends on it.

    Raises:
        ConfigurationError, MissingGuidanceError, VocabularyMismatchError, BudgetError: see :class:`GRPO`.
    """
    check_requirements(recipe)
    check_parts(recipe)
    token_vector_env(envs)  # raises unless it is one whose lanes wait
    if policy is not None:
        policy.check_fits(envs)
    check_compares(recipe, policy, envs)
    check_controller(recipe)
    check_needs(recipe, envs.unwrapped)
    guidance, strategy = find_guidance(envs), recipe.strategy
    if guidance is None and recipe.needs_guidance:
        part = "strategy" if recipe.controller is None else "controller"
        raise MissingGuidanceError(
            f"{part}={type(getattr(recipe, part)).__name__} needs a guidance wrapper around envs: "
            "envs = g2rpo_env.VectorGuidanceWrapper(envs, ...)"
        )
    if guidance is not None and hasattr(strategy, "check_guidance"):
        strategy.check_guidance(guidance)
    if hasattr(strategy, "prepare"):
        strategy.prepare(policy, envs)


SCALING = (Regulated, ByProbability, TopEntropyTokens, HiddenReward, NegativeHiddenReward)
"""Credits that multiply advantages: of 0 they leave 0."""


def is_advantage_all(recipe: Recipe) -> bool:
    """Whether an episode of advantage 0 teaches nothing, and groups are what the environment makes them.

    What else collects groups may compare others, and other parts may know more than the advantage of a group.
    """
    asks_more = get_requirements(recipe.loss) & {"sets", "every_row", "reference_log_probs"}
    return (
        isinstance(recipe.strategy, Rollout | Reroll)
        and (isinstance(recipe.loss, ClippedSurrogate | LogLikelihood | LengthPreference) or not asks_more)
        and (recipe.credit is None or isinstance(recipe.credit, SCALING))
        and recipe.regularizer is None
    )


def check_compares(recipe: Recipe, policy: Policy | None, envs: Any) -> None:
    """Raise ConfigurationError where every advantage would be 0 because members have nothing to be compared with.

    That is groups of one under an advantage that is relative to the group, and, without guidance, a truncation that
    leaves the likeliest token alone: all members are then the same text.
    """
    size = envs.unwrapped.group_size
    truncation = getattr(policy, "truncation", None)
    all_alike = getattr(truncation, "leaves_one", False) and find_guidance(envs) is None
    advantage: Any = recipe.advantage
    while isinstance(advantage, Clamped) and advantage.low <= 0:  # leaves 0 where it is
        advantage = advantage.inner
    required = get_requirements(advantage) | get_requirements(recipe.selection)
    if not (size == 1 or all_alike) or not is_advantage_all(recipe) or "groups" in required:
        return
    advantage = copy.deepcopy(advantage)
    if np.any(advantage(np.zeros(size))) or np.any(advantage(np.ones(size))):
        return
    learns_nothing = f"advantage={type(advantage).__name__} would be 0 for each, and nothing would be learnt"
    if size == 1:
        raise ConfigurationError(f"group_size=1 must be at least 2: a group has no other member; {learns_nothing}")
    raise ConfigurationError(f"{truncation} makes all members of a group the same text: {learns_nothing}")


def warn_of_losses(task: Any) -> None:
    """Warn of a task whose settings lose something in silence, as far as its first problems show it."""
    for text in describe_losses(task, list_first_problems(task)):
        warnings.warn(text, stacklevel=3)


def drop_invalid(groups: Groups) -> Groups:
    """Return the groups without episodes whose verifier failed; such an episode says nothing about the policy."""
    kept = Groups()
    for group in groups:
        episodes = tuple(e for e in group.episodes if e.valid)
        if episodes:
            kept.append(Group(episodes))
    return kept


def join_metrics(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics in one dict.

    Raises:
        ConfigurationError: a name is there twice.
    """
    joined: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name in joined:
                raise ConfigurationError(
                    f"metric={name!r} must be logged once; what a strategy or a loss logs needs a name of its own"
                )
            joined[name] = value
    return joined


def describe(groups: Groups, rewards: list[np.ndarray]) -> dict[str, Any]:
    """Return the metrics of a rollout, episodes included that were left out; None where there is no mean to take.

    Args:
        groups: The groups as they were collected.
        rewards: Shaped rewards of the groups without invalid episodes.
    """
    episodes = groups.sampled_episodes
    feedback = Feedback.from_episodes(episodes)
    sampled = [int(e.sampled_T.sum()) for e in episodes]
    written = [e for e, tokens in zip(episodes, sampled, strict=True) if tokens and e.valid]
    return {
        "reward": none_if_nan(feedback.reward("all")),
        "reward_guided": none_if_nan(feedback.reward("guided")),
        "reward_unguided": none_if_nan(feedback.reward("unguided")),
        "groups_with_signal": float(np.mean([np.ptp(r) > 0 for r in rewards])) if rewards else None,
        "episodes": len(episodes),
        "invalid": int(sum(not e.valid for e in episodes)),
        "sampled_tokens": groups.sampled_tokens,
        "revealed_tokens": groups.revealed_tokens,
        "sampled_length": float(np.mean(sampled)) if sampled else None,
        "truncated": float(np.mean([e.truncated for e in episodes])) if sampled else None,
        "no_answer": float(np.mean([e.verdict.outcome is Outcome.NO_ANSWER for e in written])) if written else None,
    }


def none_if_nan(value: float) -> float | None:
    """Return a number, None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
