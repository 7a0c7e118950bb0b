"""Protocols: what the agent asks of the part in each slot of a recipe, in the order in which data flows through them.

A part is an object, usually a frozen dataclass, that is called with arrays or records. It may declare ``requires``, a
set of names from the tables of :mod:`g2rpo_env.agents.given`: whatever it names is computed for it, once per update,
and handed over by keyword. Where it has ``reads(episode) -> bool``, values per token that take a forward pass are
computed for the episodes of which that is true; it gets zeros for the others. A part that keeps something between
updates follows :class:`Stateful`, one that also trains numbers of its own :class:`Trainable`.

Shapes: G members of a group, P groups, N episodes of a batch, T tokens of an episode. ``*_`` and ``**given`` stand in
the calls for type checkers: a part takes only the keywords that it requires.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.episode import Episode, Group, Groups
from g2rpo_env.errors import ConfigurationError

if TYPE_CHECKING:
    from g2rpo_env.agents.parts.losses.surrogate import LossResult


def get_requirements(part: Any) -> frozenset[str]:
    """Return the names that a part declares in ``requires``; none where it declares nothing."""
    return frozenset(getattr(part, "requires", ()))


def check_inner(inner: Any, arguments: str) -> None:
    """Raise ConfigurationError unless one part can be an argument of another: it is called, and keeps nothing.

    The agent copies and saves the parts of a recipe, but not what they hold.

    Args:
        inner: The part, an argument of that name.
        arguments: What it is called with, for the message.
    """
    if isinstance(inner, type) or not callable(inner):
        raise ConfigurationError(f"inner={inner!r:.80} must be an object that is called with ({arguments})")
    if isinstance(inner, Stateful):
        raise ConfigurationError(
            f"inner={type(inner).__name__} must keep nothing between updates: only a part of the recipe itself is saved"
        )


class Strategy(Protocol):
    """How the groups of an update are collected.

    It may have ``context(task, problem_id) -> int32 (T,)``, the tokens that evaluations start from in the place of the
    prompt, and ``warm_context`` of the same form, those that a base must have learnt to answer from where they are
    others. It may require ``guidance``: a guidance wrapper around the environment; and it may have
    ``check_guidance(guidance)``, which raises ConfigurationError where the settings of that wrapper are not those of
    its method, asked when an agent is made, and so is ``prepare(policy, envs)``, which makes the environment ready for
    what the strategy puts into it and raises where that does not fit; without a policy it changes nothing.
    ``takes_guidance``, where it is False, says that answers begin with what the strategy chooses, so that no recipe
    with it is guided; ``samples``, where it is False, that nothing is sampled whose success a controller could follow.
    """

    def __call__(self, policy: Any, envs: Any) -> Groups:
        """Return the groups of one update."""
        ...


class Shaping(Protocol):
    """Groups to rewards, one group at a time."""

    def __call__(self, group: Group, *_: Any, **given: Any) -> np.ndarray:
        """Return rewards, float64 (G,), finite."""
        ...


class Selection(Protocol):
    """Which episodes an update learns from."""

    def __call__(
        self, groups: Groups, reward_PG: list[np.ndarray], *_: Any, **given: Any
    ) -> tuple[Groups, list[np.ndarray]]:
        """Return groups, of any sizes and number, and their rewards, float64 (G,) each."""
        ...


class Advantage(Protocol):
    """The rewards of a group to one number per member."""

    def __call__(self, reward_G: np.ndarray) -> np.ndarray:
        """Return advantages, float64 (G,)."""
        ...


class UpdateAdvantage(Protocol):
    """An advantage that sees all rewards of an update at once: its ``requires`` holds ``groups``."""

    requires: frozenset[str]

    def __call__(self, reward_PG: Sequence[np.ndarray], groups: Groups) -> list[np.ndarray]:
        """Return the advantages of all groups, float64 (G,) each."""
        ...


class Credit(Protocol):
    """The advantages of episodes, shared out over their tokens; the denominator of the loss stays what it was."""

    def __call__(self, groups: Groups, advantage_PG: Sequence[np.ndarray], *_: Any, **given: Any) -> list[np.ndarray]:
        """Return the advantage of each token, float (T,), one array per episode, group by group.

        Signs may change; a zero masks a token without taking it out of the denominator.
        """
        ...


class TokenWeight(Protocol):
    """Which tokens the loss counts, and how much.

    It may have ``count(weight_T) -> float``, what an episode adds to the denominator of the loss; without it, that is
    the sum of its weights. A true attribute ``revealed`` says that revealed tokens are trained.
    """

    def __call__(self, episode: Episode, *_: Any, **given: Any) -> np.ndarray:
        """Return loss weights, float32 (T,), >= 0."""
        ...


class Loss(Protocol):
    """The loss of a batch before it is divided by its denominator; see also ``SetLoss`` for losses of whole groups.

    It may require ``off_policy_log_probs`` and then has ``fit(log_probs_NT, batch) -> Loss``, asked before each
    gradient step; ``reference_log_probs``, which fills that column of the batch; ``every_row``, without which episodes
    of advantage 0 are left out; ``sets``, which also keeps groups whole.
    """

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        """Return the loss of a batch, or of a part of it."""
        ...


class ReferenceTerm(Protocol):
    """A term that keeps the policy near an earlier one.

    It may have ``keep(policy) -> Reference``, which makes the reference; without it that is the policy as it is when
    the agent is made.
    """

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the sum of weight * term over the tokens, a scalar."""
        ...


class Reference(Protocol):
    """The model that a policy is kept near. One with ``follow(policy)`` is told of every gradient step."""

    def model(self) -> AbstractContextManager[Any]:
        """Give the reference's model for the length of a ``with`` block."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return plain data and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        ...


class Regularizer(Protocol):
    """A term that needs more than log-probabilities.

    It sees one pass at a time. A mean over the tokens of the whole gradient step is the sum over the tokens of the
    pass times ``batch.step_count / batch.step_tokens``.
    """

    def __call__(self, entropy_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return a scalar, which is added to the loss before its division by the denominator.

        Args:
            entropy_NT: float, nats, with gradient; 0 for tokens outside the loss.
            batch: A microbatch.
        """
        ...


@runtime_checkable
class Stateful(Protocol):
    """A part that keeps something between updates. The agent copies it, so that a recipe keeps its start.

    One with ``stepped()`` is told of every gradient step.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return plain data and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        ...


@runtime_checkable
class Trainable(Stateful, Protocol):
    """A stateful part with numbers of its own that the loss trains, under an optimiser of its own.

    The policy's optimiser does not see them: no weight decay, no gradient clipping, no schedule. It may have
    ``stepped()``, to keep the numbers in their range.
    """

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser; asked once."""
        ...
