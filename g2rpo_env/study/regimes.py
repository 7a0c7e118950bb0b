"""Regimes: where guided GRPO might add to imitation, because correct traces are few, wrong or long. Plain data.

The claim ``beyond-imitation`` runs every contender of every regime in :data:`REGIMES` from the same bases and with the
same budget, the claim ``map`` three ways to train on every regime in :data:`MAP`, a look at each instead of a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from g2rpo_env.agents.parts.token_weights.means import SequenceMean, TokenMean
from g2rpo_env.experiments.arms import UNGUIDED
from g2rpo_env.experiments.families import RATES
from g2rpo_env.study.grounds import BASE, Ground, TableRow, make_row
from g2rpo_env.study.runs import Run


@dataclass(frozen=True)
class Contender:
    """One way to train in a regime.

    Attributes:
        label: Its name.
        kind: ``guided`` must win, ``imitation`` must be beaten, ``first`` is a stage that others need, and ``""`` is
            shown beside them.
        recipe: Name of a recipe.
        rate: Learning rate, the best of a small grid.
        rule: A key of :data:`g2rpo_env.study.grounds.RULES`.
        start: Length of the first update as a share of the solution.
        parts: Other parts of the recipe.
        guidance: Other arguments of the guidance wrapper.
        imitates: Label of the contender whose reveals ``sft`` plays back.
        after: Label of the contender that trains the policy before.
        changes: Other fields of the setting.
    """

    label: str
    kind: str
    recipe: str
    rate: float
    rule: str = "self-tuning"
    start: float = 0.8
    parts: Mapping[str, Any] = field(default_factory=dict)
    guidance: Mapping[str, Any] = field(default_factory=dict)
    imitates: str | None = None
    after: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Regime:
    """One regime.

    Attributes:
        name: Its name.
        task: Arguments of the task that differ while training; accuracy is measured on the family's own task.
        contenders: Ways to train, those that others imitate or follow before these.
        measured: Arguments of the task that differ while measuring, such as room for longer answers.
    """

    name: str
    task: Mapping[str, Any]
    contenders: tuple[Contender, ...]
    measured: Mapping[str, Any] = field(default_factory=dict)

    def get_ground(self, ground: Ground) -> Ground:
        """Return the ground under the name of both; its bases, made from right traces, stay the same."""
        return ground.with_name(f"{ground.name}, {self.name}")

    def make_rows(self, ground: Ground, seeds: Sequence[int]) -> tuple[TableRow, ...]:
        """Return the base and one row per contender."""
        here = self.get_ground(ground)
        runs = {seed: self._make_runs(here, seed) for seed in seeds}
        base = make_row(ground.make_run, seeds, BASE)
        made = {one.label: tuple(runs[seed][one.label] for seed in seeds) for one in self.contenders}
        return (base, *(TableRow(one.label, made[one.label], one.kind) for one in self.contenders))

    def _make_runs(self, ground: Ground, seed: int) -> dict[str, Run]:
        task = {**ground.family.task, **self.task}
        made: dict[str, Run] = {}
        for one in self.contenders:
            changes = {"task": task, "measured": {**ground.family.task, **self.measured}, **one.changes}
            after = None if one.after is None else made[one.after]
            if one.imitates is not None:
                made[one.label] = ground.make_imitation(made[one.imitates], one.rate, after)
            elif one.recipe == "grpo":
                made[one.label] = ground.make_plain(seed, rate=one.rate, after=after, **changes)
            else:
                changes |= {"rate": one.rate, "guidance": dict(one.guidance), "after": after}
                made[one.label] = ground.make_guided(seed, one.rule, one.start, one.recipe, one.parts, **changes)
        return made


REVEALED = TokenMean(revealed=True)
WHOLE: Mapping[str, Any] = {"rule": "fixed", "start": 1.0}
"""All of the solution is shown, always."""


def make_contenders(guided: Sequence[float], raft: Sequence[float], sft: Sequence[float]) -> tuple[Contender, ...]:
    """Return the same ways to train for every regime: all of the solution shown to half of each group, always.

    Nothing but the learning rates differs between regimes, so that no contender is made for one of them. The guided one
    is ``g2rpo-a`` with a length that stays. RAFT has the revealed tokens of all answers that pass in its loss. It is
    the hardest imitation, since the policy's own right answers train it too. RAFT on sampled tokens alone is left out:
    it learnt nothing in the first two regimes.

    Args:
        guided: Learning rates of guided GRPO, the likeliest one first, as in the others.
        raft: Of RAFT with revealed tokens.
        sft: Of supervised training.
    """
    rows = [
        [Contender(f"g2rpo-a {rate:g}", "guided", "g2rpo-a", rate, **WHOLE) for rate in guided],
        [Contender(f"raft, revealed too {rate:g}", "imitation", "raft", rate, **WHOLE, parts=RAFTED) for rate in raft],
        [Contender(f"sft {rate:g}", "imitation", "sft", rate, imitates=f"g2rpo-a {guided[0]:g}") for rate in sft],
        [Contender(f"grpo {PLAIN:g}", "", "grpo", PLAIN)],
    ]
    return tuple(one for row in rows for one in row)


PLAIN = RATES[f"grpo{UNGUIDED}"]
"""Learning rate of plain GRPO, which does not see the traces."""
RAFTED = {"token_weight": REVEALED}

NO_BLAME = {"token_weight": SequenceMean(revealed=True, which="positive")}
"""The loss of ``g2rpo-a`` with the revealed tokens of the members alone that did better than their group."""

ONE_DIGIT = (
    *make_contenders((2e-4, 1e-4), (1e-4, 5e-5, 2.5e-5), (1e-4, 5e-5, 2.5e-5)),
    Contender("g2rpo-a, no blame 0.0002", "", "g2rpo-a", 2e-4, **WHOLE, parts=NO_BLAME),
)
"""Contenders where one digit is checked: the best rates of pilots and their neighbours, and one without blame."""

REGIMES: tuple[Regime, ...] = (
    Regime(
        "3 of 4 traces wrong, one digit checked",
        {"traces": {"wrong_traces": 0.75}, "grading": {"spot": True}},
        ONE_DIGIT,
    ),
    Regime(
        "17 of 20 traces wrong, one digit checked",
        {"traces": {"wrong_traces": 0.85}, "grading": {"spot": True}},
        ONE_DIGIT,
    ),
    Regime(
        "3 of 4 traces wrong, half of the wrong answers pass",
        {"traces": {"wrong_traces": 0.75}, "grading": {"passing": 0.5}},
        make_contenders((2e-4, 5e-5), (2e-4, 1e-4, 5e-5), (1e-4, 5e-5)),
    ),
    Regime(
        "half of the traces wrong, exact verifier",
        {"traces": {"wrong_traces": 0.5}},
        make_contenders((2e-4, 3e-4), (3e-4, 2e-4), (2e-4, 1e-4)),
    ),
    Regime(
        "64 problems solved, half of the draws others, exact verifier",
        {"traces": {"pool": 64, "fresh": 0.5}},
        make_contenders((2e-4, 3e-4), (2e-4, 3e-4), (3e-4, 2e-4)),
    ),
)
"""All regimes that are tried. Rates are the best of pilots and their neighbours."""


# -- the map ----------------------------------------------------------------------------------------------------------

MAP_RATE = 2e-4
"""Learning rate of all but plain GRPO. In the regimes above with an exact verifier none is better by more than 0.02."""


def make_ways(**options: Any) -> tuple[Contender, ...]:
    """Return guided GRPO, RAFT with the revealed tokens in its loss and supervised training on the same reveals.

    Args:
        **options: Fields of the guided two.
    """
    options = {**WHOLE, **options}
    return (
        Contender("g2rpo-a", "guided", "g2rpo-a", MAP_RATE, **options),
        Contender("raft", "imitation", "raft", MAP_RATE, **options, parts=RAFTED),
        Contender("sft", "imitation", "sft", MAP_RATE, imitates="g2rpo-a"),
    )


def make_ways_after_imitation() -> tuple[Contender, ...]:
    """Return guided GRPO, RAFT and plain GRPO, each on a policy that supervised training on the reveals has left."""
    guided, raft, taught = make_ways()
    return (
        replace(guided, kind="first"),
        replace(taught, kind="first"),
        replace(guided, label="g2rpo-a, second", after=taught.label),
        replace(raft, label="raft, second", after=taught.label),
        Contender("grpo, second", "imitation", "grpo", PLAIN, after=taught.label),
    )


MAP: tuple[Regime, ...] = (
    Regime("right traces", {}, make_ways()),
    Regime("right traces, after supervised training on them", {}, make_ways_after_imitation()),
    Regime("32 problems, epoch after epoch", {"traces": {"pool": 32}}, make_ways()),
    Regime("256 problems, epoch after epoch", {"traces": {"pool": 256}}, make_ways()),
    Regime("10 % of the steps wrong", {"traces": {"wrong_steps": 0.1}}, make_ways()),
    Regime("25 % of the steps wrong", {"traces": {"wrong_steps": 0.25}}, make_ways()),
    Regime("50 % of the steps wrong", {"traces": {"wrong_steps": 0.5}}, make_ways()),
    Regime("25 % of the traces wrong", {"traces": {"wrong_traces": 0.25}}, make_ways()),
    Regime("50 % of the traces wrong", {"traces": {"wrong_traces": 0.5}}, make_ways()),
    Regime("each step written twice", {"traces": {"repeats": 2}}, make_ways(), {"max_new_tokens": 128}),
    Regime("another style: no running sum", {"running": False}, make_ways()),
    # A solution in the prompt is not trained on, so that supervised training has nothing to imitate.
    Regime("half of the solution in the prompt", {}, make_ways(start=0.5, guidance={"place": "prompt"})[:2]),
)
"""Regimes of the map, all under an exact verifier. A run draws some 1,240 problems: a pool of 4,096 would be none."""
