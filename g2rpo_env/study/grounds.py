"""Grounds: where claims are tried, a family of problems with a model and a budget, and the rules that are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.selection.filters import KeepCorrect
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.controllers.base import Controller
from g2rpo_env.controllers.rules import AdaptiveGuidance, FixedGuidance, OfficialCadence, TargetSuccess
from g2rpo_env.controllers.schedules import CosineDecay, LinearDecay
from g2rpo_env.controllers.self_tuning import SelfTuning
from g2rpo_env.experiments.arms import UNGUIDED, Arm, Setting
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.experiments.families import CHAIN, FAMILIES, Family
from g2rpo_env.study.runs import Base, Run

STARTS = (0.1, 0.3, 0.5, 0.8)
"""Starting lengths, as shares of the longest reveal."""
DEFAULT_RULE = "self-tuning"
SET_POINT = 0.7
"""Guided success that the target rule holds where revealed tokens are in the loss; SelfTuning has one of its own."""
GRID = (0.4, 1.0, 2.0)
"""Learning rates of plain GRPO that are tried, as multiples of the best one known for the family."""


@dataclass(frozen=True)
class Ground:
    """Where a claim is tried.

    Attributes:
        name: Its name in tables.
        env: Id of the environment.
        family: Task, warm start, guidance, rates and updates.
        hidden_size: Width of the model.
        layers: Its number of layers.
        share: Share of the family's updates that the budget is made of.
        evaluation_problems: Test problems.
        evaluations: Points of the accuracy curve after the base.
    """

    name: str
    env: str
    family: Family
    hidden_size: int = 96
    layers: int = 3
    share: float = 1.0
    evaluation_problems: int = 512
    evaluations: int = 12

    @property
    def updates(self) -> int:
        """Updates of the guided arm at the family's longest reveal that the budget is made of."""
        return max(1, round(self.family.updates * self.share))

    @property
    def whole(self) -> float:
        """The longest reveal there is, in the family's unit."""
        return _measure(self.env, _freeze(self.family.task), self.family.unit)[0]

    def count_tokens(self, length: float, ratio: float | None = None) -> float:
        """Return the tokens that an update samples at a reveal length, if answers are as long as the solutions."""
        ratio = self.family.ratio if ratio is None else ratio
        whole, solution, reveal = _measure(self.env, _freeze(self.family.task), self.family.unit)
        return self.family.problems * self.family.group_size * (solution - ratio * reveal * min(1.0, length / whole))

    @property
    def budget(self) -> int:
        """Sampled tokens of every run: those of :attr:`updates` updates at the family's longest reveal."""
        return 1000 * round(self.updates * self.count_tokens(self.family.longest) / 1000)

    def with_task(self, name: str, task: Mapping[str, Any], **changes: Any) -> Ground:
        """Return the ground with another task, and other fields of its family."""
        return replace(self, name=name, family=replace(self.family, task=dict(task), **changes))

    def make_base(self, seed: int) -> Base:
        """Return the base of a seed."""
        family = self.family
        return Base(self.env, dict(family.task), family.warm, self.hidden_size, self.layers, seed)

    def with_name(self, name: str) -> Ground:
        """Return the ground under another name."""
        return replace(self, name=name)

    def make_run(
        self, seed: int, arm: Arm | None = None, replays: Run | None = None, after: Run | None = None, **changes: Any
    ) -> Run:
        """Return a run on this ground.

        Args:
            seed: Root seed, and seed of the base.
            arm: How it trains.
            replays: See :class:`~g2rpo_env.study.runs.Run`.
            after: See there.
            **changes: Fields of :class:`~g2rpo_env.experiments.arms.Setting` that differ; ``guidance`` is merged.
        """
        guidance = {**self.family.guidance, **changes.pop("guidance", {})}
        setting = Setting(
            env=self.env,
            task=dict(self.family.task),
            guidance=guidance,
            problems=self.family.problems,
            group_size=self.family.group_size,
            updates=self.updates,
            sampled_tokens=self.budget,
            evaluation_problems=self.evaluation_problems,
            evaluations=self.evaluations,
            seed=seed,
            decay=True,
        )
        return Run(self.make_base(seed), replace(setting, **changes), arm, replays, after)

    def make_plain(self, seed: int, multiple: float = 1.0, rate: float | None = None, **changes: Any) -> Run:
        """Return a run of plain GRPO, at a multiple of its best known learning rate or at another one."""
        rate = multiple * self.family.rates[f"grpo{UNGUIDED}"] if rate is None else rate
        return self.make_run(seed, Arm(f"{self.name}: grpo {rate:g}", "grpo", rate, guided=False), **changes)

    def make_guided(
        self,
        seed: int,
        rule: str = DEFAULT_RULE,
        start: float = 0.5,
        recipe: str = "g2rpo-a",
        parts: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Run:
        """Return a guided run.

        Args:
            seed: Root seed.
            rule: A key of :data:`RULES`.
            start: Length of the first update as a share of :attr:`whole`.
            recipe: ``g2rpo-a``, ``g2rpo-a-masked`` or ``raft``.
            parts: Other parts of the recipe.
            **changes: See :meth:`make_run`.
        """
        target = 0.5 if recipe == "g2rpo-a-masked" else SET_POINT
        length = start * self.whole
        changes["guidance"] = {"length": length, **changes.get("guidance", {})}
        label = f"{self.name}: {recipe} {rule} from {start:.0%}"
        rate = self.family.rates.get(recipe, self.family.rates["sft"])
        rate = changes.pop("rate", rate)
        arm = Arm(label, recipe, rate, controller=RULES[rule](self, length, target), parts=parts or {})
        return self.make_run(seed, arm, **changes)

    def make_imitation(self, of: Run, rate: float | None = None, after: Run | None = None) -> Run:
        """Return supervised training on exactly the tokens that a guided run revealed."""
        arm = Arm(f"{self.name}: sft", "sft", self.family.rates["sft"] if rate is None else rate)
        return Run(of.base, of.setting, arm, of, after)


def _freeze(task: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(task.items()))


@lru_cache
def _measure(env: str, task: tuple[tuple[str, Any], ...], unit: str) -> tuple[float, float, float]:
    """Return the longest reveal in the unit, and the mean tokens of a solution with its end and of its reveal."""
    envs = make_envs(env, 1, 1, dict(task), {"length": 0.0, "unit": unit})
    made = envs.unwrapped.task
    encoded = [made.encode(made.source.get(made.source.draw(0, index))) for index in range(256)]
    solution = float(np.mean([len(one.solution_T) + 1 for one in encoded]))
    return envs.longest, solution, float(np.mean([one.revealable for one in encoded]))


# -- rules ------------------------------------------------------------------------------------------------------------

Rule = Callable[[Ground, float, float], Controller]


def _get_bounds(ground: Ground) -> dict[str, Any]:
    """Return the bounds of rules that have some: a fiftieth of a whole solution (a token, say) and all of it."""
    return {"min_length": ground.whole / 50, "max_length": ground.whole}


def _estimate_updates(ground: Ground, length: float) -> int:
    """Return the updates that the budget is enough for where the length falls to 0, half of it on average."""
    return max(1, round(ground.budget / ground.count_tokens(length / 2)))


RULES: dict[str, Rule] = {
    "fixed": lambda ground, length, target: FixedGuidance(length=length),
    "linear": lambda ground, length, target: LinearDecay(length=length, updates=_estimate_updates(ground, length)),
    "cosine": lambda ground, length, target: CosineDecay(length=length, updates=_estimate_updates(ground, length)),
    "adaptive": lambda ground, length, target: AdaptiveGuidance(length=length, **_get_bounds(ground)),
    "target": lambda ground, length, target: TargetSuccess(length=length, target=target, **_get_bounds(ground)),
    "self-tuning": lambda ground, length, target: SelfTuning(length=length, max_length=ground.whole),
    "raw": lambda ground, length, target: AdaptiveGuidance(length=length, max_factor=None, **_get_bounds(ground)),
    "official": lambda ground, length, target: OfficialCadence(length=length, **_get_bounds(ground)),
}
"""Name -> (ground, starting length, set point) -> controller; those without a set point ignore it."""


# -- rows of every comparison -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableRow:
    """A row of a table: one way to train, once per seed.

    Attributes:
        label: Its name, unique on its ground.
        runs: One run per seed, the seeds in the same order in every row.
        series: Line of the plot it belongs to; ``""`` leaves it out of the lines.
        x: Its place on that line.
    """

    label: str
    runs: tuple[Run, ...]
    series: str = ""
    x: float | None = None


def make_row(
    make: Callable[[int], Run], seeds: Sequence[int], label: str, series: str = "", x: float | None = None
) -> TableRow:
    """Return the row of a way to train: seed -> run."""
    return TableRow(label, tuple(make(seed) for seed in seeds), series, x)


BASE, SFT, RAFT, RAFT_REVEALED = "base", "sft", "raft", "raft, revealed tokens too"
GUIDED, MASKED = "g2rpo-a", "g2rpo-a-masked"
GRPO_LONG = "grpo, as many updates"


def get_grpo_label(ground: Ground, multiple: float) -> str:
    """Return the label of plain GRPO at a multiple of the family's rate."""
    return f"grpo {multiple * ground.family.rates[f'grpo{UNGUIDED}']:g}"


def make_untaught_rows(ground: Ground, seeds: Sequence[int], grid: Sequence[float] = GRID) -> list[TableRow]:
    """Return the rows without reveals: the base, and plain GRPO at multiples of the family's learning rate."""
    base = make_row(ground.make_run, seeds, BASE)
    rates = [make_row(partial(ground.make_plain, multiple=one), seeds, get_grpo_label(ground, one)) for one in grid]
    return [base, *rates]


def make_references(
    ground: Ground, seeds: Sequence[int], grid: Sequence[float] = GRID, few: bool = False
) -> list[TableRow]:
    """Return the rows of every comparison: base, GRPO's grid, imitation of the default run, RAFT, both loss modes.

    All have one budget of sampled tokens, but for ``sft``, which samples nothing and does as many updates as the run
    that it imitates, and :data:`GRPO_LONG`, which does as many updates as that run would at its longest reveal.

    Args:
        ground: Where.
        seeds: Root seeds.
        grid: Learning rates of GRPO, as multiples of the family's.
        few: Leave out RAFT, the masked loss and :data:`GRPO_LONG`.
    """
    default = {seed: ground.make_guided(seed) for seed in seeds}
    revealed = {"token_weight": TokenMean(revealed=True), "selection": KeepCorrect()}

    def row(label: str, make: Callable[[int], Run]) -> TableRow:
        return make_row(make, seeds, label)

    base, *plain = make_untaught_rows(ground, seeds, grid)
    rows = [
        base,
        row(GUIDED, default.__getitem__),
        *plain,
        row(SFT, lambda seed: ground.make_imitation(default[seed])),
    ]
    if few:
        return rows
    return [
        *rows,
        row(MASKED, partial(ground.make_guided, recipe=MASKED)),
        row(RAFT, partial(ground.make_guided, recipe="raft")),
        row(RAFT_REVEALED, partial(ground.make_guided, recipe="raft", parts=revealed)),
        row(GRPO_LONG, partial(ground.make_plain, sampled_tokens=None)),
    ]


CODE = "g2rpo_env/MiniPython-v0"
"""The family of code, where its figures are known."""
MANY = "g2rpo_env/Countdown-v0"
COUNTDOWN = replace(CHAIN, task={"numbers": 3, "largest": 9})
"""Problems with many right answers. Warm start and rates are those of Chain: its steps copy from steps before, too."""
SIZES = {"0.1 M": (64, 2), "0.4 M": (96, 3), "1.5 M": (176, 4)}
"""Number of parameters -> width and layers."""


@dataclass(frozen=True)
class Scale:
    """How large a study is.

    Attributes:
        name: ``default``, ``full`` or ``reduced``.
        seeds: Root seeds.
        families: Ids of the environments, the first one the main one.
        share: Share of each family's updates that the budget is made of.
        small: Whether the tiny ground of the tests replaces all of this.
    """

    name: str = "default"
    seeds: tuple[int, ...] = (0, 1, 2)
    families: tuple[str, ...] = field(default=())
    share: float = 0.7
    small: bool = False

    def get_grounds(self) -> list[Ground]:
        """Return one ground per family, with the model that its rates were found on."""
        if self.small:
            return [REDUCED]
        known = [env for env in self.families or (next(iter(FAMILIES)),) if env in FAMILIES]
        return [Ground(shorten_name(env), env, FAMILIES[env], share=self.share) for env in known]

    def get_code_grounds(self) -> list[Ground]:
        """Return the ground of the code family, if it is known and not among the families already."""
        if self.small or CODE not in FAMILIES or CODE in self.families:
            return []
        return [Ground(shorten_name(CODE), CODE, FAMILIES[CODE], share=self.share)]

    def get_many_answer_grounds(self) -> list[Ground]:
        """Return the ground whose problems have many right answers."""
        return [] if self.small else [Ground(shorten_name(MANY), MANY, COUNTDOWN, share=self.share)]

    def get_sizes(self) -> list[Ground]:
        """Return the main ground with each size of model."""
        ground = self.get_grounds()[0]
        if self.small:
            return [ground]
        return [
            replace(ground, name=f"{ground.name}, {size}", hidden_size=hidden, layers=layers)
            for size, (hidden, layers) in SIZES.items()
        ]


def shorten_name(env: str) -> str:
    """Return the name of a family.

    >>> shorten_name("g2rpo_env/Addition-v0")
    'Addition'
    """
    return env.rpartition("/")[2].removesuffix("-v0")


_MAIN = next(iter(FAMILIES))
REDUCED = Ground(
    "Addition, 2 digits",
    _MAIN,
    replace(
        FAMILIES[_MAIN],
        task={**FAMILIES[_MAIN].task, "digits": 2},
        warm=replace(FAMILIES[_MAIN].warm, problems=128),
        longest=24.0,
        shortest=1.0,
        updates=60,
    ),
    hidden_size=48,
    layers=2,
    evaluation_problems=256,
    evaluations=4,
)
"""Two digits and a model of 0.06 M parameters, which trains in a minute."""

_IDS = tuple(FAMILIES)
FORMS = {
    "default": Scale("default", (0, 1, 2), _IDS[:2]),
    "full": Scale("full", (0, 1, 2, 3, 4), _IDS, share=1.0),
    "reduced": Scale("reduced", (0, 1), small=True),
}
"""Forms of the study by name."""
