"""The question that decides: is a guided recipe better than imitation of the same reveals, under an exact verifier?

Rows of every ground start from the same bases and have the same budget of sampled tokens. Learning rates are chosen on
:data:`TRIAL_SEEDS`, the figures are those of :data:`SEEDS`, which nobody had looked at before.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from g2rpo_env.agents.parts.advantages.groups import Clamped, GroupCentered, Ones
from g2rpo_env.agents.parts.credits.imitation import FilteredImitation
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.regularizers.entropy import EntropyBonus
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import Scale
from g2rpo_env.study.recipes import GRPO, RAFT, SFT, Entry, make_block, make_trial_block

TRIAL_SEEDS, SEEDS = (100, 101), (10, 11, 12, 13, 14)
IMITATION_RATES, PLAIN_RATES = (1e-4, 2e-4, 3e-4, 5e-4), (3e-5, 5e-5, 1e-4)
"""Learning rates that are tried with revealed tokens in the loss, and of plain GRPO."""
CONTEST = "guided against imitation"
"""The block, as :mod:`g2rpo_env.study.rates` names it."""
RIVALS = (GRPO, SFT, RAFT)


def imitate(**options: Any) -> Mapping[str, Any]:
    """Return parts that imitate right answers and compare sampled tokens, see FilteredImitation."""
    return {
        "credit": FilteredImitation(**options),
        "advantage": Ones(),
        "loss": LogLikelihood(),
        "token_weight": TokenMean(revealed=True),
    }


CONTENDERS: Mapping[str, Mapping[str, Any]] = {
    "imitation and contrast 0.3": imitate(contrast=0.3),
    "imitation and contrast 1": imitate(contrast=1.0),
    "imitation and contrast, leave-one-out": imitate(contrast=0.3, baseline="others"),
    "imitation and contrast, max-rl": imitate(contrast=0.3, baseline="success"),
    "imitation of hard problems": imitate(contrast=0.0, focus=1.0),
    "imitation of hard problems and contrast": imitate(contrast=0.3, focus=1.0),
    "positive only": {
        "advantage": Clamped(GroupCentered(), 0.0), "loss": LogLikelihood(), "token_weight": TokenMean(revealed=True),
    },
    "positive only, entropy": {
        "advantage": Clamped(GroupCentered(), 0.0), "loss": LogLikelihood(), "token_weight": TokenMean(revealed=True),
        "regularizer": EntropyBonus(0.001),
    },
}  # fmt: skip
"""Label -> parts in the place of those of guided GRPO."""


@cache
def list_contest() -> tuple[Entry, ...]:
    """Return the rows: the three rivals, guided GRPO, and the contenders."""
    return (
        Entry(CONTEST, GRPO, "grpo", PLAIN_RATES),
        Entry(CONTEST, "grpo, revealed", "grpo", IMITATION_RATES, "revealed"),
        Entry(CONTEST, SFT, SFT, IMITATION_RATES),
        Entry(CONTEST, RAFT, "raft", IMITATION_RATES, "revealed"),
        *(Entry(CONTEST, name, "grpo", IMITATION_RATES, "revealed", parts) for name, parts in CONTENDERS.items()),
    )


def make_contest_trials(scale: Scale) -> list[Part]:
    """Return the parts that learning rates are chosen on: a row per contender and rate, on the trial seeds."""
    return make_trial_block(scale, CONTEST, list_contest(), TRIAL_SEEDS)


def make_contest(scale: Scale) -> list[Part]:
    """Return the parts of the contest: the base and every row at its chosen rate, on seeds of its own."""
    return make_block(scale, CONTEST, list_contest(), SEEDS)


def find_winners(found: list[Found]) -> list[str]:
    """Return the rows whose intervals lie entirely above those of all rivals, paired by seed, on every ground."""
    labels = [one.label for one in list_contest() if one.label not in RIVALS]
    return [label for label in labels if all(one.above(label, rival).above for one in found for rival in RIVALS)]


def find_closest(found: Found) -> str:
    """Return the row of greatest accuracy beside the rivals."""
    return found.best([one.label for one in list_contest() if one.label not in RIVALS])
