"""Strategies that sample nothing: groups of earlier updates, handed out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.rollout import token_vector_env
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import stream


@dataclass
class Stored:
    """Groups that were sampled before, ``size`` of them per update.

    Every one comes once per turn, in a new order each turn. They are marked as used again: they cost no sampled tokens
    and tell controllers nothing. Their log-probabilities are those of the policy that sampled them, so losses with a
    ratio see how far the policy has moved since.
    :class:`~g2rpo_env.agents.staged.Staged` fills it with what an earlier stage kept. What it holds is saved by whoever
    filled it, its place by the agent. Filled with no group, it gives none, and an update takes no step.

    Args:
        size: Groups per update, >= 1; with fewer in store all of them.

    Raises:
        ConfigurationError: ``size`` is below 1.
    """

    in_stages_only: ClassVar[bool] = True
    """Whether it has something to hand out as a part of a later stage alone."""
    size: int = 8
    _groups: list[Group] | None = field(default=None, init=False, repr=False, compare=False)
    _drawn: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_types(self)
        if self.size < 1:
            raise ConfigurationError(f"size={self.size} must be at least 1")

    def fill(self, groups: Sequence[Group]) -> None:
        """Take the groups that are handed out from now on."""
        self._groups = list(groups)

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update.

        Raises:
            ConfigurationError: nobody has filled it.
        """
        if self._groups is None:
            raise ConfigurationError("strategy=Stored has no groups: fill it, or let an earlier stage keep some")
        count = len(self._groups)
        root, order = token_vector_env(envs).root_seed, []
        for place in range(self._drawn, self._drawn + min(self.size, count)):
            turn, position = divmod(place, count)
            order.append(self._groups[int(stream(root, "stored", turn).permutation(count)[position])])
        self._drawn += len(order)
        return Groups(order, reused=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of groups handed out so far."""
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._drawn = state["drawn"]
