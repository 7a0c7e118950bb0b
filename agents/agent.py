"""Agent: what anything must offer to be trained and compared by the command line, and the agents it knows by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from g2rpo_env.agents.evaluation import Evaluation

if TYPE_CHECKING:
    from g2rpo_env.agents.update import Update

AGENTS = {
    "ppo": "g2rpo_env.agents.sb3:PPOAgent",
    "a2c": "g2rpo_env.agents.sb3:A2CAgent",
    "veripo": "g2rpo_env.agents.recipes.veripo:veripo",
}
"""Short names of agents that are no recipes."""


@runtime_checkable
class Updater(Protocol):
    """What an agent may offer beside :class:`Agent`: updates one by one, each with its metrics and its record.

    A comparison then calls ``update()`` where it would call ``learn(1)``, and keeps the metrics.
    """

    @property
    def last_update(self) -> Update | None:
        """Record of the last update; None before the first one."""
        ...

    def update(self) -> dict[str, Any]:
        """Do one update and return its metrics; ``update``, its number counted from 1, is among them."""
        ...


class Agent(Protocol):
    """An algorithm with a policy and an environment; :class:`g2rpo_env.agents.GRPO` is one.

    The command line makes one of yours with ``MyAgent(policy, envs, seed=seed)``, and with ``learning_rate=rate`` too
    if it was given one. One that has ``update()`` and ``last_update`` too is an :class:`Updater`.

    Attributes:
        sampled_tokens: Tokens sampled in training so far: the budget that a comparison makes equal. An agent that
            samples none, such as supervised training, leaves it at 0 and gets a number of updates instead.
    """

    sampled_tokens: int

    def learn(self, updates: int) -> Any:
        """Do some more updates; a comparison calls ``learn(1)`` until the budget is spent."""
        ...

    def evaluate(self, split: str = "test", problems: int = 256) -> Evaluation:
        """Return unguided greedy accuracy on distinct problems of a split."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write the policy and whatever training needs to go on."""
        ...

    @classmethod
    def load(cls, folder: str | Path, envs: Any) -> Agent:
        """Return the agent that was saved, ready to go on."""
        ...
