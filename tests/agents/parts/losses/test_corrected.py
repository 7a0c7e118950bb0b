"""The importance correction of Guide: terms, gradient and gamma by hand, and the tokens it leaves alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate, off_policy_scale
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.errors import ConfigurationError

CPU = torch.device("cpu")


def corrected_batch(make_episode: Any, prefixes: list[Any], old: float = 0.5, advantage: float = 1.0) -> Batch:
    """Episodes of a prompt token and two sampled ones; a prefix is the context of training, None that of sampling."""
    episodes = [
        make_episode("pss", [0, math.log(old), math.log(old)], member=i, train_prefix=prefix)
        for i, prefix in enumerate(prefixes)
    ]
    return make_batch(episodes, np.full(len(episodes), advantage), [TokenMean()(e) for e in episodes], CPU)


def test_off_policy_terms_and_their_gradient_by_hand(make_episode: Any) -> None:
    # old 0.5, new 0.25 and 1.0: r = 1/2 and 2, gamma 2: terms -r / (r + 2) = -1/5 and -1/2.
    # d/d log p = -r gamma / (r + gamma)^2 = -1 / 6.25 and -4 / 16; nothing is clipped
    batch = corrected_batch(make_episode, [np.array([7], np.int32)])
    log_probs = torch.tensor([[0, math.log(0.25), 0.0]], requires_grad=True)
    result = CorrectedSurrogate(gamma=2.0)(log_probs, batch)
    assert result.total.item() == pytest.approx(-0.7) and batch.count == 2
    result.total.backward()
    assert log_probs.grad is not None and log_probs.grad[0].tolist() == pytest.approx([0, -0.16, -0.25])


def test_gamma_is_a_quantile_over_the_off_policy_tokens_in_the_loss(make_episode: Any) -> None:
    # ratios of the off-policy episode 0.2 and 1.2, those of the other one (4 and 4) and of prompts do not count
    batch = corrected_batch(make_episode, [np.array([7], np.int32), None])
    log_probs = torch.log(torch.tensor([[9.0, 0.1, 0.6], [9.0, 2.0, 2.0]]))
    assert off_policy_scale(log_probs, batch, 0.5) == pytest.approx(0.7)
    assert off_policy_scale(log_probs, batch, 0.9) == pytest.approx(1.1)
    loss = CorrectedSurrogate(quantile=0.5).fit(log_probs, batch)
    assert loss.gamma == pytest.approx(0.7) and CorrectedSurrogate(gamma=3.0).fit(log_probs, batch).gamma == 3.0
    # gamma has a floor, and exists where nothing is off-policy
    assert off_policy_scale(log_probs - 50, batch) == 1e-4
    assert off_policy_scale(log_probs, corrected_batch(make_episode, [None, None])) == 1e-4


def test_only_off_policy_episodes_are_corrected(make_episode: Any) -> None:
    # r = 2 in all: off-policy 2 / (2 + 2) each, on-policy clipped at 1.2 each
    batch = corrected_batch(make_episode, [np.array([7], np.int32), None])
    result = CorrectedSurrogate(gamma=2.0)(torch.zeros(2, 3), batch)
    assert float(result.total) == pytest.approx(-(2 * 0.5 + 2 * 1.2)) and batch.count == 4


def test_without_off_policy_episodes_the_correction_is_the_clipped_surrogate(make_episode: Any) -> None:
    batch = corrected_batch(make_episode, [None, None], advantage=-0.7)
    log_probs = torch.log(torch.tensor([[0.9, 0.9, 0.2], [0.9, 0.4, 0.5]]))
    one, other = CorrectedSurrogate()(log_probs, batch), ClippedSurrogate()(log_probs, batch)
    assert one.total == other.total and one.metrics == other.metrics


@pytest.mark.parametrize("options,words", [({"quantile": 1.5}, "quantile=1.5"), ({"gamma": 0.0}, "gamma=0.0")])
def test_bad_corrections_are_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        CorrectedSurrogate(**options)
