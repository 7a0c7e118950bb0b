"""Recipes: an algorithm as a dataclass of its parts. The recipe is the whole configuration, and what is saved.

Every recipe has the same optimiser defaults, so that two recipes that differ in one part differ in nothing else:
``g2rpo-a`` with ratio 0 is ``grpo`` bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from g2rpo_env.agents.parts.advantages.groups import GroupNormalized
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.protocols import (
    Advantage,
    Credit,
    Loss,
    ReferenceTerm,
    Regularizer,
    Selection,
    Shaping,
    Stateful,
    Strategy,
    TokenWeight,
    UpdateAdvantage,
    get_requirements,
)
from g2rpo_env.agents.parts.references.terms import NoReference
from g2rpo_env.agents.parts.selection.filters import KeepAll
from g2rpo_env.agents.parts.shaping.rewards import EnvironmentReward
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.parts.token_weights.means import SequenceMean
from g2rpo_env.controllers.base import Controller
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import CONTROLLERS, explain_unfindable, find_class, public_name, suggest

LOWEST_RATE = 0.01
"""Share of the learning rate that a decay ends at, so that updates beyond it still do something."""


@dataclass(frozen=True)
class Optimizer:
    """AdamW with gradient clipping.

    Args:
        learning_rate: Highest learning rate, > 0.
        warmup: Updates over which the learning rate rises linearly, >= 0.
        decay: Update at which the learning rate has fallen linearly to a hundredth, from the end of the warm-up on;
            None keeps it constant.
        decay_tokens: The same by sampled tokens: their number at which the learning rate has fallen to a hundredth.
        weight_decay: AdamW's, >= 0.
        max_grad_norm: The gradient is scaled down to this norm, > 0.
        epochs: Passes over the episodes of an update, >= 1.
        minibatch: Episodes per gradient step; None for all.
        microbatch: Most episodes per forward pass. Gradients are accumulated exactly, so it changes memory, not
            results. Episodes of like length go together, in as many passes as save time.
        microbatch_tokens: Most tokens per forward pass, padding included; an episode is never split.
        checkpointing: Keep no activations within layers and compute them again in the backward pass: less memory, a
            third more time, the same results.
        fused: Update all weights in one kernel.
    """

    learning_rate: float = 3e-5
    warmup: int = 0
    decay: int | None = None
    decay_tokens: int | None = None
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    epochs: int = 1
    minibatch: int | None = None
    microbatch: int | None = None
    microbatch_tokens: int | None = None
    checkpointing: bool = False
    fused: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        if not self.learning_rate > 0:
            raise ConfigurationError(f"learning_rate={self.learning_rate} must be above 0")
        if not self.max_grad_norm > 0:
            raise ConfigurationError(f"max_grad_norm={self.max_grad_norm} must be above 0")
        for name in ("warmup", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        if self.decay is not None and self.decay <= self.warmup:
            raise ConfigurationError(f"decay={self.decay} must be None or above warmup={self.warmup}")
        if self.decay is not None and self.decay_tokens is not None:
            raise ConfigurationError(
                f"decay={self.decay} and decay_tokens={self.decay_tokens} are two ends of one decay: give one of them"
            )
        for name in ("decay_tokens", "epochs", "minibatch", "microbatch", "microbatch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}={value} must be at least 1")

    def rate(self, update: int, sampled_tokens: int = 0) -> float:
        """Return the learning rate of an update, counted from 1.

        Args:
            update: Number of the update.
            sampled_tokens: Tokens sampled in all updates before it.

        >>> [round(Optimizer(learning_rate=1.0, warmup=2, decay=4).rate(n), 3) for n in (1, 2, 3, 4, 5)]
        [0.5, 1.0, 0.5, 0.01, 0.01]
        >>> [Optimizer(learning_rate=1.0, decay_tokens=100).rate(n, n * 50 - 50) for n in (1, 2, 3)]
        [1.0, 0.5, 0.01]
        """
        if update <= self.warmup or (self.decay is None and self.decay_tokens is None):
            return self.learning_rate * min(1.0, update / max(self.warmup, 1))
        if self.decay is not None:
            left = (self.decay - update) / (self.decay - self.warmup)
        else:
            left = 1 - sampled_tokens / (self.decay_tokens or 1)
        return self.learning_rate * max(LOWEST_RATE, left)


@dataclass(frozen=True)
class Recipe:
    """The parts of an algorithm, in the order in which data flows through them.

    Args:
        strategy: (policy, envs) -> Groups.
        shaping: Group -> rewards (G,).
        selection: (Groups, rewards) -> (Groups, rewards).
        advantage: Rewards (G,) -> advantages (G,); one that requires ``groups`` takes the rewards of all groups and the
            groups, and gives a list.
        credit: (Groups, advantages) -> the advantage of each token, (T,) per episode; None: that of its episode.
        token_weight: Episode -> loss weights (T,); what it requires is given by name.
        loss: (log_probs_NT, Batch) -> LossResult; one that requires ``off_policy_log_probs`` is asked for the loss of
            each gradient step first, see :class:`~g2rpo_env.agents.parts.losses.CorrectedSurrogate`.
        reference: (log_probs_NT, Batch) -> scalar, added to the loss total.
        regularizer: (entropy_NT, Batch) -> scalar, added to the loss total; None adds nothing and costs nothing.
        controller: Sets the reveal length after each update; None leaves the guidance wrapper alone.
        optimizer: Learning rate and the like.
    """

    strategy: Strategy = field(default_factory=Rollout)
    shaping: Shaping = field(default_factory=EnvironmentReward)
    selection: Selection = field(default_factory=KeepAll)
    advantage: Advantage | UpdateAdvantage = field(default_factory=GroupNormalized)
    credit: Credit | None = None
    token_weight: TokenWeight = field(default_factory=SequenceMean)
    loss: Loss = field(default_factory=ClippedSurrogate)
    reference: ReferenceTerm = field(default_factory=NoReference)
    regularizer: Regularizer | None = None
    controller: Controller | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)

    def requires(self, what: str) -> bool:
        """Whether some part declares that it needs ``what``, such as ``"reference_log_probs"``."""
        return any(what in get_requirements(getattr(self, f.name)) for f in dataclasses.fields(self))

    def stateful(self) -> dict[str, Any]:
        """Return the parts that keep something between updates (:class:`Stateful`), by slot, without the controller."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "controller"}
        return {name: part for name, part in parts.items() if isinstance(part, Stateful)}

    @property
    def needs_guidance(self) -> bool:
        """Whether the environment must be in a guidance wrapper."""
        return self.controller is not None or self.requires("guidance")

    def to_config(self) -> dict[str, Any]:
        """Return the recipe as plain data: per part the name of its class and its options.

        Raises:
            ConfigurationError: a part is of a class that is no dataclass, so that nobody knows its options.
        """
        return {f.name: part_to_config(getattr(self, f.name), f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Recipe:
        """Return the recipe of plain data; parts that it does not name are the usual ones.

        Imports the classes it names: load only what you trust.

        Raises:
            ConfigurationError: a slot, a class or an option has a name that nothing has.
        """
        check_known(config, [f.name for f in dataclasses.fields(cls)], "a part of a recipe")
        return cls(**{name: part_from_config(part, name) for name, part in config.items()})


MODULES = ("g2rpo_env.agents.parts", CONTROLLERS, __name__)
"""Modules that offer parts by public name."""


def part_to_config(part: Any, argument: str = "part") -> dict[str, Any] | None:
    """Return a part as ``{"class": "ClippedSurrogate", "options": {...}}``; None stays None.

    A class of the user's is named ``"module:Name"``.

    Args:
        part: The part.
        argument: What messages call it.

    Raises:
        ConfigurationError: its class is no dataclass, so that nobody knows its options, or JSON does not know the value
            of one.
    """
    if part is None:
        return None
    if not dataclasses.is_dataclass(part):
        raise ConfigurationError(
            f"{argument}={type(part).__name__} must be a dataclass to be saved: its fields are read"
        )
    options = {f.name: _plain(getattr(part, f.name)) for f in dataclasses.fields(part) if f.init}
    for name, value in options.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"{argument}={type(part).__name__}: {name}={value!r:.40} must be numbers, texts, lists, dicts or "
                f"dataclasses of these to be saved, got {type(value).__name__}"
            ) from None
    return {"class": public_name(type(part), MODULES), "options": options}


def _plain(value: Any) -> Any:
    return part_to_config(value) if dataclasses.is_dataclass(value) else value


def warn_of_unfindable(config: Any, argument: str) -> None:
    """Warn of each class in plain data of parts that no other program will find.

    Args:
        config: What :func:`part_to_config` returned, or an option of it.
        argument: What warnings call the part.
    """
    if not _is_part(config):
        return
    reason = explain_unfindable(config["class"])
    if reason is not None:
        what = f"{argument}={config['class']!r} is saved by a name that no other program finds"
        warnings.warn(f"{what}: {reason}. Until then GRPO.load fails elsewhere; the weights load.", stacklevel=4)
    for name, value in config["options"].items():
        warn_of_unfindable(value, f"{argument}.{name}")


def part_from_config(config: dict[str, Any] | None, argument: str = "part") -> Any:
    """Return the part of plain data, see :func:`part_to_config`.

    Args:
        config: The plain data.
        argument: What messages call the part.

    Raises:
        ConfigurationError: its class or an option has a name that nothing has.
    """
    if config is None:
        return None
    if not _is_part(config):
        raise ConfigurationError(f'{argument}={config!r:.80} must be null or {{"class": a name, "options": {{...}}}}')
    options = {k: part_from_config(value, k) if _is_part(value) else value for k, value in config["options"].items()}
    kind = find_class(config["class"], MODULES, argument)
    if dataclasses.is_dataclass(kind):
        check_known(options, [f.name for f in dataclasses.fields(kind) if f.init], f"an option of {config['class']}")
    return kind(**options)


def check_known(names: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise ConfigurationError for the first name that is not known; the message has the nearest one."""
    for name in names:
        if name not in known:
            hint = suggest(name, known) or f"; known are {', '.join(known)}"
            raise ConfigurationError(f"{name!r} must be {what}{hint}")


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"class", "options"}
