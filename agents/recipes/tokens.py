"""Recipes that give the tokens of an answer different shares of its advantage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import Clamped, GroupNormalized
from g2rpo_env.agents.parts.credits.hidden import HiddenReward, NegativeHiddenReward
from g2rpo_env.agents.parts.credits.probability import ByProbability, Regulated
from g2rpo_env.agents.parts.losses.traces import TracedSurrogate
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.recipe import Recipe


def tr_grpo() -> Recipe:
    """TR-GRPO: likely tokens get up to 1.4 times the advantage, by a sigmoid of their probability.

    The gradient of log pi is larger the less likely a token is, so rare tokens carry most of an update; the weight
    leans against that. It is 1 up to a probability of 0.12 and 1.4 from 0.33 on.

    Formula: A_t = clip(2 (sigmoid(9 pi_t) - 0.25), 1, 1.4) A, pi that of the policy before the update; loss as in GRPO.

    Source: arXiv 2511.00066, as a third-party configuration and the public reviews give it.

    Confidence: third-party text. The printed form of the weight, sigmoid(pi / 9), is 1 for every token.

    Needs: groups of two or more.

    Deviations:

    1. The sigmoid is of 9 pi.
    2. The weight is outside the clip: inside, every token whose weight is above 1.2 has no gradient where A > 0, and
       the update is one of wrong answers alone.
    3. A KL term would not be weighted.
    """
    return Recipe(credit=Regulated())


def ar_grpo() -> Recipe:
    """AR-GRPO: a fifth of the advantage of a token goes by its probability.

    Formula: A_t = (0.2 pi_t + 0.8) A, pi that of the policy before the update; loss as in GRPO.

    Source: arXiv 2505.12929, the method called advantage reweighting; zhyang2226/AR-Lopti cbeb333, ray_evaluator.py,
    read there.

    Confidence: official code.

    Needs: groups of two or more.

    Deviations:

    1. The second method of the paper, which trains unlikely tokens in steps of their own, is left out.
    """
    return Recipe(credit=ByProbability(0.2))


def thr() -> Recipe:
    """THR: tokens that hardly move the likelihood of the right answers are masked, the others tilted towards them.

    A token counts by the inner product of its gradient, for the output matrix, with that of the right answers of its
    group. Those that raise the right answers get 1.1 times their advantage, those that lower them 0.9 times.

    In short answers a token is mostly like itself, so few tokens of wrong answers pass the mask. Where all right
    answers were one and the same token, without an end token, its score would be tau itself and the mask would take it
    out; ``HiddenReward(threshold=None)`` has no mask.

    Formula: A_t = [abs(s_t) > tau] (1 + 0.1 sign(s_t)) A, s_t = (+1 in right, -1 in wrong answers) g_t' M h_t,
    M = sum over right answers of mean_t g_t h_t', tau = the least mean of s over a right answer; g = one-hot(y) - pi,
    h the last hidden state before y. Groups without both are dropped; loss as in GRPO.

    Source: arXiv 2510.03669 (v4), as a note on the paper gives it; no code was released.

    Confidence: third-party text.

    Needs: groups of two or more; a model whose logits are its last hidden states times the weight of its head.

    Deviations:

    1. The denominator stays that of all tokens; the paper's is not known.
    2. Scores are computed once per update.
    """
    return Recipe(selection=DropUniform(), credit=HiddenReward(0.1))


def nthr() -> Recipe:
    """NTHR: wrong answers are blamed less for the tokens whose punishment would make the right ones less likely.

    The predecessor of THR: right answers keep their advantage, no token is rewarded for what it is near to.

    Formula: A_t = eta A for tokens of wrong answers with s_t > tau, else A; s_t = g_t' M h_t, M = sum over right
    answers of sum_t g_t h_t', tau = the least mean of s over a right answer, eta = 2 abs(1/2 - share of right answers);
    g and h as in THR. Loss as in GRPO.

    Source: arXiv 2505.18830, as notes on it and on its successor give it.

    Confidence: third-party text; that s has no sign in wrong answers is derived from what the abstract says it is for.

    Needs: groups of two or more; a model whose logits are its last hidden states times the weight of its head.

    Deviations:

    1. Scores are computed once per update.
    """
    return Recipe(credit=NegativeHiddenReward())


def grpo_lambda() -> Recipe:
    """GRPO-lambda: a token has a share in the terms of the tokens after it, by a trace over log ratios.

    Not to be confused with lambda-GRPO, which weighs answers by their lengths. Early tokens get more of the gradient
    than late ones, as by an eligibility trace; no critic is trained.

    Formula: loss = 0.01 mean_i mean_t -min(rho_t A, clip(rho_t, 0.8, 1.2) A), rho_t = exp(c_t),
    c_t = log r_t + 0.99 c_{t-1}, A = max((R - mean) / std, -0.1).

    Source: arXiv 2510.00194, as two third-party implementations and reviews give it.

    Confidence: third-party text.

    Needs: groups of two or more.

    Deviations:

    1. The loss is multiplied by 1 - 0.99: without it the gradient of a token is up to 100 times that of GRPO, and a
       comparison of the two is one of learning rates.
    2. Traces run over loss tokens alone.
    3. The discount gamma is 1.
    """
    return Recipe(advantage=Clamped(GroupNormalized(), -0.1), loss=TracedSurrogate())


def grpo_lambda_both() -> Recipe:
    """GRPO-lambda, both ends: traces in which the first tokens of an answer fade no more than the last ones.

    Formula: as in GRPO-lambda, with c_t = sum_l max(0.99^l, 0.99^(t-l)) log r_{t-l}.

    Source: arXiv 2510.00194, whose second form of the trace it is, as a third-party implementation gives it.

    Confidence: third-party text.

    Needs: groups of two or more.

    Deviations:

    1. The loss is multiplied by 1 - 0.99, as in GRPO-lambda; here the gradient of the first tokens grows with the
       length of the answer beyond what that takes back.
    2. Traces run over loss tokens alone.
    3. The discount gamma is 1.
    """
    return Recipe(advantage=Clamped(GroupNormalized(), -0.1), loss=TracedSurrogate(both=True))


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "tr-grpo": tr_grpo,
    "ar-grpo": ar_grpo,
    "thr": thr,
    "nthr": nthr,
    "grpo-lambda": grpo_lambda,
    "grpo-lambda-both": grpo_lambda_both,
}
"""Recipes that give the tokens of an answer different shares of its advantage."""
