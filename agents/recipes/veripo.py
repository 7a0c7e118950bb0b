"""VerIPO: stages of GRPO and of preference learning on what GRPO sampled. An agent of its own, since it has stages."""

from __future__ import annotations

import dataclasses
from typing import Any

from g2rpo_env.agents.parts.advantages.groups import Ones
from g2rpo_env.agents.parts.judges import AnswerJudge, StatedResult
from g2rpo_env.agents.parts.losses.preference import Preference
from g2rpo_env.agents.parts.selection.pairs import JudgedPairs
from g2rpo_env.agents.parts.strategies.stored import Stored
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.staged import Stage, Staged
from g2rpo_env.errors import ConfigurationError


def make_stages(
    grpo: int = 100,
    dpo: int = 20,
    rounds: int = 2,
    *,
    fresh: int = 16,
    size: int = 8,
    drop: float = 0.8,
    beta: float = 0.1,
    judge: AnswerJudge | None = None,
    recipe: Recipe | None = None,
) -> tuple[Stage, ...]:
    """Return the stages of VerIPO, see :func:`veripo`: ``rounds`` times GRPO and DPO, and GRPO at the end.

    Raises:
        ConfigurationError: an argument breaks its rule.

    >>> [(type(stage.recipe.loss).__name__, stage.updates) for stage in make_stages(30, 5, rounds=1)]
    [('ClippedSurrogate', 30), ('Preference', 5), ('ClippedSurrogate', 30)]
    """
    for name, value, least in (("grpo", grpo, 1), ("dpo", dpo, 1), ("rounds", rounds, 0), ("fresh", fresh, 1)):
        if not isinstance(value, int) or value < least:
            raise ConfigurationError(f"{name}={value!r} must be a whole number of at least {least}")
    if recipe is not None and not isinstance(recipe, Recipe):
        raise ConfigurationError(f"recipe={recipe!r:.80} must be None or a Recipe")
    sampled = Recipe() if recipe is None else recipe
    rate = sampled.optimizer.learning_rate
    preferred = Recipe(
        strategy=Stored(size=size),
        selection=JudgedPairs(judge=StatedResult() if judge is None else judge),
        advantage=Ones(),
        token_weight=TokenMean(),
        loss=Preference(beta=beta),
        optimizer=dataclasses.replace(sampled.optimizer, learning_rate=rate / 2),
    )
    turn = (Stage(sampled, grpo, keep=fresh, drop=drop), Stage(preferred, dpo))
    return (*turn * rounds, Stage(sampled, grpo))


def veripo(
    policy: Any,
    envs: Any,
    *,
    seed: int = 0,
    learning_rate: float | None = None,
    grpo: int = 100,
    dpo: int = 20,
    rounds: int = 2,
    fresh: int = 16,
    size: int = 8,
    drop: float = 0.8,
    beta: float = 0.1,
    judge: AnswerJudge | None = None,
    recipe: Recipe | None = None,
    device: Any = None,
    dtype: str | None = None,
) -> Staged:
    """VerIPO: rounds of GRPO and of DPO on pairs that a judge makes of what GRPO sampled last, and GRPO at the end.

    GRPO explores, DPO aligns the reasoning with the answer: pairs prefer answers that are right for the stated reasons.
    After each round most of the problems that are always solved are dropped. ``rounds=0`` is ``grpo``, bit for bit.

    Formula: GRPO's; L = -log sigmoid(beta [(log pi_w - log ref_w) - (log pi_l - log ref_l)]), ref the policy at the
    beginning of the DPO stage.

    Source: Li et al. (arXiv 2505.19000); HITsz-TMG/VerIPO 3b94024, its README: stages, beta 0.1, half of the learning
    rate, 80 % of the solved prompts dropped.

    Confidence: third-party text, of the README and of public reviews; no training code is public.

    Needs: groups of two or more; for the judge ``StatedResult`` solutions in steps of the form ``left=value``.

    Limits: a training that ends before the first ``grpo`` updates are done is one of GRPO. Where no answer is
    repetitive, cut off, inconsistent or goes back on a step of its own, as in a task of one step, there are no pairs,
    and a DPO stage does nothing.

    Deviations:

    1. Pair rules, thresholds and judge are ours.
    2. Text alone, there with video.
    3. One optimiser per stage.
    4. Pairs come from the last ``fresh`` updates of a GRPO stage, there from all of it.
    5. Solved problems are those whose last group was all right, there those whose mean reward was 1.

    Args:
        policy: The policy to train, in place.
        envs: Training environment.
        seed: Root seed of the environment and of all sampling.
        learning_rate: That of GRPO; None leaves that of the recipe. DPO has half of it.
        grpo: Updates of each GRPO stage, >= 1; the last one goes on for as long as it is asked to.
        dpo: Updates of each DPO stage, >= 1.
        rounds: Times that both are done before the last stage, >= 0.
        fresh: Updates at the end of a GRPO stage whose groups are kept, >= 1.
        size: Groups per update of a DPO stage, >= 1.
        drop: Share of the solved problems that is dropped after each GRPO stage, in [0, 1].
        beta: Scale of the log-ratios, > 0.
        judge: What judges answers, see :class:`~g2rpo_env.agents.parts.selection.JudgedPairs`; None: ``StatedResult``.
        recipe: What the GRPO stages do; None: ``grpo``.
        device: See :class:`~g2rpo_env.agents.grpo.GRPO`.
        dtype: See there.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """
    sampled = Recipe() if recipe is None else recipe
    if learning_rate is not None and isinstance(sampled, Recipe):
        optimizer = dataclasses.replace(sampled.optimizer, learning_rate=learning_rate)
        sampled = dataclasses.replace(sampled, optimizer=optimizer)
    stages = make_stages(grpo, dpo, rounds, fresh=fresh, size=size, drop=drop, beta=beta, judge=judge, recipe=sampled)
    return Staged(policy, envs, seed=seed, stages=stages, device=device, dtype=dtype)
