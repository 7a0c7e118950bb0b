"""Recipes whose rollouts have several stages or another context than the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from g2rpo_env.agents.parts.advantages.groups import Leaning, Ones
from g2rpo_env.agents.parts.losses.preference import Preference
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.selection.pairs import StepPairs
from g2rpo_env.agents.parts.selection.reached import Reached
from g2rpo_env.agents.parts.strategies.conditioned import Conditioned
from g2rpo_env.agents.parts.strategies.refine import Refine
from g2rpo_env.agents.parts.strategies.tree import Tree
from g2rpo_env.agents.parts.token_weights.means import ByRole, TokenMean
from g2rpo_env.agents.recipe import Recipe


def igrpo() -> Recipe:
    """iGRPO: the policy writes drafts, and GRPO trains the answers that it writes with its best draft in the prompt.

    Drafts cost tokens and get no gradient: compare at an equal number of sampled tokens, not at an equal group size.
    Evaluations show no draft, as in the paper, and no gradient reaches the bare prompt as such. A base that has never
    seen a draft gets next to no reward for refinements, and then no gradient, which looks like a fault of the strategy:
    give it a warm start under ``Refine().warm_context`` first.

    Formula: d = argmax_i R(d_i) over 4 drafts d_i of the bare prompt q; q' = template(d, q); GRPO on answers to q',
    whose ratio is conditioned on q' too.

    Source: iGRPO (arXiv 2602.09000), the method section and the appendix with its settings.

    Confidence: paper. No official code was found.

    Needs: groups of four or more, for as many drafts; a base that has seen drafts; room for a draft in the context.

    Deviations:

    1. The text around the draft and the rule for ties (a random one of the best) are ours.
    2. The draft stands before the text of the prompt.
    3. At most as many drafts as members; the reward is the environment's, without a reward for the format.
    4. The settings of the optimiser are those of all recipes.
    """
    return Recipe(strategy=Refine(drafts=4))


def mcts_dpo() -> Recipe:
    """MCTS-DPO: a tree of answers per problem, and the preference loss on pairs of steps that follow one beginning.

    A group of G gives 4 G answers, up to three quarters of which go on from a step of an earlier one. Where answers
    have no line ends their only step is the whole answer, and the pairs are pairs of answers.

    Formula: per pair -(1 - e) log sigmoid(beta D) - e log sigmoid(-beta D), D the difference of the two steps in
    sum_t (log pi_t - log pi_ref,t) over the tokens of the step, beta 0.1; better and worse by the mean reward of the
    answers through a step, e the probability under Beta posteriors that the worse one is the better one.

    Source: Xie et al. (arXiv 2405.00451); YuxiXie/MCTS-DPO fb23437, mcts.py and trainer.py.

    Confidence: official code. Of the paper the abstract was read.

    Needs: groups of two or more, and solutions in steps.

    Deviations:

    1. Values are mean rewards of answers through a node: no self-evaluation, no gold step, no gold answer is shown.
    2. Pairs at every node, not only along a path that is committed to.
    3. A leaf is continued to the end, by a whole group at once.
    4. Visits are counted once, those of the root too.
    5. The doubt of a pair comes from posteriors, there from a quotient of visits that is 1/2 for equal numbers.
    6. The worse step of a pair is the worst one; there it is a random one.
    """
    return Recipe(
        strategy=Tree(), selection=StepPairs(), advantage=Ones(), token_weight=TokenMean(), loss=Preference(beta=0.1)
    )


def gac() -> Recipe:
    """GAC with return tokens: likelihood of all answers under the level of reward that they reached.

    It learns the prompt with a level and is evaluated so; success on the bare prompt follows by transfer or not at all.
    The limit with one level and successes alone is ``raft``. A base must know the form of the context: give it a warm
    start under ``Conditioned().context``.

    Answers below the top level weigh a tenth. With all of them at weight 1 this is maximum likelihood of one's own
    answers, a random walk under Adam: on sums of two digits success fell to 0 with it, and rose with a tenth. It rose
    under both levels alike: with a tenth the condition is hardly used.

    Formula: loss = -sum_t (0.1 + 0.9 R) log pi(y_t | x, level(R), y_<t) / number of sampled tokens; answers are sampled
    and evaluated under the top level, with probability 0.1 under a random one.

    Source: Generative Actor Critic (arXiv 2512.21527); the form with the return as tokens is ours.

    Confidence: derived here. Of the paper the abstract was read; its repository
    (qayqaq/Generative-Actor-Critic 80afb39) holds a README.

    Needs: rewards in [0, 1]; a base that has seen levels.

    Deviations:

    1. Return tokens stand for the latent plans of the paper, whose losses are not public.
    2. Rows below the top level weigh a tenth.
    """
    return _gac(Reached())


def gac_critic() -> Recipe:
    """GAC with return tokens and a critic: ``gac`` whose policy learns to say which level an answer has reached, too.

    The same model is actor, p(answer | prompt, level), and critic, p(level | prompt, answer). Nothing here asks the
    critic: it is there to rank answers, or as a further task.

    Formula: that of ``gac``, less 0.1 sum log p(level(R) | x, y) over the tokens of the level, with every answer at
    weight 1 in that term.

    Source: Generative Actor Critic (arXiv 2512.21527); the form with the return as tokens is ours.

    Confidence: derived here, as ``gac``.

    Needs: rewards in [0, 1]; a base that has seen levels.

    Deviations:

    1. Return tokens stand for the latent plans of the paper, whose losses are not public.
    2. Rows below the top level weigh a tenth; the critic's do not.
    3. The critic learns from answers and levels as text, without a head of its own.
    """
    return _gac(Reached(critic=True))


def _gac(selection: Reached) -> Recipe:
    return Recipe(
        strategy=Conditioned(),
        selection=selection,
        advantage=Leaning(least=0.1),
        token_weight=ByRole(answer=1.0, level=0.1),
        loss=LogLikelihood(),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "igrpo": igrpo,
    "mcts-dpo": mcts_dpo,
    "gac": gac,
    "gac-critic": gac_critic,
}
