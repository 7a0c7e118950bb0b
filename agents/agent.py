"""Agent: what anything must offer to be trained and compared by the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from g2rpo_env.agents.evaluation import Evaluation


class Agent(Protocol):
    """An algorithm with a policy and an environment; :class:`g2rpo_env.agents.GRPO` is one.

    The command line makes one of yours with ``MyAgent(policy, envs, seed=seed)``.
    """

    def learn(self, updates: int) -> Any:
        """Do some updates."""
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
