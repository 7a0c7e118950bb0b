"""Recipes: an algorithm as a dataclass of its parts. The recipe is the whole configuration, and what is saved.

Every recipe has the same optimiser defaults, so that two recipes that differ in one part differ in nothing else:
``g2rpo-a`` with ratio 0 is ``grpo`` bit for bit.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from g2rpo_env.agents.advantages import GroupCentered, GroupNormalized, Ones
from g2rpo_env.agents.losses import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.references import NoReference
from g2rpo_env.agents.selection import KeepAll, KeepCorrect
from g2rpo_env.agents.shaping import EnvironmentReward
from g2rpo_env.agents.strategies import RevealOnly, Rollout
from g2rpo_env.agents.token_weights import SequenceMean, TokenMean
from g2rpo_env.controller import AdaptiveGuidance, Controller, FixedGuidance
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.guidance import find_guidance

if TYPE_CHECKING:
    from g2rpo_env.agents.grpo import GRPO


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
        token_weight: Episode -> loss weights (T,); what it requires is given by name.
        loss: (log_probs_NT, Batch) -> LossResult; one that requires ``off_policy_log_probs`` is asked for the loss of
            each gradient step first, see :class:`~g2rpo_env.agents.losses.CorrectedSurrogate`.
        reference: (log_probs_NT, Batch) -> scalar, added to the loss total.
        controller: Sets the reveal length after each update; None leaves the guidance wrapper alone.
        optimizer: Learning rate and the like.
    """

    strategy: Any = field(default_factory=Rollout)
    shaping: Any = field(default_factory=EnvironmentReward)
    selection: Any = field(default_factory=KeepAll)
    advantage: Any = field(default_factory=GroupNormalized)
    token_weight: Any = field(default_factory=SequenceMean)
    loss: Any = field(default_factory=ClippedSurrogate)
    reference: Any = field(default_factory=NoReference)
    controller: Controller | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)

    def requires(self, what: str) -> bool:
        """Whether some part declares that it needs ``what``, such as ``"reference_log_probs"``."""
        parts = (getattr(self, f.name) for f in dataclasses.fields(self))
        return any(what in getattr(part, "requires", ()) for part in parts)

    @property
    def needs_guidance(self) -> bool:
        """Whether the environment must be in a guidance wrapper."""
        return self.controller is not None or self.requires("guidance")

    def to_config(self) -> dict[str, Any]:
        """Return the recipe as plain data: per part its class and its options."""
        return {f.name: part_to_config(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Recipe:
        """Return the recipe of plain data. Imports the classes it names: load only what you trust."""
        return cls(**{name: part_from_config(part) for name, part in config.items()})


def part_to_config(part: Any) -> dict[str, Any] | None:
    """Return a part as ``{"class": "module:Name", "options": {...}}``; None stays None."""
    if part is None:
        return None
    options = {f.name: _plain(getattr(part, f.name)) for f in dataclasses.fields(part) if f.init}
    return {"class": f"{type(part).__module__}:{type(part).__qualname__}", "options": options}


def _plain(value: Any) -> Any:
    return part_to_config(value) if dataclasses.is_dataclass(value) else value


def part_from_config(config: dict[str, Any] | None) -> Any:
    """Return the part of plain data, see :func:`part_to_config`."""
    if config is None:
        return None
    module, _, name = config["class"].partition(":")
    options = {key: part_from_config(value) if _is_part(value) else value for key, value in config["options"].items()}
    return getattr(importlib.import_module(module), name)(**options)


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"class", "options"}


def grpo() -> Recipe:
    """GRPO (arXiv 2402.03300): group-normalised rewards, clipped surrogate, mean over episodes; no KL term."""
    return Recipe()


def guided_grpo() -> Recipe:
    """GRPO on guided groups with a reveal length that stays. Loss mode: sampled tokens only."""
    return Recipe(controller=FixedGuidance())


def g2rpo_a() -> Recipe:
    """G²RPO-A (arXiv 2508.13023). Loss mode: **revealed tokens included**, as in the official code.

    A share of each group starts from revealed tokens, one normalisation over the mixed group, adaptive reveal length.

    Deviations:

    1. The controller is the bounded rule; ``AdaptiveGuidance(max_factor=None)`` is the paper's.
    2. It sees the success of every update, the official code that of every third.
    3. No KL term (the official code inherits TRL 0.15.2's beta of 0.04).
    4. Positions are those the tokens were sampled at; the official code pads short traces in the middle.
    5. The reveal does not count towards the budget and never shows the final answer.
    """
    return Recipe(controller=AdaptiveGuidance(), token_weight=SequenceMean(revealed=True))


def g2rpo_a_masked() -> Recipe:
    """G²RPO-A with the revealed tokens masked out of the loss: only sampled tokens are trained."""
    return Recipe(controller=AdaptiveGuidance())


def sft() -> Recipe:
    """Supervised training on the revealed tokens alone: the baseline that shows how much of a gain is imitation."""
    return Recipe(
        strategy=RevealOnly(),
        advantage=Ones(),
        token_weight=TokenMean(sampled=False, revealed=True),
        loss=LogLikelihood(),
    )


def raft() -> Recipe:
    """RAFT (arXiv 2504.11343): maximum likelihood of the correct samples; wrong ones are dropped."""
    return Recipe(selection=KeepCorrect(), advantage=Ones(), token_weight=TokenMean(), loss=LogLikelihood())


def reinforce() -> Recipe:
    """REINFORCE with the mean reward of the group as its baseline: A log pi, every token weighs the same.

    No clipping, no division by the standard deviation. Up to a factor G / (G - 1) on the advantage, which the learning
    rate takes up, this is the leave-one-out estimator RLOO (arXiv 2402.14740).
    """
    return Recipe(advantage=GroupCentered(), token_weight=TokenMean(), loss=LogLikelihood())


RECIPES: dict[str, Callable[[], Recipe]] = {
    "grpo": grpo,
    "guided-grpo": guided_grpo,
    "g2rpo-a": g2rpo_a,
    "g2rpo-a-masked": g2rpo_a_masked,
    "sft": sft,
    "raft": raft,
    "reinforce": reinforce,
}


def get(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        ConfigurationError: no recipe has that name.
    """
    if name not in RECIPES:
        close = [known for known in RECIPES if name and known.startswith(name)]
        close = close or difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"recipe={name!r} must be one of {', '.join(RECIPES)}{hint}")
    return RECIPES[name]()


def make(
    name: str,
    policy: Any,
    envs: Any,
    *,
    seed: int = 0,
    device: Any = None,
    dtype: str | None = None,
    **parts: Any,
) -> GRPO:
    """Return the agent of a recipe.

    A recipe's controller starts from the length of the guidance wrapper and is bounded by the longest reveal there is.

    Args:
        name: A key of :data:`RECIPES`.
        policy: The policy to train, in place.
        envs: Training environment.
        seed: Root seed of the environment and of all sampling.
        device: See :class:`~g2rpo_env.agents.grpo.GRPO`, and so ``dtype``.
        dtype: See there.
        **parts: Parts that replace those of the recipe, as the arguments of Recipe.

    Raises:
        ConfigurationError: unknown recipe or part.
        MissingGuidanceError: the recipe needs guidance and ``envs`` has no guidance wrapper.
    """
    from g2rpo_env.agents.grpo import GRPO

    recipe, guidance = get(name), find_guidance(envs)
    if recipe.controller is not None and guidance is not None and "controller" not in parts:
        parts = {**parts, "controller": fitted(recipe.controller, guidance)}
    known = {f.name for f in dataclasses.fields(Recipe)}
    unknown = sorted(set(parts) - known)
    if unknown:
        raise ConfigurationError(f"part {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
    return GRPO(policy, envs, seed=seed, device=device, dtype=dtype, recipe=dataclasses.replace(recipe, **parts))


def fitted(controller: Controller, guidance: Any) -> Controller:
    """Return the controller, starting at the wrapper's length; no length exceeds the longest reveal in its unit."""
    longest = guidance.longest
    length = min(guidance.length, longest)
    changes: dict[str, Any] = {"length": length}
    if hasattr(controller, "max_length"):
        limits = cast(Any, controller)
        bound = longest if limits.max_length is None else min(limits.max_length, longest)
        changes["max_length"] = max(bound, length)
        changes["min_length"] = min(limits.min_length, length, bound / 20)
    return dataclasses.replace(controller, **changes)
