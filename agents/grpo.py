"""GRPO: collect, shape, select, advantages, weights, loss, step, controller. Read `update` from top to bottom."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.checkpointing import checkpointing, named_out_of_memory
from g2rpo_env.agents.evaluation import Evaluation, evaluate
from g2rpo_env.agents.parts.references.models import make_reference
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.agents.progress import Progress
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.rollout import token_vector_env
from g2rpo_env.controllers.base import Feedback
from g2rpo_env.episode import Episode, Group, Groups, Role
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError, NonFiniteError, OutOfMemoryError, ResumeError
from g2rpo_env.guidance import find_guidance

STATE_FILE, CONFIG_FILE = "training_state.pt", "agent.json"
NO_STEP = {"loss": None, "grad_norm": None}


class GRPO:
    """Group-relative policy optimisation, built from part objects.

    Args:
        policy: The policy; trained in place.
        envs: A TokenVectorEnv with autoreset_mode DISABLED, wrapped or not.
        seed: Root seed of the environment and of all sampling.
        device: Torch device that the policy is moved to; None leaves it where it is.
        dtype: Name of a floating-point torch dtype that its weights get; None leaves theirs.
        recipe: The parts; see :class:`Recipe` for what each does and :mod:`recipes` for ready ones.
        **parts: Parts that replace those of ``recipe``: ``loss=...``, ``controller=...``.

    Attributes:
        updates: Number of updates done.
        sampled_tokens: Tokens sampled in them.
        groups: Groups of the last update, for callbacks and viewers.

    Raises:
        ConfigurationError: ``envs`` is no TokenVectorEnv, or restarts lanes by itself; there is no such dtype.
        MissingGuidanceError: a controller without a guidance wrapper around ``envs``.
        VocabularyMismatchError, BudgetError: policy and environment do not fit.
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
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
        token_vector_env(envs)  # raises unless it is one whose lanes wait
        policy.check_fits(envs)
        self.guidance = find_guidance(envs)
        self.controller = copy.deepcopy(self.recipe.controller)
        if self.guidance is None and self.recipe.needs_guidance:
            part = "strategy" if self.controller is None else "controller"
            raise MissingGuidanceError(
                f"{part}={type(getattr(self.recipe, part)).__name__} needs a guidance wrapper around envs: "
                "envs = g2rpo_env.VectorGuidanceWrapper(envs, ...)"
            )
        if self.controller is not None and self.guidance is not None:
            self.controller.set_trains_revealed(bool(getattr(self.recipe.token_weight, "revealed", False)))
            self.guidance.follow(self.controller)
        policy.to(device, dtype)
        self.reference = make_reference(policy) if self.recipe.requires("reference_log_probs") else None
        options = self.recipe.optimizer
        self.optimizer = torch.optim.AdamW(
            self._trained(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=options.fused
        )
        self.updates = 0
        self.sampled_tokens = 0
        self.groups = Groups()
        envs.unwrapped.load_state_dict({"root": self.seed, "counter": 0, "open": {}})

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
            callback: Called after each with (agent, metrics); returning False stops the training.
            progress_bar: Show reward, reveal length and time left, as a bar in a terminal, as plain lines elsewhere.

        Raises:
            NonFiniteError: a reward, a log-probability, a loss or a gradient is NaN or infinite; the gradient step is
                not taken.
            OutOfMemoryError: the update does not fit; the gradient step is not taken.
        """
        if updates < 0:
            raise ConfigurationError(f"updates={updates} must be at least 0")
        with Progress(updates, enabled=progress_bar) as progress:
            for _ in range(updates):
                metrics = self.update()
                progress.update(metrics)
                if callback is not None and callback(self, metrics) is False:
                    break
        return self

    def update(self) -> dict[str, Any]:
        """Do one update and return its metrics (no clock times, so that equal runs have equal metrics)."""
        recipe = self.recipe
        reveal_length = None if self.guidance is None else float(self.guidance.length)
        self.groups = recipe.strategy(self.policy, self.envs)
        groups = drop_invalid(self.groups)
        rewards = [checked_rewards(recipe.shaping(group), group) for group in groups]
        selected, selected_rewards = recipe.selection(groups, rewards)
        advantages = advantages_of(recipe.advantage, selected, selected_rewards)
        self.advantages = {
            (e.group, e.member): float(a)
            for group, advantage_G in zip(selected, advantages, strict=True)
            for e, a in zip(group.episodes, advantage_G, strict=True)
        }
        losses = self._fit(selected.episodes, np.concatenate(advantages) if advantages else np.zeros(0))
        metrics = {**describe(self.groups, rewards), "reveal_length": reveal_length, **losses}
        if self.controller is not None and self.guidance is not None:
            self.controller.update(make_feedback(self.groups))
            self.guidance.follow(self.controller)
        self.updates += 1
        self.sampled_tokens += metrics["sampled_tokens"]
        return {"update": self.updates, **metrics}

    def _fit(self, episodes: list[Episode], advantage_N: np.ndarray) -> dict[str, Any]:
        """Take the gradient steps of one update."""
        options = self.recipe.optimizer
        if not episodes:
            return dict(NO_STEP)
        weights = self._weights(episodes, advantage_N)
        batch = make_batch(episodes, advantage_N, weights, self.policy.device)
        with named_out_of_memory(f"update {self.updates + 1}", *batch.mask_NT.shape):
            batch = self._complete(batch)
        epochs = (batch.minibatches(options.minibatch) for _ in range(options.epochs))
        return mean_metrics([self._step(minibatch) for epoch in epochs for minibatch in epoch])

    def _weights(self, episodes: list[Episode], advantage_N: np.ndarray) -> list[np.ndarray]:
        """Return the loss weights of each episode, after computing what they require."""
        part = self.recipe.token_weight
        needed = getattr(part, "requires", ())
        given: list[dict[str, Any]] = [{} for _ in episodes]
        if "advantage" in needed:
            given = [{**one, "advantage": float(a)} for one, a in zip(given, advantage_N, strict=True)]
        if "entropy" in needed:
            given = [{**one, "entropy_T": e} for one, e in zip(given, self._reveal_entropies(episodes), strict=True)]
        return [part(episode, **one) for episode, one in zip(episodes, given, strict=True)]

    def _reveal_entropies(self, episodes: list[Episode]) -> list[np.ndarray]:
        """Return the policy's entropy at the revealed tokens of each episode, float (T,), 0 elsewhere."""
        entropies = [np.zeros(len(e.tokens_T)) for e in episodes]
        rows = [i for i, e in enumerate(episodes) if (e.role_T == Role.REVEALED).any() and e.train_prefix is None]
        if rows:
            shown = [episodes[i] for i in rows]
            where = [(e.role_T == Role.REVEALED).astype(np.float32) for e in shown]
            batch = make_batch(shown, np.zeros(len(shown)), where, self.policy.device)
            with named_out_of_memory(f"update {self.updates + 1}", *batch.mask_NT.shape):
                found_NT = self._scored(self.policy.token_entropies, batch).cpu().numpy()
            for i, found_T in zip(rows, found_NT, strict=True):
                entropies[i] = found_T[: len(entropies[i])]
        return entropies

    @torch.no_grad()
    def _complete(self, batch: Batch) -> Batch:
        """Fill in what the parts require and the rollout did not record."""
        options = self.recipe.optimizer
        revealed_in_loss = bool((batch.weight_NT[batch.role_NT == Role.REVEALED] > 0).any())
        if revealed_in_loss and (options.epochs > 1 or options.minibatch is not None):
            # Nobody sampled the revealed tokens: their old policy is the one before this update.
            batch = batch.with_old_log_probs(self._log_probs(self.policy.model, batch), Role.REVEALED)
        if self.reference is not None:
            with self.reference.model() as model:
                batch = dataclasses.replace(batch, reference_log_probs_NT=self._log_probs(model, batch))
        return batch

    def _log_probs(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the log-probabilities of the tokens in the loss under a model, float32 (N, T); 0 elsewhere."""
        scorer = CausalLMPolicy(model, self.policy.tokenizer, temperature=self.policy.temperature)
        return self._scored(scorer.token_log_probs, batch)

    @torch.no_grad()
    def _scored(self, score: Callable[..., torch.Tensor], batch: Batch) -> torch.Tensor:
        """Return what ``score`` gives to the tokens in the loss, float32 (N, T); 0 elsewhere."""
        options = self.recipe.optimizer
        found = torch.zeros_like(batch.weight_NT)
        rows = torch.arange(len(batch), device=found.device)[:, None].expand_as(batch.tokens_NT)
        indexed = dataclasses.replace(batch, id_N2=rows[:, :1])
        for part in indexed.microbatches(options.microbatch, options.microbatch_tokens):
            values = score(part.tokens_NT, part.mask_NT, part.weight_NT > 0)
            assert part.id_N2 is not None
            found[part.id_N2[:, 0], : values.shape[1]] = values.to(found.dtype)
        return found

    def _step(self, batch: Batch) -> dict[str, Any]:
        """Take one gradient step, accumulated over microbatches with the global count as the one denominator."""
        options = self.recipe.optimizer
        count = float(batch.weight_NT.sum())
        if count == 0:
            return dict(NO_STEP)
        self.optimizer.zero_grad(set_to_none=True)  # whatever an interrupted step or someone else left there
        # Without a reference term an episode of advantage 0 has no gradient: it counts, but needs no forward pass.
        useful = (batch.advantage_NT[:, 0] != 0) | (self.reference is not None)
        totals: dict[str, float] = {"loss": 0.0}
        try:
            with named_out_of_memory(f"update {self.updates + 1}", *batch.mask_NT.shape):
                if useful.any():
                    rows = batch.take(torch.nonzero(useful)[:, 0])
                    loss = self._loss(rows)
                    for part in rows.microbatches(options.microbatch, options.microbatch_tokens):
                        for name, value in self._accumulate(part, loss, count).items():
                            totals[name] = totals.get(name, 0.0) + value
                totals["grad_norm"] = self._apply(totals["loss"])
        except (NonFiniteError, OutOfMemoryError):
            self.optimizer.zero_grad(set_to_none=True)
            raise
        return totals

    def _loss(self, batch: Batch) -> Any:
        """Return the loss of one gradient step, which may depend on the whole minibatch."""
        loss = self.recipe.loss
        if "off_policy_log_probs" not in getattr(loss, "requires", ()):
            return loss
        log_probs_NT = torch.zeros_like(batch.weight_NT)
        assert batch.off_policy_N1 is not None  # make_batch has set it
        off = torch.nonzero(batch.off_policy_N1)[:, 0]
        if len(off):
            found = self._log_probs(self.policy.model, rows := batch.take(off))
            log_probs_NT[off, : rows.weight_NT.shape[1]] = found
        return loss.fitted(log_probs_NT, batch)

    def _accumulate(self, part: Batch, loss: Any, count: float) -> dict[str, float]:
        """Add the gradients of a microbatch and return its share of the metrics."""
        options, recipe = self.recipe.optimizer, self.recipe
        with checkpointing(self.policy.model, options.checkpointing):
            log_probs = self.policy.token_log_probs(part.tokens_NT, part.mask_NT, part.weight_NT > 0)
            self._check_finite(log_probs, part)
            if options.epochs == 1 and options.minibatch is None:  # on-policy
                part = part.with_old_log_probs(log_probs.detach(), Role.REVEALED)
            result = loss(log_probs, part)
            total = result.total + recipe.reference(log_probs, part)
            (total / count).backward()
        metrics = {name: float(value) / count for name, value in result.metrics.items()}
        return {"loss": float(total.detach()) / count, **metrics}

    def _check_finite(self, log_probs_NT: torch.Tensor, part: Batch) -> None:
        wrong = ~torch.isfinite(log_probs_NT.detach())
        if wrong.any() and part.id_N2 is not None:
            row, position = torch.nonzero(wrong)[0].tolist()
            group, member = part.id_N2[row].tolist()
            raise NonFiniteError(
                f"update {self.updates + 1}: the log-probability of token {position} of group {group}, member "
                f"{member} is {log_probs_NT[row, position].item()}, it must be finite; the weights were left as they "
                "were"
            )

    def _apply(self, loss: float) -> float:
        options, parameters = self.recipe.optimizer, self._trained()
        if all(p.grad is None for p in parameters):
            return 0.0  # no signal at all: leave weights and optimiser moments alone
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, options.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise NonFiniteError(
                f"update {self.updates + 1}: loss={loss} and grad_norm={norm} must be finite; the weights were left "
                "as they were"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(self.updates + 1, self.sampled_tokens)
        self.optimizer.step()
        torch.autograd.graph.increment_version(parameters)  # fused kernels do not, and decoders look at it
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _trained(self) -> list[torch.nn.Parameter]:
        """Return the weights that are trained: all, or those of the adapter."""
        return [parameter for parameter in self.policy.model.parameters() if parameter.requires_grad]

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
    ) -> Evaluation:
        """Return unguided accuracy on a split; see :func:`g2rpo_env.agents.evaluation.evaluate`.

        Builds its own environment and leaves the training streams untouched.
        """
        return evaluate(
            self.policy, self.envs, split=split, problems=problems, mode=mode, k=k, samples=samples, seed=seed
        )

    def save(self, folder: str | Path) -> None:
        """Write the policy as an ordinary Hugging Face folder, and the training state beside it.

        Call it between updates; no episode is in flight then.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.policy.save_pretrained(folder)
        config = {
            "seed": self.seed,
            "policy": self.policy.to_config(),
            "recipe": self.recipe.to_config(),
        }
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        torch.save(self.state_dict(), folder / STATE_FILE)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next updates depend on, except the weights of the policy."""
        return {
            "updates": self.updates,
            "sampled_tokens": self.sampled_tokens,
            "optimizer": self.optimizer.state_dict(),
            "envs": self.envs.unwrapped.state_dict(),
            "controller": None if self.controller is None else self.controller.state_dict(),
            "guidance": None if self.guidance is None else self.guidance.state_dict(),
            "reference": None if self.reference is None else self.reference.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            ResumeError: the state has a controller and the agent has none, or the other way round.
        """
        if (state["controller"] is None) != (self.controller is None):
            raise ResumeError("the checkpoint and the agent must both have a controller, or neither")
        self.updates, self.sampled_tokens = state["updates"], state["sampled_tokens"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.envs.unwrapped.load_state_dict(state["envs"])
        if self.guidance is not None and state["guidance"] is not None:
            self.guidance.load_state_dict(state["guidance"])
        if self.controller is not None and self.guidance is not None:
            self.controller.load_state_dict(state["controller"])
            self.guidance.follow(self.controller)
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])

    @classmethod
    def load(cls, folder: str | Path, envs: Any, *, device: str = "cpu", dtype: str | None = None) -> GRPO:
        """Return the agent that was saved, ready to go on with the next update.

        Args:
            folder: What :meth:`save` wrote. Its configuration names classes, which are imported: load what you trust.
            envs: An environment made and wrapped like the one the agent was trained on.
            device: Torch device.
            dtype: Name of a floating-point torch dtype; None for the one it was trained in.

        Raises:
            ResumeError: the folder holds no saved agent.
        """
        folder = Path(folder)
        if not (folder / STATE_FILE).is_file() or not (folder / CONFIG_FILE).is_file():
            raise ResumeError(f"folder={str(folder)!r} must hold {CONFIG_FILE} and {STATE_FILE}, written by save()")
        config = json.loads((folder / CONFIG_FILE).read_text())
        options = config["policy"] if dtype is None else {**config["policy"], "dtype": dtype}
        policy = CausalLMPolicy.from_pretrained(folder, device=device, **options)
        agent = cls(policy, envs, seed=config["seed"], recipe=Recipe.from_config(config["recipe"]))
        agent.load_state_dict(torch.load(folder / STATE_FILE, map_location=device, weights_only=True))
        return agent


def advantages_of(part: Any, groups: Groups, rewards: list[np.ndarray]) -> list[np.ndarray]:
    """Return the advantages of all groups, float (G,) each, by a part that sees one group or requires them all."""
    if "groups" in getattr(part, "requires", ()):
        return part(rewards, groups)
    return [part(reward_G) for reward_G in rewards]


def mean_metrics(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each metric over the gradient steps that have it; None where none has."""
    names = dict.fromkeys(name for step in steps for name in step)
    known = {name: [step[name] for step in steps if step.get(name) is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def drop_invalid(groups: Groups) -> Groups:
    """Return the groups without episodes whose verifier failed; such an episode says nothing about the policy."""
    kept = Groups()
    for group in groups:
        episodes = tuple(e for e in group.episodes if e.valid)
        if episodes:
            kept.append(Group(episodes))
    return kept


def checked_rewards(reward_G: np.ndarray, group: Group) -> np.ndarray:
    """Return the rewards of a shaping.

    Raises:
        ConfigurationError: there is not one for each member.
        NonFiniteError: one is NaN or infinite; the message names its episode.
    """
    if np.shape(reward_G) != (len(group.episodes),):
        raise ConfigurationError(
            f"shaping returned rewards of shape {np.shape(reward_G)}; it must give one reward per member, "
            f"({len(group.episodes)},)"
        )
    for reward, episode in zip(reward_G, group.episodes, strict=True):
        if not math.isfinite(reward):
            raise NonFiniteError(
                f"reward={reward} of problem {episode.problem_id!r}, group {episode.group}, member {episode.member} "
                "must be finite"
            )
    return reward_G


def make_feedback(groups: Groups) -> Feedback:
    """Return what the controller learns from an update; episodes without a sampled token say nothing of success."""
    episodes = groups.episodes
    return Feedback(
        problem_id=np.array([e.problem_id for e in episodes], dtype=object),
        member=np.array([e.member for e in episodes], dtype=np.int64),
        guided=np.array([e.guided for e in episodes], dtype=bool),
        reveal=np.array([e.reveal for e in episodes], dtype=np.int64),
        correct=np.array([e.correct for e in episodes], dtype=bool),
        valid=np.array([e.valid and bool(e.sampled_T.any()) for e in episodes], dtype=bool),
    )


def describe(groups: Groups, rewards: list[np.ndarray]) -> dict[str, Any]:
    """Return the metrics of a rollout; None where there is nothing to take a mean of."""
    feedback = make_feedback(groups)
    sampled = [int(e.sampled_T.sum()) for e in groups.episodes]
    return {
        "reward": _number(feedback.reward("all")),
        "reward_guided": _number(feedback.reward("guided")),
        "reward_unguided": _number(feedback.reward("unguided")),
        "groups_with_signal": float(np.mean([np.ptp(r) > 0 for r in rewards])) if rewards else None,
        "episodes": len(feedback.valid),
        "invalid": int(sum(not e.valid for e in groups.episodes)),
        "sampled_tokens": groups.sampled_tokens,
        "revealed_tokens": groups.revealed_tokens,
        "sampled_length": float(np.mean(sampled)) if sampled else None,
        "truncated": float(np.mean([e.truncated for e in groups.episodes])) if sampled else None,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
