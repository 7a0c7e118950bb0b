"""The preference loss of pairs (DPO)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.errors import ConfigurationError

ROUNDING = 1e-5
"""How far the two rewards of a pair, in float32, may be from a sum of 1."""


@dataclass(frozen=True)
class Preference(SetLoss):
    """DPO with doubt: L = mean over pairs of -p log sigmoid(beta D) - (1 - p) log sigmoid(-beta D).

    D = s_1 - s_2, s_i = sum over loss tokens of log pi - log pi_ref (a sum: it is not averaged over the length). A
    pair is a group of two whose rewards are the probabilities p and 1 - p that each is the better one: (1, 0), or
    (1 - e, e) with doubt e. Selections make pairs, such as
    :class:`~g2rpo_env.agents.parts.selection.AnswerPairs`.

    Every token with a weight above 0 counts alike, and advantages are not read. A pair in which one of the two has no
    such token, as with ``TokenMean(truncated=False)``, is left out.

    Source: DPO (arXiv 2305.18290, equation 7), whose sigmoid loss of TRL it equals without doubt; doubt as in
    YuxiXie/MCTS-DPO fb23437, trainer.py lines 317-352.

    Args:
        beta: Scale of the log-ratios, > 0: the lower, the further the policy goes from the reference.

    Raises:
        ConfigurationError: ``beta`` breaks its rule, or a group is no pair, when the loss is asked for.
    """

    beta: float = 0.1

    requires = frozenset({"sets", "reference_log_probs"})

    def __post_init__(self) -> None:
        check_types(self)
        if not self.beta > 0:
            raise ConfigurationError(f"beta={self.beta} must be above 0")

    def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the log-ratio of each episode to the reference, (N, 1)."""
        assert batch.reference_log_probs_NT is not None, "the column is filled where a part requires it"
        term_NT = torch.where(batch.weight_NT > 0, log_probs_NT - batch.reference_log_probs_NT, 0.0)
        return term_NT.sum(-1, keepdim=True)

    def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a minibatch, and as metrics the mean of D signed by preference, and its share above 0."""
        assert batch.reward_N1 is not None and batch.set_N1 is not None, "make_batch has set them"
        row_P2, reward_P2 = find_pairs(batch.set_N1[:, 0].cpu(), batch.reward_N1[:, 0].cpu().double())
        whole_P = (batch.weight_NT > 0).any(-1).cpu()[row_P2].all(-1)
        if not bool(whole_P.any()):
            return score_NK.new_zeros(()), {}
        row_P2, reward_P2 = row_P2[whole_P], reward_P2[whole_P]
        score_P2 = score_NK[:, 0].cpu().double()[row_P2]
        gap_P = score_P2[:, 0] - score_P2[:, 1]
        loss_P = -(
            reward_P2[:, 0] * torch.nn.functional.logsigmoid(self.beta * gap_P)
            + reward_P2[:, 1] * torch.nn.functional.logsigmoid(-self.beta * gap_P)
        )
        signed_P = gap_P.detach() * torch.sign(reward_P2[:, 0] - reward_P2[:, 1])
        metrics = {"preference_gap": float(signed_P.mean()), "preferred": float((signed_P > 0).double().mean())}
        return loss_P.mean(), metrics


def find_pairs(set_N: torch.Tensor, reward_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of each pair, int64 (P, 2), and the rewards in these rows, (P, 2), divided by their sum.

    Args:
        set_N: int64 (N,), number of the group of each row.
        reward_N: float (N,).

    Raises:
        ConfigurationError: a group is not of two, or its rewards are no probabilities that sum to 1.
    """
    numbers, inverse_N = torch.unique(set_N, return_inverse=True)
    size_P = torch.bincount(inverse_N)
    if not bool((size_P == 2).all()):
        size = int(size_P[size_P != 2][0])
        raise ConfigurationError(
            f"loss=Preference must be given pairs, groups of two: one is of {size}; a selection such as "
            "AnswerPairs() makes them"
        )
    row_P2 = torch.argsort(inverse_N, stable=True).reshape(len(numbers), 2)
    reward_P2 = reward_N[row_P2]
    wrong_P = (reward_P2 < 0).any(-1) | ((reward_P2.sum(-1) - 1).abs() > ROUNDING)
    if bool(wrong_P.any()):
        raise ConfigurationError(
            f"loss=Preference must be given pairs whose rewards are probabilities that sum to 1: one has "
            f"{reward_P2[wrong_P][0].tolist()}"
        )
    return row_P2, reward_P2 / reward_P2.sum(-1, keepdim=True)
