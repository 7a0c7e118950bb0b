"""Learner: the gradient steps of an update. It scores tokens, accumulates gradients over passes, clips, and steps.

:class:`~g2rpo_env.agents.grpo.GRPO` decides which episodes are learnt from. The learner takes them as a batch and knows
neither environments nor guidance. Its :class:`Sums` hold all that is added up over the passes of a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.checkpointing import checkpointing, name_out_of_memory
from g2rpo_env.agents.parts.protocols import Reference, Trainable, get_requirements
from g2rpo_env.agents.parts.references.models import make_reference
from g2rpo_env.agents.policy.protocol import Policy
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError, NonFiniteError, OutOfMemoryError

NO_STEP = {"loss": None, "grad_norm": None}
"""Metrics of an update that takes no gradient step."""


@dataclass(frozen=True)
class Forward:
    """One forward pass with gradients, N episodes of T tokens.

    Attributes:
        log_probs_NT: Of the tokens in the loss.
        entropy_NT: In nats, None where the recipe has no regularizer.
    """

    log_probs_NT: torch.Tensor
    entropy_NT: torch.Tensor | None = None


class Sums:
    """Sums over the passes of one gradient step, by name: loss, metrics.

    Whatever is computed pass by pass is added up here and nowhere else; processes that share the passes of a step out
    would add up these.
    """

    def __init__(self) -> None:
        self.of: dict[str, float] = {"loss": 0.0}

    def add(self, shares: Mapping[str, float]) -> None:
        """Add what one pass contributes to each name."""
        for name, value in shares.items():
            self.of[name] = self.of.get(name, 0.0) + value


class Learner:
    """Trains a policy by the loss, the reference term and the regularizer of a recipe.

    Args:
        policy: The policy; its weights are trained in place.
        parts: The recipe, its stateful parts already copied.

    Attributes:
        optimizer: AdamW over the policy's weights.
        part_optimizers: Name of a slot -> the optimiser of its part's own numbers.
        reference: The model that the policy is kept near, where a part requires its log-probabilities.
    """

    def __init__(self, policy: Policy, parts: Recipe) -> None:
        self.policy, self.parts, self.options = policy, parts, parts.optimizer
        self.reference = keep_reference(parts, policy) if parts.requires("reference_log_probs") else None
        self.optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=self.options.fused,
        )
        stateful = parts.stateful()
        self.part_optimizers = {n: part.optimizer() for n, part in stateful.items() if isinstance(part, Trainable)}
        self._told = [part for part in stateful.values() if hasattr(part, "stepped")]
        self._update, self._sampled_tokens = 1, 0
        self._scored: list[tuple[torch.Tensor | None, torch.Tensor]] = []  # episodes, and their log-probabilities

    def begin(self, update: int, sampled_tokens: int) -> None:
        """Take the number of an update that begins.

        Args:
            update: Its number, counted from 1, for the learning rate and for messages.
            sampled_tokens: Tokens sampled before it, for the learning rate.
        """
        self._update, self._sampled_tokens = update, sampled_tokens
        self._scored = []

    def find_scored(self) -> dict[tuple[int, int], np.ndarray]:
        """Return (group, member) -> log-probabilities of tokens, for records: float32 (T,) or longer, padded.

        They are those that the last update computed before its first gradient step, of the tokens in the loss that it
        computed any of. The others have 0.
        """
        found = {}
        for id_N2, log_probs_NT in self._scored:
            if id_N2 is not None:
                rows = zip(id_N2.tolist(), log_probs_NT.float().cpu().numpy(), strict=True)
                found.update({(group, member): log_prob_T for (group, member), log_prob_T in rows})
        return found

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the weights that are trained: all, or those of the adapter."""
        return [parameter for parameter in self.policy.model.parameters() if parameter.requires_grad]

    @property
    def on_policy(self) -> bool:
        """Whether a rollout has one gradient step, so that its old policy is the present one."""
        return self.options.epochs == 1 and self.options.minibatch is None

    @property
    def needs_every_row(self) -> bool:
        """Whether an episode of advantage 0 may have a gradient."""
        return needs_every_row(self.parts)

    @property
    def needs_reference_column(self) -> bool:
        """Whether the batch must hold the reference's log-probabilities."""
        return needs_reference_column(self.parts)

    # -- scoring ----------------------------------------------------------------------------------------------------

    def log_probs(self, batch: Batch) -> torch.Tensor:
        """Return log-probabilities of the tokens in the loss under the policy, float32 (N, T); 0 elsewhere."""
        return self._score(self.policy.token_log_probs, batch)

    def reference_log_probs(self, batch: Batch) -> torch.Tensor:
        """Return the same under the reference."""
        assert self.reference is not None, "some part requires reference_log_probs"
        with self.reference.model() as model:
            return self._score(partial(self.policy.token_log_probs, model=model), batch)

    def entropies(self, batch: Batch) -> torch.Tensor:
        """Return the policy's entropy at the tokens in the loss, in nats, float32 (N, T); 0 elsewhere."""
        return self._score(self.policy.token_entropies, batch)

    @torch.no_grad()
    def _score(self, score: Callable[..., torch.Tensor], batch: Batch) -> torch.Tensor:
        found_NT = torch.zeros_like(batch.weight_NT)
        with self._name_out_of_memory(*batch.mask_NT.shape):
            for part, rows in batch.passes(self.options.microbatch, self.options.microbatch_tokens):
                value_NT = score(part.tokens_NT, part.mask_NT, part.weight_NT > 0)
                found_NT[rows, : value_NT.shape[1]] = value_NT.to(found_NT.dtype)
        return found_NT

    def states(self, episodes: Sequence[Episode], every_column: bool = False) -> list[Any]:
        """Return how the policy came to the sampled tokens of the episodes of a group; see ``token_states``."""
        with self._name_out_of_memory(len(episodes), max(len(e.tokens_T) for e in episodes)):
            return self.policy.token_states(episodes, every_column, self.options.microbatch)

    def _name_out_of_memory(self, rows: int, width: int) -> Any:
        return name_out_of_memory(f"update {self._update}", rows, width)

    # -- steps ------------------------------------------------------------------------------------------------------

    def fit(self, batch: Batch) -> dict[str, Any]:
        """Take the gradient steps of one update and return the mean of each metric over them.

        Args:
            batch: All episodes that are learnt from.

        Raises:
            NonFiniteError: a log-probability, the loss or the gradient is NaN or infinite; no step is taken.
            OutOfMemoryError: the update does not fit; no step is taken.
        """
        batch = self._complete(batch)
        whole_sets = "sets" in get_requirements(self.parts.loss)
        epochs = (batch.minibatches(self.options.minibatch, whole_sets) for _ in range(self.options.epochs))
        return average_metrics([self._step(minibatch) for epoch in epochs for minibatch in epoch])

    def _complete(self, batch: Batch) -> Batch:
        """Fill in what the parts require and the rollout did not record."""
        revealed_in_loss = bool((batch.weight_NT[batch.role_NT == Role.REVEALED] > 0).any())
        if revealed_in_loss and not self.on_policy:
            # Nobody sampled the revealed tokens: their old policy is the one before this update.
            self._scored.append((batch.id_N2, self.log_probs(batch)))
            batch = batch.with_old_log_probs(self._scored[-1][1], Role.REVEALED)
        if self.needs_reference_column and batch.reference_log_probs_NT is None:
            batch = replace(batch, reference_log_probs_NT=self.reference_log_probs(batch))
        return batch

    def _step(self, batch: Batch) -> dict[str, Any]:
        """Take one gradient step, accumulated over passes with the global count as the one denominator."""
        count = batch.count
        if count == 0:
            return dict(NO_STEP)
        self._forget_gradients()  # whatever an interrupted step or someone else left there
        # An episode without a gradient counts, but needs no forward pass.
        useful_N = (batch.advantage_NT != 0).any(-1) | self.needs_every_row
        sums = Sums()
        try:
            with self._name_out_of_memory(*batch.mask_NT.shape):
                if useful_N.any():
                    rows = batch.take(torch.nonzero(useful_N)[:, 0])
                    rows = replace(rows, step_count=count, step_tokens=int((batch.weight_NT > 0).sum()))
                    loss, rows, objective, known = self._loss(rows, count)
                    parts = rows.microbatches(self.options.microbatch, self.options.microbatch_tokens)
                    for number, part in enumerate(parts):
                        sums.add(self._accumulate(part, loss, count, known[number] if known else None))
                    sums.add(objective)
                grad_norm = self._apply(sums.of["loss"])
        except (NonFiniteError, OutOfMemoryError):
            self._forget_gradients()
            raise
        return {**sums.of, "grad_norm": grad_norm}

    def _loss(self, batch: Batch, count: float) -> tuple[Any, Batch, dict[str, float], list[Forward]]:
        """Return the loss of one gradient step, its batch, metrics that only the whole minibatch has, and the forward
        passes of its microbatches where those are made already.
        """
        loss: Any = self.parts.loss
        if "sets" in get_requirements(loss):
            return loss, *self._find_slopes(loss, batch, count)
        if "off_policy_log_probs" not in get_requirements(loss):
            return loss, batch, {}, []
        log_probs_NT = torch.zeros_like(batch.weight_NT)
        assert batch.off_policy_N1 is not None  # make_batch has set it
        off = torch.nonzero(batch.off_policy_N1)[:, 0]
        if len(off):
            found_NT = self.log_probs(rows := batch.take(off))
            log_probs_NT[off, : rows.weight_NT.shape[1]] = found_NT
        return loss.fit(log_probs_NT, batch), batch, {}, []

    def _find_slopes(self, loss: Any, batch: Batch, count: float) -> tuple[Batch, dict[str, float], list[Forward]]:
        """Return the batch of a loss of whole groups with its slopes, and the true loss with its metrics.

        The gradient of L(s_1, ..., s_N) is that of sum_i (dL/ds_i) s_i: with the slopes known, the minibatch goes
        through any passes. Several processes would gather the scores (N x K numbers) here, so that all have the same
        slopes and the same gradient of the part's own numbers.

        Where nothing bounds the memory of a pass, the passes that score are those that train, too.
        """
        known: list[Forward] = []
        if self.options.microbatch is None and self.options.microbatch_tokens is None:
            log_probs_NT = torch.zeros_like(batch.weight_NT)
            for part, rows in batch.passes():
                known.append(self._forward(part))
                found_NT = known[-1].log_probs_NT.detach()
                log_probs_NT[rows, : found_NT.shape[1]] = found_NT.to(log_probs_NT.dtype)
        else:
            log_probs_NT = self.log_probs(batch)
        if self.on_policy:
            batch = batch.with_old_log_probs(log_probs_NT, Role.REVEALED)
        with torch.no_grad():
            score_NK = loss.scores(log_probs_NT, batch).float()
        score_NK.requires_grad_()
        value, metrics = loss.objective(score_NK, batch)
        if value.requires_grad:  # not where a minibatch has nothing to tell
            value.backward()  # the gradients of the part's own numbers too
        slope_NK = torch.zeros_like(score_NK) if score_NK.grad is None else score_NK.grad
        # Passes divide by the count, which a loss of whole groups has no use for.
        return replace(batch, slope_NK=slope_NK * count), {"loss": float(value.detach()), **metrics}, known

    def _forward(self, part: Batch) -> Forward:
        """Send a microbatch through the policy, with gradients."""
        where_NT = part.weight_NT > 0
        with checkpointing(self.policy.model, self.options.checkpointing):
            if self.parts.regularizer is None:
                found = Forward(self.policy.token_log_probs(part.tokens_NT, part.mask_NT, where_NT))
            else:
                found = Forward(*self.policy.token_scores(part.tokens_NT, part.mask_NT, where_NT))
        self._check_finite(found.log_probs_NT, part)
        if self.on_policy:
            self._scored.append((part.id_N2, found.log_probs_NT.detach()))
        return found

    def _accumulate(self, part: Batch, loss: Any, count: float, forward: Forward | None = None) -> dict[str, float]:
        """Add the gradients of a microbatch, whose forward pass may be made already, and return its metrics."""
        forward = forward or self._forward(part)
        log_probs_NT, regularizer = forward.log_probs_NT, self.parts.regularizer
        with checkpointing(self.policy.model, self.options.checkpointing):  # layers run again in the backward pass
            added: torch.Tensor | float = 0.0
            if regularizer is not None and forward.entropy_NT is not None:
                added = regularizer(forward.entropy_NT, part)
            if self.on_policy:
                part = part.with_old_log_probs(log_probs_NT.detach(), Role.REVEALED)
            result = loss(log_probs_NT, part)
            total = result.total + self.parts.reference(log_probs_NT, part) + added
            (total / count).backward()
        metrics = {name: float(value) / count for name, value in result.metrics.items()}
        # Slopes times scores are no loss: that of whole groups is known already, see _find_slopes.
        logged = total if part.slope_NK is None else total - result.total
        return {"loss": float(logged.detach()) / count, **metrics}

    def _check_finite(self, log_probs_NT: torch.Tensor, part: Batch) -> None:
        wrong_NT = ~torch.isfinite(log_probs_NT.detach())
        if wrong_NT.any() and part.id_N2 is not None:
            row, position = torch.nonzero(wrong_NT)[0].tolist()
            group, member = part.id_N2[row].tolist()
            raise NonFiniteError(
                f"update {self._update}: the log-probability of token {position} of group {group}, member "
                f"{member} is {log_probs_NT[row, position].item()}, it must be finite; the weights were left as they "
                "were"
            )

    def _apply(self, loss: float) -> float:
        """Clip and step, and return the norm of the gradient before it was clipped."""
        parameters = self.parameters()
        if all(p.grad is None for p in parameters):
            return 0.0  # no signal at all: leave weights and optimiser moments alone
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.options.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._forget_gradients()
            raise NonFiniteError(
                f"update {self._update}: loss={loss} and grad_norm={norm} must be finite; the weights were left "
                "as they were"
            )
        self._check_own_numbers()
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self._update, self._sampled_tokens)
        self.optimizer.step()
        torch.autograd.graph.increment_version(parameters)  # fused kernels do not, and decoders look at it
        for optimizer in self.part_optimizers.values():
            optimizer.step()
        for part in self._told:
            part.stepped()
        follow = getattr(self.reference, "follow", None)
        if follow is not None:
            follow(self.policy)
        self._forget_gradients()
        return norm

    def _check_own_numbers(self) -> None:
        """Raise NonFiniteError unless the gradients of the parts' own numbers are finite."""
        for slot, optimizer in self.part_optimizers.items():
            numbers = [p for group in optimizer.param_groups for p in group["params"]]
            if not all(torch.isfinite(p.grad).all() for p in numbers if p.grad is not None):
                part = type(getattr(self.parts, slot)).__name__
                raise NonFiniteError(
                    f"update {self._update}: the gradient of the numbers of {slot}={part} must be finite; they and the "
                    "weights were left as they were"
                )

    def _forget_gradients(self) -> None:
        for optimizer in (self.optimizer, *self.part_optimizers.values()):
            optimizer.zero_grad(set_to_none=True)

    # -- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all optimisers and of the reference."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "part_optimizers": {name: one.state_dict() for name, one in self.part_optimizers.items()},
            "reference": None if self.reference is None else self.reference.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.optimizer.load_state_dict(state["optimizer"])
        for name, optimizer in self.part_optimizers.items():
            optimizer.load_state_dict(state["part_optimizers"][name])
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])


def keep_reference(parts: Recipe, policy: Policy) -> Reference:
    """Return the reference of a policy as it is now, as the reference part makes it.

    Raises:
        ConfigurationError: it cannot be made, or is no :class:`~g2rpo_env.agents.parts.protocols.Reference`.
    """
    slots = [f.name for f in fields(parts) if "reference_log_probs" in get_requirements(getattr(parts, f.name))]
    asked = f"{slots[0]}={type(getattr(parts, slots[0])).__name__} requires the log-probabilities of a reference"
    made_by = f"reference={type(parts.reference).__name__}"
    try:
        reference: Any = getattr(parts.reference, "keep", make_reference)(policy)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"policy={type(policy).__name__} must be one that {made_by} can keep as it is now; that raises "
            f"{type(error).__name__}: {error}; {asked}"
        ) from error
    lacking = [name for name in ("model", "state_dict", "load_state_dict") if not callable(getattr(reference, name, 0))]
    if lacking:
        raise ConfigurationError(
            f"{made_by}: keep must return an object with {lacking[0]}(), it returned {reference!r:.80}; {asked}"
        )
    return reference


def needs_every_row(parts: Recipe) -> bool:
    """Whether an episode of advantage 0 may have a gradient."""
    names = {"sets", "every_row", "reference_log_probs"}
    asked = get_requirements(parts.loss) | get_requirements(parts.reference)
    return bool(names & asked) or parts.regularizer is not None


def needs_reference_column(parts: Recipe) -> bool:
    """Whether a batch must hold the reference's log-probabilities."""
    return "reference_log_probs" in get_requirements(parts.loss) | get_requirements(parts.reference)


def average_metrics(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each metric over the gradient steps that have it; None where none has."""
    names = dict.fromkeys(name for step in steps for name in step)
    known = {name: [step[name] for step in steps if step.get(name) is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}
