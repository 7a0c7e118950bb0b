"""The Agent protocol: GRPO keeps it, and so can an agent that knows nothing of GRPO."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from g2rpo_env.agents import GRPO, CausalLMPolicy, evaluate
from g2rpo_env.agents.agent import Agent, Updater
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.staged import Stage, Staged


@pytest.mark.parametrize("method", ["learn", "evaluate", "save", "load"])
def test_grpo_takes_what_the_protocol_says_with_the_same_defaults(method: str) -> None:
    promised = inspect.signature(getattr(Agent, method)).parameters
    offered = inspect.signature(getattr(GRPO, method)).parameters
    shared = list(promised)
    assert list(offered)[: len(shared)] == shared
    assert [offered[name].default for name in shared] == [promised[name].default for name in shared]
    assert all(p.default is not p.empty for name, p in offered.items() if name not in promised)


class DoesNothing:
    """The least an agent can be."""

    def __init__(self, policy: Any, envs: Any, *, seed: int = 0) -> None:
        self.policy, self.envs = policy, envs

    def learn(self, updates: int) -> None:
        """Learn nothing."""

    def evaluate(self, split: str = "test", problems: int = 256) -> Any:
        """Return accuracy by the library's own evaluation."""
        return evaluate(self.policy, self.envs, split=split, problems=problems)

    def save(self, folder: str | Path) -> None:
        """Write the policy."""
        self.policy.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path, envs: Any) -> DoesNothing:
        """Load the policy."""
        return cls(CausalLMPolicy.from_pretrained(folder), envs)


def test_an_agent_of_ones_own_is_measured_like_grpo(make_envs: Any, make_policy: Any, tmp_path: Path) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    mine: Agent = DoesNothing(policy, envs, seed=1)
    ours: Agent = GRPO(policy, envs, seed=1)
    assert mine.evaluate(problems=10).correct_PS.tolist() == ours.evaluate(problems=10).correct_PS.tolist()
    mine.save(tmp_path)
    again: Agent = DoesNothing.load(tmp_path, envs)
    assert again.evaluate(problems=10).correct_PS.tolist() == ours.evaluate(problems=10).correct_PS.tolist()


def test_agents_that_say_what_an_update_did_are_told_from_those_that_do_not(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(16, 4)
    policy = make_policy(envs)
    staged = Staged(policy, envs, stages=[Stage(Recipe(), 1)])
    assert isinstance(GRPO(policy, envs), Updater) and isinstance(staged, Updater)
    assert not isinstance(DoesNothing(policy, envs), Updater)
    assert staged.last_update is None and staged.update()["update"] == 1 and staged.last_update is not None
