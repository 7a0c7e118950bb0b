"""Parts that use the seams of a recipe and that no recipe has: small enough to be checked by hand."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.episode import Role


def token_sums(log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The sum of the log-probabilities in the loss, (N, 1)."""
    return torch.where(batch.weight_NT > 0, log_probs_NT, 0.0).sum(-1, keepdim=True)


def make_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows of ten tokens, and a mask without padding."""
    token_NT = torch.arange(20).reshape(2, 10) + 5
    return token_NT, torch.ones_like(token_NT, dtype=torch.bool)


def stir_adapter(policy: Any, seed: int = 1) -> None:
    """Give B of an adapter other values than 0."""
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Contrast(SetLoss):
    """Per group log sum exp of the scores of wrong answers less the mean of those of right ones; a mean over groups."""

    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        return token_sums(log_probs_NT, batch)

    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        terms = []
        for number in torch.unique(batch.set_N1):
            mine = batch.set_N1[:, 0] == number
            right = mine & (batch.reward_N1[:, 0] > 0.5)
            wrong = mine & ~right
            if right.any() and wrong.any():
                terms.append(torch.logsumexp(score_NK[wrong, 0], 0) - score_NK[right, 0].mean())
        value = torch.stack(terms).mean() if terms else score_NK.sum() * 0
        return value, {"contrasts": float(len(terms))}


@dataclass
class Scaled(SetLoss):
    """exp(scale) times the sum of reward * score, divided by the episodes; the scale is trained."""

    start: float = 0.5
    scale: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.scale = torch.nn.Parameter(torch.tensor(float(self.start)))

    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        return token_sums(log_probs_NT, batch)

    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        value = torch.exp(self.scale) * (batch.reward_N1 * score_NK).sum() / len(batch)
        return value, {"scale": float(self.scale)}

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.scale], lr=0.01, momentum=0.9)

    def stepped(self) -> None:
        with torch.no_grad():
            self.scale.clamp_(-3, 3)

    def state_dict(self) -> dict[str, Any]:
        return {"scale": float(self.scale)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.scale.fill_(state["scale"])


@dataclass(frozen=True)
class Constant(SetLoss):
    """Scores with no slope: what an objective is on a minibatch with nothing to tell."""

    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        return token_sums(log_probs_NT, batch)

    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return torch.tensor(2.5), {}


@dataclass
class CountedCredit:
    """The advantage of an episode on all its tokens, divided by the number of the update, and counts of calls."""

    calls: int = field(default=0, init=False, compare=False)
    steps: int = field(default=0, init=False, compare=False)

    def __call__(self, groups: Any, advantage_PG: Any) -> list[np.ndarray]:
        self.calls += 1
        return [credit_T / self.calls for credit_T in EvenCredit()(groups, advantage_PG)]

    def stepped(self) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls, self.steps = state["calls"], state["steps"]


@dataclass(frozen=True)
class LateCredit:
    """The advantage of an episode on its last sampled token alone."""

    requires = frozenset({"budget"})

    def __call__(self, groups: Any, advantage_PG: Any, **given: Any) -> list[np.ndarray]:
        assert given == {"budget": 10}
        out = []
        for group, advantage_G in zip(groups, advantage_PG, strict=True):
            for episode, advantage in zip(group.episodes, advantage_G, strict=True):
                credit_T = np.zeros(len(episode.tokens_T))
                credit_T[np.flatnonzero(episode.sampled_T)[-1]] = advantage
                out.append(credit_T)
        return out


@dataclass(frozen=True)
class EvenCredit:
    """The advantage of an episode on each of its tokens: what is done without a credit part."""

    def __call__(self, groups: Any, advantage_PG: Any) -> list[np.ndarray]:
        pairs = zip(groups, advantage_PG, strict=True)
        return [np.full(len(e.tokens_T), a) for g, a_G in pairs for e, a in zip(g.episodes, a_G, strict=True)]


@dataclass(frozen=True)
class EntropySum:
    """coefficient times the sum of the entropies in the loss."""

    coefficient: float = 0.1

    requires = frozenset({"entropy_gradient"})

    def __call__(self, entropy_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self.coefficient * torch.where(batch.weight_NT > 0, entropy_NT, 0.0).sum()


@dataclass(frozen=True)
class EntropyMean:
    """coefficient times the mean of the entropies in the loss, over all tokens of the gradient step."""

    coefficient: float = 0.1

    requires = frozenset({"entropy_gradient"})

    def __call__(self, entropy_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        share = batch.step_count / batch.step_tokens
        return self.coefficient * torch.where(batch.weight_NT > 0, entropy_NT, 0.0).sum() * share


class Follower:
    """A reference model that moves half of the way to the policy after every gradient step."""

    def __init__(self, policy: Any) -> None:
        self.copy = copy.deepcopy(policy.model)

    @contextmanager
    def model(self) -> Any:
        yield self.copy

    @torch.no_grad()
    def follow(self, policy: Any) -> None:
        for mine, theirs in zip(self.copy.parameters(), policy.model.parameters(), strict=True):
            mine.lerp_(theirs, 0.5)

    def state_dict(self) -> dict[str, Any]:
        return self.copy.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.copy.load_state_dict(state)


@dataclass(frozen=True)
class Following:
    """Keeps a Follower and adds no term."""

    requires = frozenset[str]()

    def keep(self, policy: Any) -> Follower:
        return Follower(policy)

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.zeros(())


@dataclass(frozen=True)
class LikelyReward:
    """The reward, and the mean reference log-probability of what was sampled."""

    requires = frozenset({"reference_log_probs"})

    def __call__(self, group: Any, **given: Any) -> np.ndarray:
        rows = zip(group.episodes, given["reference_log_prob_GT"], strict=True)
        return group.reward_G + np.array([lp_T[e.role_T == Role.SAMPLED].mean() for e, lp_T in rows])


@dataclass(frozen=True)
class PerEpisode:
    """Every sampled token weighs 1, every episode counts as one: a mean over episodes of sums over tokens."""

    def __call__(self, episode: Any, **given: Any) -> np.ndarray:
        return episode.sampled_T.astype(np.float32)

    def count(self, weight_T: np.ndarray) -> float:
        return 1.0
