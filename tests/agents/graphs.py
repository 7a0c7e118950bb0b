"""Gradients of a learner's step, and those of a loss of whole groups by one graph over the whole batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.token_weights import TokenMean

SHAPES = ("pps", "pprss", "ppssss", "psss", "pss", "pssss", "ppsss", "ps")
"""Roles of episodes of unlike lengths; 2 are of one length in most sets of a test."""


def make_set_batch(
    make_episode: Any, rewards: Any, sets: Any, shapes: Any = SHAPES, advantages: Any = None, reference: bool = False
) -> Batch:
    """A batch of episodes with rewards and sets; old and reference log-probabilities are made up, unlike each other."""
    episodes = [make_episode(shape, member=i) for i, shape in enumerate(shapes[: len(rewards)])]
    weights = [TokenMean()(e) for e in episodes]
    given = {"rewards": np.array(rewards, np.float64), "sets": np.array(sets)}
    advantage_N = np.ones(len(rewards)) if advantages is None else np.array(advantages, np.float64)
    batch = make_batch(episodes, advantage_N, weights, torch.device("cpu"), **given)
    random = torch.Generator().manual_seed(3)
    inside = batch.weight_NT > 0
    old = torch.where(inside, -5 + 0.3 * torch.randn(inside.shape, generator=random), 0.0)
    ref = torch.where(inside, -5 + 0.3 * torch.randn(inside.shape, generator=random), 0.0)
    return replace(batch, old_log_probs_NT=old, reference_log_probs_NT=ref if reference else None)


def near_policy(agent: Any, batch: Batch, noise: float = 0.3) -> Batch:
    """The batch with old log-probabilities near those of the policy, so that some ratios are clipped and some not."""
    inside = batch.weight_NT > 0
    with torch.no_grad():
        now = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT, inside)
    moved = now + noise * torch.randn(now.shape, generator=torch.Generator().manual_seed(5))
    return replace(batch, old_log_probs_NT=torch.where(inside, moved, 0.0))


def catch_gradients(agent: Any, batch: Batch) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Metrics of a step and the gradients it would have taken, without taking it."""
    found: dict[str, torch.Tensor] = {}

    def catch(loss: float) -> float:
        found.update({n: p.grad.clone() for n, p in agent.policy.model.named_parameters() if p.grad is not None})
        return 0.0

    agent.learner._apply = catch
    return agent.learner._step(batch), found


def one_graph(agent: Any, batch: Batch, loss: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """The value of a loss of whole groups and its gradients, by one graph over the whole batch."""
    agent.policy.model.zero_grad(set_to_none=True)
    log_probs = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT, batch.weight_NT > 0)
    value, _ = loss.objective(loss.scores(log_probs, batch), batch)
    value.backward()
    found = {n: p.grad.clone() for n, p in agent.policy.model.named_parameters() if p.grad is not None}
    agent.policy.model.zero_grad(set_to_none=True)
    return float(value.detach()), found


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-5) -> None:
    """Equal up to a tolerance that is relative to the largest entry."""
    largest = max(float(g.abs().max()) for g in expected.values())
    assert found.keys() == expected.keys() and largest > 0
    assert max(float((found[n] - expected[n]).abs().max()) for n in found) <= tolerance * largest


def set_batch(rewards: Any, sets: Any, lengths: Any = None) -> Batch:
    """A batch of which an objective sees rewards, sets and numbers of loss tokens alone; one token each by default."""
    size = len(rewards)
    lengths = torch.ones(size, dtype=torch.long) if lengths is None else torch.tensor(lengths)
    weight = (torch.arange(int(lengths.max())) < lengths[:, None]).float()
    return Batch(
        *[weight] * 6,
        reward_N1=torch.tensor(rewards, dtype=torch.float32)[:, None],
        set_N1=torch.tensor(sets)[:, None],
    )


def slopes_of(loss: Any, score: torch.Tensor, batch: Batch) -> tuple[float, torch.Tensor]:
    """The value of an objective and its slopes, of the shape of the scores."""
    score = score.clone().requires_grad_()
    value, _ = loss.objective(score, batch)
    value.backward()
    assert score.grad is not None
    return float(value.detach()), score.grad
