"""Rehearsal: the parts of a recipe tried on a few made-up episodes, so that a fault of theirs shows before a rollout.

The episodes are of real problems, with what the environment would reveal and the end of the solution as an answer, and
their log-probabilities are made up: no model is asked. Parts are copied for it, and random states are put back.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.given import WRITTEN, Given
from g2rpo_env.agents.learner import needs_every_row, needs_reference_column
from g2rpo_env.agents.parts.protocols import get_requirements
from g2rpo_env.agents.parts.selection.filters import KeepAll
from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.stages import (
    compute_advantages,
    compute_credits,
    compute_rewards,
    compute_weights,
    count_weights,
    select,
)
from g2rpo_env.episode import Episode, Group, Groups, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.lane import reveal_amounts
from g2rpo_env.reveal.plan import NO_REVEAL
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict

TRIED = ("shaping", "selection", "advantage", "credit", "token_weight", "loss", "reference", "regularizer")
"""Slots whose parts are tried."""

GROUPS = 2
"""Groups of a rehearsal, where an update has as many."""
ANSWER = 12
"""Most sampled tokens of its episodes."""
LEVELS: Mapping[str, float] = {"log_probs": -0.5, "old_log_probs": -0.5, "reference_log_probs": -0.75, "entropy": 0.5}
"""Name of a value per token -> the value that a rehearsal makes up; see :data:`g2rpo_env.agents.given.SCORES`."""


class MadeUp(Given):
    """What parts may require, with made-up values where the policy would be asked.

    Args:
        task: The task of the training environment.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def per_token(self, what: str, episodes: Sequence[Episode], roles: tuple[int, ...] = WRITTEN) -> list[np.ndarray]:
        """Return a made-up value at each token of these roles, float32 (T,) per episode, 0 elsewhere."""
        return [np.isin(e.role_T, roles).astype(np.float32) * np.float32(LEVELS[what]) for e in episodes]


def rehearse(recipe: Recipe, envs: Any, device: torch.device | str = "cpu") -> None:
    """Call the parts of a recipe as an update does, on made-up episodes; nothing is trained, kept or drawn.

    A part that cannot be copied, or that requires ``states`` of the model, is not tried.

    Args:
        recipe: Its parts are tried, all but the strategy, which would sample, and the controller.
        envs: The TokenVectorEnv that they are for; it is not stepped.
        device: Where the tensors of the policy will be.

    Raises:
        ConfigurationError: a part raises, or returns what its slot must not.
    """
    device = torch.device(device)
    with _same_random_state(device):
        parts = {slot: _copy(getattr(recipe, slot)) for slot in TRIED}
        for groups in (make_groups(envs), make_groups(envs, mixed=False)):
            _rehearse_groups(recipe, parts, groups, MadeUp(envs.task), device)


def _rehearse_groups(
    recipe: Recipe, parts: Mapping[str, Any], groups: Groups, given: MadeUp, device: torch.device
) -> None:
    """Try the parts of a recipe on some groups."""
    with _name("shaping", parts["shaping"]):
        rewards = compute_rewards(parts["shaping"] or EnvironmentReward(), groups, given)
    with _name("selection", parts["selection"]):
        groups, rewards = select(parts["selection"] or KeepAll(), groups, rewards, given)
    if not groups or parts["advantage"] is None or parts["token_weight"] is None:
        return
    with _name("advantage", parts["advantage"]):
        advantages = compute_advantages(parts["advantage"], groups, rewards)
    with _name("credit", parts["credit"]):
        credits = compute_credits(parts["credit"], groups, advantages, given)
    with _name("token_weight", parts["token_weight"]):
        weights = compute_weights(parts["token_weight"], groups, advantages, given)
        counts = count_weights(parts["token_weight"], groups.episodes, weights)
    batch = make_batch(
        groups.episodes,
        np.concatenate(advantages) if credits is None else credits,
        weights,
        device,
        counts=counts,
        rewards=np.concatenate(rewards),
        sets=np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
        reference_log_probs=(
            given.per_token("reference_log_probs", groups.episodes) if needs_reference_column(recipe) else None
        ),
    )
    rows = torch.nonzero((batch.advantage_NT != 0).any(-1) | needs_every_row(recipe))[:, 0]
    if batch.count > 0 and len(rows):
        tokens = int((batch.weight_NT > 0).sum())
        _rehearse_loss(parts, replace(batch.take(rows), step_count=batch.count, step_tokens=tokens))


def make_groups(envs: Any, mixed: bool = True) -> Groups:
    """Return the made-up groups of an environment: half of their members are right, one ran out of budget.

    Args:
        envs: A TokenVectorEnv.
        mixed: False for groups without a right answer, which some parts treat otherwise.
    """
    task, size, plan = envs.task, envs.group_size, envs.reveal_plan
    groups = Groups()
    for number in range(min(GROUPS, envs.num_envs // size)):
        problem_id = task.source.draw(0, number)
        members = list(range(size))
        amounts = reveal_amounts(plan, 0, size, [problem_id] * size, [number] * size, members, None)
        episodes = []
        for member, amount in zip(members, amounts, strict=True):
            start = task.start(problem_id, amount, plan or NO_REVEAL)
            encoded = task.lookup(problem_id)
            right = mixed and (member + number) % 2 == 0
            rest = encoded.solution_T[encoded.revealable if right else 0 :][: min(ANSWER, start.budget) - 1]
            cut = member == size - 1 and not right and len(rest) > 0
            answer_T = np.append(rest, [] if cut else [task.eos_token_id]).astype(np.int32)
            role_T = np.append(start.role_T, np.full(len(answer_T), Role.SAMPLED)).astype(np.int8)
            episodes.append(
                Episode(
                    tokens_T=np.append(start.tokens_T, answer_T).astype(np.int32),
                    role_T=role_T,
                    logprob_T=np.where(role_T == Role.SAMPLED, LEVELS["log_probs"], 0).astype(np.float32),
                    problem_id=problem_id,
                    group=number,
                    member=member,
                    seed=0,
                    reveal=start.reveal_length,
                    reward=float(right),
                    verdict=Verdict(Outcome.CORRECT if right else Outcome.WRONG, start.problem.answer if right else ""),
                    terminated=not cut,
                    truncated=cut,
                )
            )
        groups.append(Group(tuple(episodes)))
    return groups


def _rehearse_loss(parts: Mapping[str, Any], batch: Batch) -> None:
    """Try what is added up to the loss of a gradient step."""
    inside_NT = batch.weight_NT > 0
    log_probs_NT = (inside_NT * LEVELS["log_probs"]).float().requires_grad_()
    entropy_NT = (inside_NT * LEVELS["entropy"]).float().requires_grad_()
    batch = batch.with_old_log_probs(log_probs_NT.detach(), Role.REVEALED)
    for slot, arguments in (("reference", (log_probs_NT, batch)), ("regularizer", (entropy_NT, batch))):
        if (part := parts[slot]) is not None:
            with _name(slot, part):
                _check_scalar(f"{slot}={type(part).__name__} must return a finite scalar", part(*arguments))
    if (loss := parts["loss"]) is not None:
        with _name("loss", loss):
            if "sets" in get_requirements(loss):
                batch = _rehearse_objective(loss, log_probs_NT, batch)
            if "off_policy_log_probs" in get_requirements(loss):
                loss = loss.fit(log_probs_NT.detach(), batch)
            _check_result(loss(log_probs_NT, batch), log_probs_NT, f"loss={type(parts['loss']).__name__}")


def _rehearse_objective(loss: Any, log_probs_NT: torch.Tensor, batch: Batch) -> Batch:
    """Try the two functions of a loss of whole groups and return the batch with slopes."""
    name = f"loss={type(loss).__name__}"
    score_NK = loss.scores(log_probs_NT.detach(), batch)
    if not isinstance(score_NK, torch.Tensor) or score_NK.ndim != 2 or len(score_NK) != len(batch):
        raise ConfigurationError(f"{name}: scores must return a tensor (N, K) for {len(batch)} episodes")
    found = loss.objective(score_NK.detach().float().requires_grad_(), batch)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ConfigurationError(f"{name}: objective must return (loss, metrics), it returned {found!r:.80}")
    _check_scalar(f"{name}: objective must return a finite scalar", found[0])
    return replace(batch, slope_NK=torch.ones_like(score_NK).float())


def _check_result(result: Any, log_probs_NT: torch.Tensor, name: str) -> None:
    """Raise ConfigurationError unless a loss returned what can be trained on."""
    if not hasattr(result, "total") or not hasattr(result, "metrics"):
        raise ConfigurationError(f"{name} must return a LossResult(total, metrics), it returned {result!r:.80}")
    rule = f"{name}: total must be a finite scalar tensor with a gradient for the log-probabilities"
    _check_scalar(rule, result.total)
    if not isinstance(result.total, torch.Tensor) or not result.total.requires_grad:
        raise ConfigurationError(f"{rule}; it has none")
    (slope_NT,) = torch.autograd.grad(result.total.sum(), [log_probs_NT], allow_unused=True)
    if slope_NT is not None and not torch.isfinite(slope_NT).all():
        raise ConfigurationError(f"{rule}; that gradient is not finite")
    for metric, value in result.metrics.items():
        _check_scalar(f"{name}: metrics[{metric!r}] must be a finite number", value)


def _check_scalar(rule: str, value: Any) -> None:
    """Raise ConfigurationError unless a value is one finite real number, alone or in a tensor."""
    value = value.detach() if isinstance(value, torch.Tensor) else value
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else np.shape(value)
    if value is None or isinstance(value, str) or int(np.prod(shape)) != 1 or isinstance(value, list | tuple | dict):
        what = "None" if value is None else f"{type(value).__name__} of shape {shape}"
        raise ConfigurationError(f"{rule}; it returned {what}")
    number = float(value)
    if not np.isfinite(number):
        raise ConfigurationError(f"{rule}; it returned {number}")


# -- nothing is left behind -------------------------------------------------------------------------------------------


def _copy(part: Any) -> Any:
    """Return a copy of a part, with the models that it holds shared; None where there is none, or none can be tried."""
    if part is None or "states" in get_requirements(part):
        return None
    shared = {id(value): value for value in getattr(part, "__dict__", {}).values() if _is_model(value)}
    try:
        return copy.deepcopy(part, shared)
    except Exception:  # holds a lock or a connection, say: nobody knows what a call would change
        return None


def _is_model(value: Any) -> bool:
    """Whether a value is a model that is not trained: a copy of a reward model might not fit."""
    return isinstance(value, torch.nn.Module) and not any(p.requires_grad for p in value.parameters())


@contextlib.contextmanager
def _same_random_state(device: torch.device) -> Iterator[None]:
    """Put the random states of Python, numpy and torch back afterwards."""
    python, numpy_state = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def _name(slot: str, part: Any) -> Iterator[None]:
    """Say which part an error is of, and that no rollout was lost."""
    where = "tried on made-up episodes before the first rollout"
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} ({where})") from error
    except Exception as error:
        what = f"{slot}={type(part).__name__} raises {type(error).__name__}"
        raise ConfigurationError(f"{what} ({where}): {error}") from error
