"""Recipes that differ from GRPO in what they make of the ratio of new to old probabilities.

With one gradient step per rollout that ratio is 1, and all of them have the gradient of -A log pi under their token
weight: to tell them apart, an optimiser takes several steps, ``Optimizer(minibatch=16)`` or ``Optimizer(epochs=2)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.credits.entropy import TopEntropyTokens
from g2rpo_env.agents.parts.losses.sequence import GeometricMean, SequenceSurrogate
from g2rpo_env.agents.parts.losses.soft import CappedWeights, DivergenceMask, GammaWeights, SoftGate
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.token_weights.means import SequenceSum, TokenMean
from g2rpo_env.agents.recipe import Recipe


def bnpo() -> Recipe:
    """BNPO: GRPO whose loss is a mean over all tokens, so that long answers weigh more than short ones.

    This is the token mean of DAPO without the rest of DAPO.

    Formula: loss = sum_i sum_t -min(r A, clip(r, 0.8, 1.2) A) / sum_i n_i, A = (R - mean) / std of the group.

    Source: TRL 1.16, grpo_trainer.py, loss_type "bnpo", read there; the token mean is DAPO's (arXiv 2503.14476).

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations:

    1. The mean is over the tokens of a gradient step; there it is over those of a micro-batch, so that results depend
       on its size.
    """
    return Recipe(token_weight=TokenMean())


def cispo() -> Recipe:
    """CISPO: likelihood weighted by the ratio up to a cap, so that no token loses its gradient.

    Rare tokens whose ratio moves fast are those that a clip drops first; here they keep a bounded share.

    Formula: loss = -sum sg(min(r, 5)) A log pi / sum_i n_i, sg without gradient.

    Source: MiniMax-M1 (arXiv 2506.13585); ScaleRL (arXiv 2510.13786) for the cap of 5; TRL 1.16, grpo_trainer.py,
    loss_type "cispo", read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations:

    1. The cap is absolute, as in TRL; verl and SkyRL clip to [1 - e, 1 + e], which is ``CappedWeights(1 + e, 1 - e)``.
    """
    return Recipe(loss=CappedWeights(high=5.0), token_weight=TokenMean())


def sapo() -> Recipe:
    """SAPO: a smooth gate on the ratio in the place of the clip.

    Values of this loss are near -2 A where those of GRPO are near -A; the slopes at ratio 1 are the same.

    Formula: loss = mean_i mean_t -(4 / tau) sigmoid(tau (r - 1)) A, tau = 1.0 where A > 0, else 1.05.

    Source: arXiv 2511.20347; TRL 1.16, grpo_trainer.py, loss_type "sapo", read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(loss=SoftGate())


def gspo() -> Recipe:
    """GSPO: GRPO with one ratio per answer, the geometric mean of those of its tokens.

    An answer is clipped as a whole. Its ratio stays near 1, so the clip is narrow.

    Formula: loss = mean_i -min(s A, clip(s, 1 - 3e-4, 1 + 4e-4) A), s = exp(mean_t (log pi_t - log pi_old_t)).

    Source: arXiv 2507.18071, section 4; TRL 1.16 (importance_sampling_level "sequence") and verl (core_algos.py,
    "gspo"), read there; the bounds are those of verl's examples.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(loss=SequenceSurrogate())


def luspo() -> Recipe:
    """LUSPO: GSPO whose answers count by their length, so that it does not favour short ones.

    Formula: loss = mean_i sum_t -min(s A, clip(s, 1 - 3e-4, 1 + 4e-4) A), s as in GSPO.

    Source: TRL 1.16, grpo_trainer.py, loss_type "luspo" with importance_sampling_level "sequence", read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(loss=SequenceSurrogate(), token_weight=SequenceSum())


def vespo() -> Recipe:
    """VESPO: likelihood weighted by a smooth function of the ratio of the whole answer, which fades on both sides.

    The ratio is the product over the tokens, so it moves further from 1 the longer an answer is.

    Formula: loss = -sum sg(phi(w_i)) A log pi / sum_i n_i, phi(w) = exp(lambda) w^k exp(-lambda w); k 2, lambda 3 where
    A >= 0, k 3, lambda 2 where A < 0; w_i = prod_t r_t.

    Source: TRL 1.16, grpo_trainer.py, loss_type "vespo", read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations:

    1. Old log-probabilities are those of the sampler, so that w holds what sampler and trainer differ by; there that is
       a factor of its own.
    """
    return Recipe(loss=GammaWeights(), token_weight=TokenMean())


def gmpo() -> Recipe:
    """GMPO: the geometric mean of the clipped ratios of an answer in the place of the mean of its clipped terms.

    One token with an extreme ratio moves a geometric mean less than an arithmetic one, so the clip can be wider.

    Formula: loss = mean_i -exp(mean_t l_t) A, l_t = min(log r, clip(log r, -0.4, 0.4)) where A > 0, max of both else.

    Source: arXiv 2507.20673; TRL 1.16, experimental/gmpo, read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(loss=GeometricMean())


def two_sided() -> Recipe:
    """Two-sided clipping: GRPO whose ratio is bounded from above for negative advantages too.

    The clip of PPO bounds no ratio from above where A < 0, so one token that has become likely can carry the update.
    Dual clip is the same function of ratio and advantage; verl has it on by default, with this bound.

    Formula: loss = mean_i mean_t -min(min(r, 3) A, clip(r, 0.8, 1.2) A).

    Source: INTELLECT-2 (arXiv 2505.07291); dual clip, arXiv 1912.09729; TRL 1.16 (``delta``) and verl (core_algos.py,
    ``clip_ratio_c``), read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(loss=ClippedSurrogate(0.2, 0.2, cap=3.0))


def dppo() -> Recipe:
    """DPPO: tokens are masked by how far their probability has moved, not by its ratio.

    A clip of the ratio stops a token on its way from 0.001 to 0.01; here it goes on until its probability has moved by
    0.2.

    Formula: loss = -sum sg(r) A log pi / sum_i n_i, 0 for tokens with A > 0, p > q, abs(p - q) > 0.2 or A < 0, p < q,
    abs(p - q) > 0.2; p = pi, q the sampler's probability.

    Source: arXiv 2602.04879; prime-rl (its default loss), verl (core_algos.py, "dppo_tv") and SkyRL, read there.

    Confidence: official code.

    Needs: groups of two or more.

    Deviations:

    1. The mask is against the sampler's probabilities.
    2. prime-rl adds 1e-3 (log r)^2 on all tokens, which is left out.
    """
    return Recipe(loss=DivergenceMask(), token_weight=TokenMean())


def entropy_tokens() -> Recipe:
    """Entropy tokens: BNPO whose gradient comes from the fifth of the tokens with the highest entropy.

    The other tokens stay in the denominator, so steps are shorter.

    Formula: A_t = A where H_t >= the 0.8 quantile of H over the sampled tokens of the update, else 0; loss as in BNPO.

    Source: arXiv 2506.01939; TRL 1.16, grpo_trainer.py (``top_entropy_quantile``), read there.

    Confidence: official code. Losses and gradients are compared with TRL's by a test.

    Needs: groups of two or more.

    Limits: a decision is learnt only where its entropy is among the highest. A bandit whose answer is followed by
    tokens at random, of higher entropy than the answer, is not learnt; one whose answer is followed by a sure end is.

    Deviations:

    1. Entropies are those of the policy before the update, and the quantile is over all its episodes; there both are
       those of a micro-batch as it is trained.
    """
    return Recipe(token_weight=TokenMean(), credit=TopEntropyTokens(0.2))


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "bnpo": bnpo,
    "cispo": cispo,
    "sapo": sapo,
    "gspo": gspo,
    "luspo": luspo,
    "vespo": vespo,
    "gmpo": gmpo,
    "two-sided": two_sided,
    "dppo": dppo,
    "entropy-tokens": entropy_tokens,
}
"""Recipes that differ from GRPO in what they make of the ratio of new to old probabilities."""
