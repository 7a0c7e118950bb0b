"""Recipes whose groups are guided.

Settings of the guidance wrapper are no part of a recipe. Where a method is defined for some of them alone, its
docstring says which, and an agent on a wrapper with others is refused when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from g2rpo_env.agents.parts.advantages.groups import GroupCentered
from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate
from g2rpo_env.agents.parts.losses.revealed import ImitatedReveal, ShapedReveal
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.parts.selection.splits import LeastReveal, SplitGuided
from g2rpo_env.agents.parts.strategies.guided import GuidedRollout
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.token_weights.means import FixedLength, SequenceMean, TokenMean
from g2rpo_env.agents.parts.token_weights.revealed import TopEntropy
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.controllers.backtracking import Backtracking
from g2rpo_env.controllers.on_failure import ShortestPrefix
from g2rpo_env.controllers.per_problem import ItemResponse
from g2rpo_env.controllers.rules import AdaptiveGuidance, FixedGuidance, Withheld
from g2rpo_env.controllers.schedules import CosineBinomial, StartStates, UniformWindow
from g2rpo_env.reveal.assignment import Levels
from g2rpo_env.reveal.placement import InPrompt

POPE_PLACE = InPrompt(template="Partial solution: {hint}\nBuild on it and go on from where it ends.\n")
"""Guidance for ``pope``, the ``place`` of the guidance wrapper: the prefix with the instruction to build on it."""

# -- one length for all, always -------------------------------------------------------------------------------------


def guided_grpo() -> Recipe:
    """guided-grpo: GRPO on guided groups with a reveal length that stays.

    The baseline that adaptive lengths are measured by. Loss mode: sampled tokens only.

    Formula: that of GRPO, over the sampled tokens of guided and plain members, normalised together.

    Source: common practice, as a baseline of G²RPO-A (arXiv 2508.13023).

    Confidence: derived here; the recipe g2rpo-a-masked with a controller that does nothing.

    Needs: a guidance wrapper.

    Deviations: none.
    """
    return Recipe(controller=FixedGuidance(length=45.0))


def g2rpo_a() -> Recipe:
    """g2rpo-a: a share of each group starts from revealed tokens, whose number follows the success.

    One normalisation over the mixed group. Loss mode: **revealed tokens included**, as in the official code.

    Formula: that of GRPO, over sampled and revealed tokens; length <- length * past success / present success.

    Source: Guo et al. (arXiv 2508.13023); T-Lab-CUHKSZ/G2RPO-A 0d98af8, g2rpoa_trainer.py.

    Confidence: official code; the paper's body could not be read, its rule is that of a press article.

    Needs: a guidance wrapper with the guidance in the answer; elsewhere nothing revealed is in the loss.

    Deviations:

    1. The controller is the bounded rule; ``AdaptiveGuidance(max_factor=None)`` is the paper's.
    2. It sees the success of every update, the official code that of every third.
    3. No KL term (the official code inherits TRL 0.15.2's beta of 0.04).
    4. Positions are those the tokens were sampled at; the official code pads short traces in the middle.
    5. The reveal does not count towards the budget and never shows the final answer.
    """
    return Recipe(controller=AdaptiveGuidance(length=45.0, max_length=120.0), token_weight=SequenceMean(revealed=True))


def g2rpo_a_masked() -> Recipe:
    """g2rpo-a-masked: G²RPO-A with the revealed tokens masked out of the loss.

    Only sampled tokens are trained.

    Formula: that of GRPO, over sampled tokens; length <- length * past success / present success.

    Source: the independent reproduction Jungle728/G2RPO-A a8ab5b1, lines 940-946 of its trainer.

    Confidence: third-party text; the method itself as in g2rpo-a.

    Needs: a guidance wrapper.

    Deviations:

    1. Those of g2rpo-a.
    2. The mean is over episodes, in the reproduction over tokens.
    """
    return Recipe(controller=AdaptiveGuidance(length=45.0, max_length=120.0))


# -- help once a group has failed -----------------------------------------------------------------------------------


def guide() -> Recipe:
    """guide: groups that fail are sampled again with a hint, and what was sampled trains the prompt without it.

    The importance ratio corrects for the hint; groups that are all right or all wrong are left out. Where no group
    fails it is GRPO with the token mean and without uniform groups, bit for bit.

    Formula: hinted answers -A r / (r + gamma), r = pi(o | q) / pi_old(o | q, hint), gamma the 0.9 quantile of r; others
    as in GRPO.

    Source: Nath et al. (arXiv 2506.13923); guide_rl 2f27715, ray_trainer.py near line 1386, core_algos.py 329-353.

    Confidence: official code.

    Needs: a guidance wrapper with place="hint", whose problems have hints, or place="prompt".

    Deviations:

    1. With place="prompt" the hint is a whole solution but for its final answer; there a larger model writes a hint.
    2. Re-rolls are never left out; there they need as many failed prompts as there are processes.
    3. The quantile is over the off-policy tokens of the minibatch; there over all positions, padding included.
    4. No KL term.
    """
    return Recipe(
        strategy=Reroll((1.0,), train_plain=True, places=("prompt", "hint")),
        selection=DropUniform(),
        token_weight=TokenMean(),
        loss=CorrectedSurrogate(),
        controller=Withheld(),
    )


def ghpo() -> Recipe:
    """ghpo: groups that fail are sampled again with 25, 50 and 75 % of the solution in their prompt.

    Trained as they were sampled, so that no gradient of these reaches the bare prompt.

    Formula: that of GRPO; a group without a right answer is sampled again with the next share until it has one.

    Source: Liu et al. (arXiv 2507.10628); hkgc-1/GHPO, ghpo_trainer.py lines 831-833.

    Confidence: official code.

    Needs: a guidance wrapper with place="prompt".

    Deviations:

    1. Shares of tokens or steps, there of characters.
    2. The groups that failed stay in the update, without a gradient, and the controller sees them.
    3. No format reward; it weighs 0.5 there.
    """
    return Recipe(strategy=Reroll((0.25, 0.5, 0.75), places=("prompt",)), controller=Withheld())


def scaf_grpo() -> Recipe:
    """scaf-grpo: in a group that fails the first success of the smallest sufficient hint replaces one failed answer.

    The hint stays in the prompt of that answer: it is on-policy, and the group has a difference to learn from.

    Formula: that of GRPO on groups of G - 1 failures and one hinted success.

    Source: Zhang et al. (arXiv 2510.19807); dvlab-research/Scaf-GRPO 1085db5, ray_trainer.py lines 1467-1642.

    Confidence: official code.

    Needs: groups of two or more; a guidance wrapper with place="prompt" or place="hint".

    Deviations:

    1. One tier, the solution, in four cumulative parts; the tiers of knowledge and planning are texts that most data
       sets do not have.
    2. No warm-up: there help begins after 50 steps.
    """
    return Recipe(strategy=Reroll((0.25, 0.5, 0.75, 1.0), swap=True, places=("prompt", "hint")), controller=Withheld())


def bread() -> Recipe:
    """bread: problems that fail alone start from the shortest prefix of their solution that leads to success.

    The prefix is found by bisection, one try per visit.

    Formula: that of GRPO, over sampled tokens.

    Source: Zhang et al. (arXiv 2506.17211).

    Confidence: third-party text, of the abstract; that the prefix is found by bisection is from memory.

    Needs: a guidance wrapper with place="answer" and unit="fraction".

    Deviations:

    1. The help comes at the next visit of the problem, there at once.
    2. Prefixes are shares of the tokens, there whole episodes of the expert's trace.
    3. Whether the prefix is trained could not be read: it is not.
    """
    return Recipe(
        strategy=GuidedRollout(places=("answer",), units=("fraction",)), controller=ShortestPrefix(max_length=1.0)
    )


def pope() -> Recipe:
    """pope: problems that fail alone get the shortest sufficient prefix in their prompt, told to build on it.

    Guided and plain copies of a problem are in one batch and are compared with their own kind alone, so that what was
    learnt with the prefix can carry over to the bare prompt. Nothing that is revealed is in the loss.

    Formula: that of GRPO, for guided and plain members apart.

    Source: Qu et al. (arXiv 2601.18779).

    Confidence: memory, and the abstract [paper]; the text of the instruction and the share of guided copies could not
    be read. ``POPE_PLACE`` is ours.

    Needs: groups of four or more; a guidance wrapper with unit="fraction", a ratio that leaves plain members, such as
    0.5, and place=POPE_PLACE, or another InPrompt whose template says to build on the text.

    Deviations:

    1. The shortest prefix is found by bisection during training, there before it from rollouts of the base model.
    2. A success without the prefix ends the help; there the hard problems keep it.
    3. Guided and plain copies are members of one group number, with advantages apart; there they are two prompts.
    """
    return Recipe(
        strategy=GuidedRollout(places=("prompt",), units=("fraction",), who="some"),
        selection=SplitGuided(),
        controller=ShortestPrefix(max_length=1.0),
    )


# -- lengths per problem --------------------------------------------------------------------------------------------


def seele() -> Recipe:
    """seele: each problem gets the hint length at which its fitted response curve promises a success of one half.

    The improvement is bounded by a multiple of p (1 - p), which is largest there.

    Formula: that of GRPO, over sampled tokens; least h with E[P(h)] >= 1/2, P(h) = c + (1 - c)/(1 + exp(-a (h - b))).

    Source: Li et al. (arXiv 2509.06923).

    Confidence: third-party text, of the abstract: multi-round rollouts, three-parameter item response curve, 50 %.

    Needs: a guidance wrapper with unit="fraction".

    Deviations:

    1. The rounds are the updates in which a problem comes up, there rounds within one.
    2. A posterior over a grid instead of a fit.
    3. Whether the hint is trained could not be read: it is not.
    """
    return Recipe(
        strategy=GuidedRollout(units=("fraction",)), controller=ItemResponse(length=0.5, source="all", max_length=1.0)
    )


def adaback() -> Recipe:
    """adaback: a share of the solution per problem, found by a stochastic bisection that its successes drive.

    Curriculum by backtracking: from completing the last step to writing the whole solution.

    Formula: that of GRPO, over sampled tokens; h ~ U(low, high), a success gives (0, h), a failure (h, high).

    Source: Amani et al. (arXiv 2506.18110).

    Confidence: third-party text, of the abstract and of two notes; bounds, threshold and the running mean are those of
    a public code of the algorithm that names no author.

    Needs: a guidance wrapper with place="answer", unit="fraction" and ratio 1.

    Deviations:

    1. Shares of tokens, there of words.
    2. Advantages and loss are those of GRPO; which ones the paper has could not be read.
    """
    return Recipe(
        strategy=GuidedRollout(places=("answer",), units=("fraction",), who="all"),
        controller=Backtracking(max_length=1.0),
    )


# -- lengths by schedule --------------------------------------------------------------------------------------------


def r3() -> Recipe:
    """r3: reverse curriculum: start states from the end of the solution to its beginning, all of them in every update.

    An outcome reward from a start near the end tells which step fails.

    Formula: that of GRPO, over sampled tokens; the revealed share is one of 0, 0.2, 0.4, 0.6, 0.8, each as likely.

    Source: Xi et al. (arXiv 2402.05808); WooooDyy/LLM-Reverse-Curriculum-RL 55df1bf, its mixed data.

    Confidence: official code, of the mixed data alone; the abstract [paper] for the rest.

    Needs: a guidance wrapper with place="answer", unit="fraction" or "steps", ratio 1 and the whole as its length (1
    with unit="fraction").

    Deviations:

    1. PPO with a critic there [memory]; here the members of a group share a start state and are compared.
    2. No partial reward for wrong answers that hold a number, no KL term, as there [memory].
    3. Start states are drawn anew in every update, there they are a data set.
    """
    return Recipe(
        strategy=GuidedRollout(places=("answer",), units=("fraction", "steps"), who="all", scaled=True),
        controller=StartStates(length=1.0),
    )


def uft() -> Recipe:
    """uft: hints whose length falls along a schedule, and a small likelihood term on the hint itself.

    Reinforcement and supervised training in one loss.

    Formula: that of GRPO over sampled tokens, and 0.001 times -log pi over revealed ones; k/5 of the solution, k ~
    Binomial(5, p_t), p_t = 0.05 + 0.45 (1 + cos(pi t / 300)), none after update 300.

    Source: Liu et al. (arXiv 2505.16984); liumy2010/UFT, rl_dataset.py lines 143-161, dp_actor.py line 284.

    Confidence: official code.

    Needs: a guidance wrapper with place="answer", unit="fraction", ratio 1 and length=1.0.

    Deviations:

    1. Both kinds of tokens are in one mean over the tokens of an episode.
    2. No KL term; 0.001 there.
    """
    return Recipe(
        strategy=GuidedRollout(places=("answer",), units=("fraction",), who="all", scaled=True),
        token_weight=SequenceMean(revealed=True),
        loss=ImitatedReveal(coefficient=0.001),
        controller=CosineBinomial(length=1.0, per="problem"),
    )


def prefix_rft() -> Recipe:
    """prefix-rft: one member of each group goes on from a long prefix, whose most uncertain tokens are trained too.

    The window that the length of the prefix is drawn from opens downwards along a cosine.

    Formula: advantages R - mean, every sum of tokens divided by the budget, over sampled tokens and the fifth of the
    prefix with the highest entropy; length ~ U(low_t, 0.95), low_t from 0.95 to 0.05.

    Source: Huang et al. (arXiv 2507.01679).

    Confidence: third-party text, of a note; the upper end of the window is from memory.

    Needs: groups of two or more; a guidance wrapper with place="answer", unit="fraction", length=1.0 and a ratio that
    leaves plain members, such as one in a group.

    Deviations:

    1. Of equal entropies the earlier token counts.
    2. The entropies are those of the policy before the update.
    """
    return Recipe(
        strategy=GuidedRollout(places=("answer",), units=("fraction",), who="some", scaled=True),
        advantage=GroupCentered(),
        token_weight=FixedLength(revealed=True, which=TopEntropy(0.2)),
        controller=UniformWindow(length=1.0),
    )


# -- lengths that stay ----------------------------------------------------------------------------------------------


def luffy() -> Recipe:
    """luffy: in each group one trace that the policy did not sample, trained with a shaped likelihood.

    Unlikely tokens of the trace are learnt from, impossible and sure ones hardly.

    Formula: advantages R - mean over the mixed group; revealed tokens -A p / (p + 0.1), sampled ones clipped; every sum
    of tokens divided by the budget.

    Source: Yan et al. (arXiv 2504.14945); ElliottYan/LUFFY 01f4ae0, mix_core_alg.py near line 174.

    Confidence: official code.

    Needs: groups of two or more; a guidance wrapper with place="answer", the whole as its length (length=1.0 with
    unit="fraction") and a ratio that leaves plain members; one member in eight there.

    Deviations:

    1. The trace is the problem's solution but for its final answer, which the policy writes itself.
    2. Sampled tokens are clipped, there they are not: the same with one gradient step per rollout.
    3. No entropy bonus; 0.001 there.
    """
    return Recipe(
        strategy=GuidedRollout(places=("answer",), who="some", scaled=True),
        advantage=GroupCentered(),
        token_weight=FixedLength(revealed=True),
        loss=ShapedReveal(gamma=0.1),
        controller=FixedGuidance(length=1.0),
    )


def hint_grpo() -> Recipe:
    """hint-grpo: members with 0, 1/3 and 2/3 of the solution in their prompt; the least hint that succeeds is trained.

    Each member is compared with those that were shown as much.

    Formula: that of GRPO, over the members of the shortest reveal at which any answer is right.

    Source: Huang et al. (arXiv 2503.23905); hqhQAQ/Hint-GRPO, vllm_grpo_trainer.py lines 451, 760-769.

    Confidence: official code.

    Needs: groups of six or more; a guidance wrapper with place="prompt", unit="steps" or "fraction", who=Levels((0,
    1/3, 2/3)), ratio 1 and the whole as its length.

    Deviations:

    1. The levels share one group, there each is a group of its own of full size.
    2. No correction of the bias towards text, which is for images.
    """
    return Recipe(
        strategy=GuidedRollout(places=("prompt",), units=("steps", "fraction"), who="levels", scaled=True),
        selection=LeastReveal(),
        controller=FixedGuidance(length=1.0),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "guided-grpo": guided_grpo,
    "g2rpo-a": g2rpo_a,
    "g2rpo-a-masked": g2rpo_a_masked,
    "guide": guide,
    "ghpo": ghpo,
    "scaf-grpo": scaf_grpo,
    "bread": bread,
    "pope": pope,
    "seele": seele,
    "adaback": adaback,
    "r3": r3,
    "uft": uft,
    "prefix-rft": prefix_rft,
    "luffy": luffy,
    "hint-grpo": hint_grpo,
}

WHOLE: Mapping[str, Any] = {"length": 1.0, "unit": "fraction"}
WRAPPERS: Mapping[str, Mapping[str, Any]] = {
    "guide": {"length": 0, "place": "prompt"},
    "ghpo": {"length": 0, "place": "prompt"},
    "scaf-grpo": {"length": 0, "place": "prompt"},
    "bread": {**WHOLE, "ratio": 0.5},
    "pope": {**WHOLE, "ratio": 0.5, "place": POPE_PLACE},
    "seele": {**WHOLE, "ratio": 0.5},
    "adaback": {**WHOLE, "ratio": 1.0},
    "r3": {**WHOLE, "ratio": 1.0},
    "uft": {**WHOLE, "ratio": 1.0},
    "prefix-rft": {**WHOLE, "ratio": 0.25},
    "luffy": {**WHOLE, "ratio": 0.25},
    "hint-grpo": {**WHOLE, "ratio": 1.0, "place": "prompt", "who": Levels((0, 1 / 2))},
}
"""Recipe -> arguments of the guidance wrapper that it is made for; the others take any.

Two levels of ``hint-grpo``, so that groups of four have two members of each.
"""
