"""Small environments and policies: one-digit sums, a verifier that a random policy satisfies half of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env import TokenVectorEnv, VectorGuidanceWrapper
from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.episode import Episode, Role
from g2rpo_env.problem import Problem
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict

torch.set_num_threads(1)


OUTCOMES = (Outcome.CORRECT, Outcome.WRONG)


class EvenBytes:
    """Correct if the bytes of the completion have an even sum: chance for a random policy, a pure function of text.

    The answer that it names is the last character.
    """

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(OUTCOMES[sum(c.encode()) % 2], c[-1:] or None) for c in completions]


@pytest.fixture(autouse=True)
def cache_in_a_temporary_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the cache of whoever runs it."""
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def make_envs() -> Callable[..., Any]:
    """(num_envs, group_size, digits, verifier, guidance, ...) -> a vector environment, guided if asked for."""

    def make(
        num_envs: int = 8,
        group_size: int = 4,
        digits: int | tuple[int, int] = 1,
        verifier: Any = None,
        guidance: dict[str, Any] | None = None,
        autoreset_mode: str | None = "DISABLED",
        **task: Any,
    ) -> Any:
        task.setdefault("max_new_tokens", 10)
        built = Task(AdditionSource(digits), EvenBytes() if verifier is None else verifier, **task)
        envs: Any = TokenVectorEnv(built, num_envs, group_size=group_size, autoreset_mode=autoreset_mode)
        return envs if guidance is None else VectorGuidanceWrapper(envs, **guidance)

    return make


@pytest.fixture(scope="session")
def make_policy() -> Callable[..., CausalLMPolicy]:
    """(envs, seed) -> a one-layer policy with random weights, scaled up so that its distribution is not flat."""

    def make(envs: Any, seed: int = 0, *, scale: float = 1.0, **options: Any) -> CausalLMPolicy:
        policy = CausalLMPolicy.tiny(envs, seed, **{"hidden_size": 32, "layers": 1, **options})
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.mul_(scale)
        return policy

    return make


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    """(roles, ...) -> an episode whose tokens are 2, 3, 4, ...; roles as a string of p, r, s and e."""
    names = {"p": Role.PROMPT, "r": Role.REVEALED, "s": Role.SAMPLED, "e": Role.ENVIRONMENT}

    def make(roles: str, log_probs: Sequence[float] | None = None, correct: bool = True, **fields: Any) -> Episode:
        role_T = np.array([names[r] for r in roles], np.int8)
        outcome = Outcome.CORRECT if correct else Outcome.WRONG
        defaults: dict[str, Any] = {
            "problem_id": "1+1",
            "group": 0,
            "member": 0,
            "seed": 0,
            "reveal": roles.count("r"),
            "reward": float(correct),
            "verdict": Verdict(outcome),
        }
        return Episode(
            tokens_T=np.arange(2, 2 + len(roles), dtype=np.int32),
            role_T=role_T,
            logprob_T=np.zeros(len(roles), np.float32) if log_probs is None else np.array(log_probs, np.float32),
            **{**defaults, **fields},
        )

    return make


@pytest.fixture(scope="session")
def addition_verifier() -> MarkVerifier:
    """The real verifier of the task."""
    return MarkVerifier()


@pytest.fixture(scope="session")
def weights_of() -> Callable[[CausalLMPolicy], dict[str, torch.Tensor]]:
    """policy -> a copy of its weights."""
    return lambda policy: {name: value.detach().clone() for name, value in policy.model.state_dict().items()}


@pytest.fixture(scope="session")
def same_weights() -> Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]:
    """(weights, weights) -> whether they are equal bit for bit."""
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
