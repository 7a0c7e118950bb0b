"""A loss that raises the scores of right answers above those of wrong ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError

SCORES = ("log-likelihood", "ratio")
"""Scores of an answer that :class:`Discriminative` knows."""


def score_gap(score_G: torch.Tensor, right_G: torch.Tensor, hardness: float | None) -> torch.Tensor:
    """Return the mean score of right answers less that of wrong ones, or less tau log mean exp(s / tau) of those.

    The second form weighs wrong answers by softmax(s / tau): the likelier one is, the more it counts.

    Args:
        score_G: float (G,).
        right_G: bool (G,), some True and some False.
        hardness: tau, > 0; None for the mean.
    """
    right, wrong = score_G[right_G].mean(), score_G[~right_G]
    if hardness is None:
        return right - wrong.mean()
    return right - hardness * (torch.logsumexp(wrong / hardness, 0) - math.log(len(wrong)))


@dataclass(frozen=True)
class Discriminative(SetLoss):
    """DisCO: right answers of a group above wrong ones, without ratios that are clipped, under a brake on the KL.

    s_i = mean over loss tokens of log pi, or of the ratio pi / pi_old. L = -(mean over groups of the gap of
    :func:`score_gap`) + penalty / 2 max(KL - delta, 0)^2, KL = mean over the loss tokens of the gradient step of log
    pi_old - log pi. A group with one kind of answer has the gap 0 and stays in the mean. With one gradient step per
    rollout KL is 0 and so is the brake: set ``minibatch``.

    Every token with a weight above 0 counts alike, and advantages are not read. An answer without such a token, as with
    ``TokenMean(truncated=False)``, has no score and is compared with none.

    Source: DisCO (arXiv 2505.12366), read in Optimization-AI/DisCO bd2b078, core_algos.py lines 240-611; the paper up
    to Proposition 1.

    Deviations: 1. KL is that of a gradient step, there of a micro-batch. 2. Right is a reward above ``threshold``;
    there rewards other than exactly 1 and 0 are left out. 3. The value with hardness is that of the objective; there a
    quotient with the same gradient is logged.

    Args:
        score: ``log-likelihood`` or ``ratio``.
        hardness: tau of the wrong answers, > 0: the lower, the more the likeliest one counts. None weighs them alike
            (DisCO-b). The official scripts have 10 for log-likelihoods and 1 for ratios.
        delta: KL that costs nothing, >= 0.
        penalty: Steepness of the brake, >= 0.
        threshold: Rewards above it are right answers.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    score: str = "log-likelihood"
    hardness: float | None = 10.0
    delta: float = 1e-4
    penalty: float = 1e3
    threshold: float = 0.5

    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        if self.score not in SCORES:
            raise ConfigurationError(f"score={self.score!r} must be one of {', '.join(SCORES)}")
        if self.hardness is not None and not (self.hardness > 0 and math.isfinite(self.hardness)):
            raise ConfigurationError(f"hardness={self.hardness} must be None or a finite number above 0")
        for name in ("delta", "penalty"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        if not math.isfinite(self.threshold):
            raise ConfigurationError(f"threshold={self.threshold} must be finite")

    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the score of each episode and the sum of log pi_old - log pi over its loss tokens, (N, 2)."""
        inside_NT = batch.weight_NT > 0
        new_NT = torch.where(inside_NT, log_probs_NT, 0.0)
        old_NT = torch.where(inside_NT, batch.old_log_probs_NT, 0.0)
        token_NT = new_NT
        if self.score == "ratio":
            token_NT = torch.where(inside_NT, torch.exp(new_NT - old_NT), 0.0)
        mean_N = token_NT.sum(-1) / inside_NT.sum(-1).clamp(min=1)
        return torch.stack([mean_N, (old_NT - new_NT).sum(-1)], -1)

    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a minibatch, and ``score_gap`` and ``kl_to_old`` as metrics."""
        assert batch.reward_N1 is not None and batch.set_N1 is not None, "make_batch has set them"
        # A few numbers: in float64, for a large hardness, and where float64 exists.
        score_NK = score_NK.cpu().double()
        right_N, set_N = batch.reward_N1[:, 0].cpu() > self.threshold, batch.set_N1[:, 0].cpu()
        # Where nothing is in the loss the mean is no score: 0 would be the likeliest of all.
        numbers, scored_N = torch.unique(set_N), (batch.weight_NT > 0).any(-1).cpu()
        gap = score_NK.new_zeros(())
        for number in numbers:
            mine_N = (set_N == number) & scored_N
            if 0 < int(right_N[mine_N].sum()) < int(mine_N.sum()):
                gap = gap + score_gap(score_NK[mine_N, 0], right_N[mine_N], self.hardness)
        gap = gap / len(numbers)
        kl = score_NK[:, 1].sum() / max(int((batch.weight_NT > 0).sum()), 1)
        value = -gap + self.penalty / 2 * torch.clamp(kl - self.delta, min=0) ** 2
        return value, {"score_gap": float(gap.detach()), "kl_to_old": float(kl.detach())}
