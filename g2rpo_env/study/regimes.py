"""Regimes: where guided GRPO might add to imitation, because correct traces are few, wrong or long. Plain data.

The claim ``beyond-imitation`` runs every contender of every regime from the same bases and with the same budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from g2rpo_env.agents.token_weights import TokenMean
from g2rpo_env.study.grounds import Ground, Row, Scale, rows_of
from g2rpo_env.study.runs import Run


@dataclass(frozen=True)
class Contender:
    """One way to train in a regime.

    Attributes:
        label: Its name.
        kind: ``guided`` for what must win, ``imitation`` for what it must beat, ``""`` for what is shown beside.
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
    """

    name: str
    task: Mapping[str, Any]
    contenders: tuple[Contender, ...]

    def ground(self, scale: Scale) -> Ground:
        """Return where it is tried: the main family, on bases from correct solutions."""
        main = scale.grounds()[0]
        return main.named(f"{main.name}, {self.name}")

    def rows(self, scale: Scale) -> tuple[Row, ...]:
        """Return the base and one row per contender."""
        ground = self.ground(scale)
        runs = {seed: self._runs(ground, seed) for seed in scale.seeds}
        base = rows_of(ground.run, scale.seeds, "base")
        made = {one.label: tuple(runs[seed][one.label] for seed in scale.seeds) for one in self.contenders}
        return (base, *(Row(one.label, made[one.label], one.kind) for one in self.contenders))

    def _runs(self, ground: Ground, seed: int) -> dict[str, Run]:
        task = {**ground.family.task, **self.task}
        made: dict[str, Run] = {}
        for one in self.contenders:
            changes = {"task": task, "measured": dict(ground.family.task), **one.changes}
            after = None if one.after is None else made[one.after]
            if one.imitates is not None:
                made[one.label] = ground.imitation(made[one.imitates], one.rate, after)
            elif one.recipe == "grpo":
                made[one.label] = ground.plain(seed, rate=one.rate, after=after, **changes)
            else:
                changes |= {"rate": one.rate, "guidance": dict(one.guidance), "after": after}
                made[one.label] = ground.guided(seed, one.rule, one.start, one.recipe, one.parts, **changes)
        return made


REVEALED = TokenMean(revealed=True)

REGIMES: tuple[Regime, ...] = ()
"""All regimes that are tried."""
