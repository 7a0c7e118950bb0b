"""Recipes without guidance, and those that only use what was revealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, Ones
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.selection.filters import KeepCorrect
from g2rpo_env.agents.parts.strategies.rollout import RevealOnly
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipe import Recipe


def grpo() -> Recipe:
    """grpo: rewards normalised within the group of a problem, clipped surrogate, mean over episodes.

    Formula: A_i = (R_i - mean R) / (std R + 1e-4); loss = -mean_i mean_t min(r A_i, clip(r, 0.8, 1.2) A_i), r = pi /
    pi_old of token t.

    Source: Shao et al. (arXiv 2402.03300), equations 3 and 21; TRL's GRPOTrainer with loss_type="grpo".

    Confidence: official code, of TRL; the paper.

    Needs: groups of two or more.

    Deviations:

    1. No KL term; 0.04 in the paper: ``KLToStart``.
    2. One gradient step per rollout by default, so that r = 1.
    """
    return Recipe()


def sft() -> Recipe:
    """sft: supervised training on the revealed tokens alone, the baseline that shows how much of a gain is imitation.

    With the seed and the reveal lengths of a guided run (``Replay``) it sees the very tokens that were revealed there.

    Formula: loss = -mean over revealed tokens of log pi.

    Source: common practice.

    Confidence: derived here.

    Needs: a guidance wrapper with the guidance in the answer.

    Limits: nothing is sampled, so no reward is seen: a problem whose solution has nothing to reveal teaches nothing.

    Deviations: none.
    """
    return Recipe(
        strategy=RevealOnly(),
        advantage=Ones(),
        token_weight=TokenMean(sampled=False, revealed=True),
        loss=LogLikelihood(),
    )


def raft() -> Recipe:
    """raft: maximum likelihood of the correct samples; wrong ones are dropped.

    Formula: loss = -mean over the tokens of correct answers of log pi.

    Source: Xiong et al. (arXiv 2504.11343); RLHFlow/Minimal-RL e3b49f0.

    Confidence: official code.

    Needs: nothing.

    Deviations:

    1. Wrong answers leave the denominator.
    2. One gradient step per rollout and no ratio.
    """
    return Recipe(selection=KeepCorrect(), advantage=Ones(), token_weight=TokenMean(), loss=LogLikelihood())


def reinforce() -> Recipe:
    """reinforce: REINFORCE with the mean reward of the group as its baseline, every token weighs the same.

    No clipping, no division by the standard deviation. Up to a factor G / (G - 1) on the advantage, which the learning
    rate takes up, this is the leave-one-out estimator RLOO (arXiv 2402.14740).

    Formula: A_i = R_i - mean R; loss = -mean over all tokens of A_i log pi.

    Source: Williams (1992), with the mean of the group as its baseline.

    Confidence: derived here.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(advantage=GroupCentered(), token_weight=TokenMean(), loss=LogLikelihood())


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "grpo": grpo,
    "sft": sft,
    "raft": raft,
    "reinforce": reinforce,
}
