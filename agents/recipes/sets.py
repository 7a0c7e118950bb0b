"""Recipes whose loss or whose selection looks at whole groups: discriminative losses, preferences, subsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, Ones
from g2rpo_env.agents.parts.losses.discriminative import Discriminative
from g2rpo_env.agents.parts.losses.lengths import LengthPreference
from g2rpo_env.agents.parts.losses.preference import Preference
from g2rpo_env.agents.parts.references.average import MovingAverage
from g2rpo_env.agents.parts.selection.pairs import AnswerPairs
from g2rpo_env.agents.parts.shaping.consistency import ConsistencyBonus
from g2rpo_env.agents.parts.shaping.progress import Progress
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipe import Recipe


def disco() -> Recipe:
    """DisCO: right answers of a group are scored above its wrong ones, the likeliest of which count most.

    The score of an answer is its mean log-probability per token. There is no advantage and no clip: a penalty on the
    KL from the policy of the rollout holds the step back. It is 0 in the first gradient step of a rollout, so that it
    needs ``minibatch`` to brake at all; the paper takes four steps.

    Formula: L = -mean_q [mean_right s - tau log mean_wrong exp(s / tau)] + penalty / 2 max(KL - delta, 0)^2, s = mean_t
    log pi_t, tau 10, penalty 1e3, delta 1e-4, KL = mean_t (log pi_old - log pi).

    Source: Li et al. (arXiv 2505.12366), DisCO with DRO and the score log-L; Optimization-AI/DisCO bd2b078,
    core_algos.py.

    Confidence: official code. The paper was read up to Proposition 1.

    Needs: groups of two or more with right and wrong answers; others give nothing.

    Deviations:

    1. The KL is that of a gradient step, there of a micro-batch.
    2. Right is a reward above 0.5; there rewards other than exactly 1 and 0 are left out.
    3. The logged value is that of the objective; there a quotient with the same gradient is logged.
    """
    return _disco(Discriminative())


def disco_b() -> Recipe:
    """DisCO-b: right answers of a group are scored above its wrong ones, which count alike.

    Formula: that of ``disco`` with the gap mean_right s - mean_wrong s, its limit for a large tau.

    Source: Li et al. (arXiv 2505.12366), DisCO-b with the score log-L; Optimization-AI/DisCO bd2b078, core_algos.py
    lines 240-413.

    Confidence: official code. The scripts that bear this name there run the form with tau.

    Needs: groups of two or more with right and wrong answers; others give nothing.

    Deviations:

    1. The KL is that of a gradient step, there of a micro-batch.
    2. Right is a reward above 0.5; there rewards other than exactly 1 and 0 are left out.
    """
    return _disco(Discriminative(hardness=None))


def disco_ratio() -> Recipe:
    """DisCO with ratios: ``disco`` with the mean ratio to the policy of the rollout as the score of an answer.

    Formula: that of ``disco`` with s = mean_t pi_t / pi_old_t and tau 1.

    Source: Li et al. (arXiv 2505.12366), DisCO with DRO and the score L-ratio; Optimization-AI/DisCO bd2b078,
    core_algos.py.

    Confidence: official code, whose form of this name cannot be run: the call and the function disagree in an argument.

    Needs: groups of two or more with right and wrong answers; others give nothing.

    Deviations:

    1. The KL is that of a gradient step, there of a micro-batch.
    2. Right is a reward above 0.5; there rewards other than exactly 1 and 0 are left out.
    3. The logged value is that of the objective; there a quotient with the same gradient is logged.
    """
    return _disco(Discriminative("ratio", hardness=1.0))


def disco_b_ratio() -> Recipe:
    """DisCO-b with ratios: ``disco-b`` with the mean ratio to the policy of the rollout as the score of an answer.

    Formula: that of ``disco-b`` with s = mean_t pi_t / pi_old_t.

    Source: Li et al. (arXiv 2505.12366), DisCO-b with the score L-ratio; Optimization-AI/DisCO bd2b078, core_algos.py
    lines 240-325.

    Confidence: official code.

    Needs: groups of two or more with right and wrong answers; others give nothing.

    Deviations:

    1. The KL is that of a gradient step, there of a micro-batch.
    2. Right is a reward above 0.5; there rewards other than exactly 1 and 0 are left out.
    """
    return _disco(Discriminative("ratio", hardness=None))


def _disco(loss: Discriminative) -> Recipe:
    return Recipe(advantage=Ones(), token_weight=TokenMean(), loss=loss)


def dpo() -> Recipe:
    """DPO: pairs of a right and a wrong answer of the policy's own, and the preference loss against its start.

    Formula: L = -mean log sigmoid(beta (s_right - s_wrong)), s = sum_t (log pi_t - log pi_ref,t), beta 0.1; up to two
    pairs of a group, those of the nearest lengths.

    Source: Rafailov et al. (arXiv 2305.18290), equation 7; TRL's DPOTrainer, loss type sigmoid.

    Confidence: official code for the loss, whose values and gradients a test compares with TRL's; the pairs are ours.

    Needs: groups of two or more with right and wrong answers; others give nothing.

    Deviations:

    1. Online: the pairs are answers of this update, there of a data set.
    """
    return Recipe(selection=AnswerPairs(), advantage=Ones(), token_weight=TokenMean(), loss=Preference())


def care() -> Recipe:
    """GRPO-CARE: a bonus for right answers that a slow average of the policy finds likely after their reasoning.

    The average takes the place of a KL term: it gives log-probabilities, and nothing keeps the policy near it.

    Formula: R_i = r_i + 0.5 right_i [i in H and c_i >= mean_H c], c_i = min(exp(mean log pi_avg over the answer),
    0.95), H = the right answers; average <- 0.995 average + 0.005 policy after every 10 gradient steps. Then GRPO.

    Source: Chen et al. (arXiv 2506.16141); TencentARC/GRPO-CARE b0628fc, grpo_trainer_ref_ema.py and ema_trainer.py.

    Confidence: official code.

    Needs: groups of two or more, and an answer that verdicts name and that stands in the completion.

    Deviations:

    1. The place of the answer follows from the verdict, there from a tag and a count of tokens.
    2. Without a place there is no bonus; there such an answer gets the greatest likelihood.
    3. The means are of a group, there of all that is on a device.
    4. Selections see the bonus.
    5. The loss is GRPO's clipped one; there it has no ratio to clip, which is the same with one step per rollout.
    """
    return Recipe(shaping=ConsistencyBonus(), reference=MovingAverage())


def sgpo() -> Recipe:
    """SGPO: where no answer of a group is right, those that got further before their first wrong step earn more.

    Formula: R_i = 0.5 / (1 + exp(-10 (s_i - 0.5))) in groups without a right answer, s_i = the share of the answer that
    is whole ground-truth steps; A_i = R_i - mean R.

    Source: Stepwise Guided Policy Optimization (arXiv 2505.11595, TMLR 2026); reviews and third-party code.

    Confidence: third-party text; no official code was found.

    Needs: groups of two or more, and solutions in steps that answers repeat to the letter; for others a judge of yours
    in ``Progress``.

    Deviations:

    1. Groups without a right answer alone.
    2. The numbers 10, 0.5 and 0.5 are ours: the paper's were not readable.
    3. No division by the deviation, which would make any spread of a judge's numbers full-scale.
    4. A rule instead of a judge model.
    """
    return Recipe(shaping=Progress(), advantage=GroupCentered())


def lambda_grpo() -> Recipe:
    """lambda-GRPO: how much the tokens of long answers count is an exponent that is trained with the policy.

    Formula: L = sum_i f_i sum_t surrogate_it / sum_i n_i, f = G softmax(h^lambda) in each group, h = 1 + z / 9, z the
    length of an answer in deviations from the mean of its group; lambda starts at 0, where f is 1, and stays in
    [-3, 3].

    Source: Learnable Token Preferences (arXiv 2510.06870); reviews and third-party code.

    Confidence: third-party text. Not to be taken for arXiv 2509.21154, which has the same name, nor for GRPO-lambda.

    Needs: groups of two or more, of at most 81, with answers of unlike lengths; else it is a token mean.

    Deviations:

    1. One token mean over the gradient step.
    2. The exponent has a bound.
    3. Its own SGD at the rate 0.1, from third-party code; neither weight decay nor gradient clipping touches it.
    """
    return Recipe(token_weight=TokenMean(), loss=LengthPreference())


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "disco": disco,
    "disco-b": disco_b,
    "disco-ratio": disco_ratio,
    "disco-b-ratio": disco_b_ratio,
    "dpo": dpo,
    "care": care,
    "sgpo": sgpo,
    "lambda-grpo": lambda_grpo,
}
