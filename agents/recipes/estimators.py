"""Recipes that differ from GRPO in how rewards become advantages, or in which answers are learnt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import GroupCentered, LeaveOneOut, MeanNormalized, Ones, Raw
from g2rpo_env.agents.parts.advantages.updates import LengthBaseline, ValidScaled, Whitened
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.parts.selection.downsample import DownSample
from g2rpo_env.agents.parts.selection.filters import DropUniform, KeepCorrect
from g2rpo_env.agents.parts.shaping.rewards import Signed, SoftOverlong
from g2rpo_env.agents.parts.strategies.resampled import Resampled
from g2rpo_env.agents.parts.token_weights.means import FixedLength, SequenceSum, TokenMean
from g2rpo_env.agents.recipe import Recipe


def dr_grpo() -> Recipe:
    """Dr. GRPO: no division by the deviation of the rewards, and none by the length of an answer.

    Both divisions bias GRPO: the first towards problems that are nearly always or nearly never solved, the second
    towards short right answers and long wrong ones.

    Formula: A_i = R_i - mean(R); loss = sum_i sum_t of the clipped surrogate / (N L), N episodes, L the budget.

    Source: Liu et al. (arXiv 2503.20783); TRL's ``loss_type="dr_grpo"`` with ``scale_rewards="none"``.

    Confidence: official code. TRL's form of it was read.

    Needs: groups of two or more.

    Deviations:

    1. L is the task's budget of sampled tokens, where TRL takes ``max_completion_length``.
    """
    return Recipe(advantage=GroupCentered(), token_weight=FixedLength())


def rloo() -> Recipe:
    """RLOO: REINFORCE whose baseline is the mean reward of the other members.

    An answer is one action: its log-probability is the sum over its tokens, and long answers weigh more. The gradient
    is that of ``reinforce`` times G / (G - 1) and the mean length of an answer.

    Formula: A_i = R_i - mean_{j != i} R_j; loss = -mean_i sum_t A_i log pi_t.

    Source: Ahmadian et al. (arXiv 2402.14740), section 3; TRL's RLOOTrainer and verl.

    Confidence: official code.

    Needs: groups of two or more.

    Deviations:

    1. No KL term in the reward (TRL: beta 0.05); ``shaping=KLPenalty(0.05)`` adds it.
    2. No ratio of whole answers and no clipping: with one gradient step per rollout their gradient is this one.
    """
    return Recipe(advantage=LeaveOneOut(), token_weight=SequenceSum(), loss=LogLikelihood())


def opo() -> Recipe:
    """OPO: REINFORCE on its own samples alone, whose baseline weighs each reward by the length of its answer.

    Where all answers of a group are equally long it is ``reinforce``.

    Formula: A_i = R_i - sum_j n_j R_j / sum_j n_j, n sampled tokens; loss = -mean over tokens of A_i log pi_t.

    Source: Hao et al. (arXiv 2505.23585); verl's ``opo`` estimator.

    Confidence: official code. verl's form of it was read.

    Needs: groups of two or more.

    Deviations: none.
    """
    return Recipe(advantage=LengthBaseline(), token_weight=TokenMean(), loss=LogLikelihood())


def max_rl() -> Recipe:
    """MaxRL: the advantage is divided by the success of the group, so that problems that are rarely solved weigh most.

    For a success probability p and rewards of 0 and 1, the expected gradient is that of the sum over k = 1, ..., G - 1
    of pass@k / k: REINFORCE for groups of two, maximum likelihood (log p) for very large ones.

    Formula: A_i = (R_i - mean(R)) / mean(R), 0 where no member is right; clipped surrogate, mean over tokens.

    Source: arXiv 2602.02710; prime-rl and SkyRL.

    Confidence: official code. The order of the expected gradient was enumerated here for groups of 2, 3 and 4.

    Needs: groups of two or more, rewards of at least 0. What is said of pass@k holds for rewards of 0 and 1.

    Deviations:

    1. The order is G - 1, because a group without a success gives 0; prime-rl's pages say G, which the form without a
       baseline has.
    2. A group of one gives 0; whether it should keep its raw reward is under discussion in prime-rl.
    """
    return Recipe(advantage=MeanNormalized(), token_weight=TokenMean())


def reinforce_plus_plus() -> Recipe:
    """REINFORCE++: no baseline per problem; rewards are whitened over all tokens of the update, then clipped as in PPO.

    Formula: A_i = (R_i - m) / sqrt(v + 1e-8), m and v over all sampled tokens of the update (divisor of v: tokens - 1);
    clipped surrogate, mean over tokens.

    Source: Hu et al. (arXiv 2501.03262); verl's ``reinforce_plus_plus`` estimator.

    Confidence: official code.

    Needs: nothing. Groups of one will do.

    Deviations:

    1. No discount: every token has the reward of the end.
    2. No KL term in the return; ``shaping=KLPenalty()`` has its sum over the answer.
    """
    return Recipe(advantage=Whitened("batch"), token_weight=TokenMean())


def reinforce_plus_plus_baseline() -> Recipe:
    """REINFORCE++-baseline: rewards less the mean of their group, whitened over all tokens of the update.

    Unlike GRPO, one deviation holds for all groups, so that a group with a single right answer is not blown up.

    Formula: x_i = R_i - mean(R); A_i = (x_i - m) / sqrt(v + 1e-8), m and v over all sampled tokens of the update;
    clipped surrogate, mean over tokens.

    Source: Hu et al. (arXiv 2501.03262); verl's ``reinforce_plus_plus_baseline`` estimator.

    Confidence: official code for the estimator; that the paper adds a KL term is from memory.

    Needs: groups of two or more.

    Deviations:

    1. No KL term of the kind k2; a reference part adds one.
    """
    return Recipe(advantage=Whitened("group"), token_weight=TokenMean())


def gpg() -> Recipe:
    """GPG: plain policy gradient, scaled up where groups have nothing to tell, on updates drawn until enough have.

    No ratio, no clipping, no reference, no deviation of rewards. Where every group has signal it is ``reinforce``.

    Formula: A_i = P / (P - M) (R_i - mean(R)), P groups, M of them with equal rewards; loss = -mean over tokens of
    A_i log pi_t; draws are repeated until P - M >= 0.6 P.

    Source: Chu et al. (arXiv 2504.02546), equations 5 to 8; AMAP-ML/GPG e096da8, open-r1/src/open_r1/gpg_trainer.py.

    Confidence: official code.

    Needs: groups of two or more.

    Deviations:

    1. Mixed groups beyond the first P are left out in the order in which they were drawn, not process by process.
    2. The three official variants differ in their mean; this is open-r1's, over tokens.
    3. At most 8 draws, there 20. A group is mixed by its verdicts, M counts by rewards.
    """
    return Recipe(
        strategy=Resampled(share=0.6),
        advantage=ValidScaled(GroupCentered()),
        token_weight=TokenMean(),
        loss=LogLikelihood(),
    )


def raft_plus_plus() -> Recipe:
    """RAFT++: the clipped surrogate of the correct samples alone.

    With one gradient step per rollout the gradient is that of ``raft``; with several, clipping stops a token whose
    probability has risen by a fifth.

    Formula: A_i = 1 for right answers, the others leave; clipped surrogate, mean over tokens.

    Source: Xiong et al. (arXiv 2504.11343); RLHFlow/Minimal-RL e3b49f0.

    Confidence: official code.

    Needs: nothing. Groups of one will do.

    Deviations:

    1. Tokens of wrong answers leave the denominator of the loss; in the official code they stay.
    """
    return Recipe(selection=KeepCorrect(), advantage=Ones(), token_weight=TokenMean())


def reinforce_rej() -> Recipe:
    """Reinforce-Rej: rewards of 1 and -1 as they are, of groups that have both.

    What GRPO gains over REINFORCE is mostly that groups without a right answer give nothing, says its ablation.

    Formula: A_i = 2 R_i - 1 in groups with different rewards, the other groups leave; clipped surrogate, mean over
    tokens.

    Source: Xiong et al. (arXiv 2504.11343); RLHFlow/Minimal-RL e3b49f0, core_algos.py lines 130-171.

    Confidence: official code for the filter; rewards of both signs as in the paper (third-party notes on it).

    Needs: groups of two or more; rewards of 0 and 1.

    Deviations:

    1. Rewards are -1 and 1 as in the paper. The released code has 0 and 1, with which wrong answers give nothing and it
       is RAFT++ without the groups in which all are right.
    """
    return Recipe(shaping=Signed(), selection=DropUniform(), advantage=Raw(), token_weight=TokenMean())


def pods() -> Recipe:
    """PODS: a quarter of each group is trained, the members whose rewards differ most from each other.

    For cheap sampling: with groups four times as large, an update costs the training of one and sees the rare outcomes
    of many.

    Formula: the m = G / 4 members with the greatest variance of rewards, at least two; then GRPO on them alone.

    Source: Xu et al. (arXiv 2504.13818); YixuanEvenXu/pods 187f43b.

    Confidence: official code.

    Needs: groups of two or more; of eight or more to be itself.

    Deviations:

    1. Equal rewards are ordered by a random stream of the group, not by the order of sorting.
    2. At least two members are kept: a quarter of a group of four is one, which has nothing to be compared with.
    """
    return Recipe(selection=DownSample())


def dapo() -> Recipe:
    """DAPO: draws until every group has right and wrong answers, clips higher than it clips lower, minds the length.

    Groups are filtered by their verdicts, before answers that nearly spend their budget lose reward for it: filtered by
    the reward, a group would differ by its lengths alone.

    Formula: r + p(n), p = 0 up to 0.8 L sampled tokens and from there a line down to -1 at the budget L;
    A_i = (R_i - mean(R)) / (std(R) + 1e-4); surrogate clipped to [0.8, 1.28], mean over tokens.

    Source: Yu et al. (arXiv 2503.14476); verl's DAPO recipe.

    Confidence: official code; rewards of 1 and -1 there are from memory.

    Needs: groups of two or more.

    Deviations:

    1. Whole updates are drawn again, at most 8 times; mixed groups that are too many are left out, and an update may
       have fewer groups.
    2. Groups are filtered by ``correct``, whatever the environment's reward is.
    3. Answers that were cut off stay in the loss; ``token_weight=TokenMean(truncated=False)`` takes them out.
    4. The reward is the environment's. Where it is 0 or 1, the punishment weighs twice as much as beside rewards of -1
       and 1; ``shaping=SoftOverlong(penalty=0.5)`` makes up for it.
    """
    return Recipe(
        strategy=Resampled(share=1.0, fill=False),
        shaping=SoftOverlong(),
        token_weight=TokenMean(),
        loss=ClippedSurrogate(clip_low=0.2, clip_high=0.28),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "dr-grpo": dr_grpo,
    "rloo": rloo,
    "opo": opo,
    "max-rl": max_rl,
    "reinforce++": reinforce_plus_plus,
    "reinforce++-baseline": reinforce_plus_plus_baseline,
    "gpg": gpg,
    "raft++": raft_plus_plus,
    "reinforce-rej": reinforce_rej,
    "pods": pods,
    "dapo": dapo,
}
