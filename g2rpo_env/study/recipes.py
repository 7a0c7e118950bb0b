"""Every recipe in one table: plain ones with one and with four gradient steps per rollout, and guided forms of all.

All runs of a block start from the same bases, with the same budget of sampled tokens: drafts, trees, dropped and
resampled groups count. Learning rates are chosen on :data:`TRIAL_SEED`, which is in no table, and stand in
:mod:`g2rpo_env.study.rates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from g2rpo_env.agents import recipes
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.protocols import get_requirements
from g2rpo_env.agents.recipes import RECIPES, guides, ratios
from g2rpo_env.controllers.self_tuning import SelfTuning
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import Arm
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import BASE, Ground, Scale, TableRow, shorten_name
from g2rpo_env.study.rates import RATES
from g2rpo_env.study.runs import Run

TRIAL_SEED = 100
"""Seed of the bases that learning rates are chosen on."""
SAMPLED_TOKENS = 200_000
"""Budget of each run: some 55 updates of plain GRPO on Addition."""
STEPS = 4
"""Gradient steps per rollout in the second block."""
PLAIN_RATES, REVEALED_RATES, GRPO_RATES = (3e-5, 1e-4), (1e-4, 3e-4), (3e-5, 5e-5, 1e-4)
"""Learning rates that are tried where sampled tokens alone are in the loss, where revealed ones are too, and of
plain GRPO, which the others are compared with."""

BUDGET: Mapping[str, Any] = {"sampled_tokens": SAMPLED_TOKENS, "evaluations": 6}
"""Fields of the setting of every run."""

BLOCKS = ONE, FOUR, GUIDED, CONTEXT = "one step per rollout", "four steps per rollout", "guided", "in another context"
FORMS: Mapping[str, bool | str] = {"revealed": True, "positive": "positive", "masked": False}
"""Guided form -> what becomes of revealed tokens, see :func:`g2rpo_env.agents.recipes.guided`."""
RIVALS = GRPO, SFT, RAFT = "grpo", "sft", "raft, revealed"
"""Rows of the guided block that every guided form is compared with."""

FOUR_STEPS = (
    "grpo", *ratios.RECIPES, "dapo", "raft++", "reinforce++", "lambda-grpo", "grpo-lambda", "grpo-lambda-both",
    "disco", "disco-b", "disco-ratio", "disco-b-ratio",
)  # fmt: skip
"""Recipes of the second block: those whose loss hangs on the ratio of new to old probabilities."""


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        block: One of the blocks.
        label: Its name, unique in its block.
        recipe: Name of the recipe.
        rates: Learning rates that are tried.
        form: Guided form, a key of :data:`FORMS`, or ``""``.
        parts: Other parts of the recipe, or arguments of an agent that is none.
        base: Name of a recipe whose context the base knows, ``""`` for none.
    """

    block: str
    label: str
    recipe: str
    rates: tuple[float, ...] = PLAIN_RATES
    form: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""

    def get_rate(self, ground: Ground) -> float:
        """Return the learning rate that was chosen on a ground, the first one that is tried where none was."""
        return RATES.get(f"{ground.name}, {self.block}", {}).get(self.label, self.rates[0])

    def make_run(self, ground: Ground, seed: int, rate: float | None = None) -> Run:
        """Return the run of a seed, at the chosen learning rate or another one."""
        if self.recipe == SFT:
            taught = make_taught(self.block)
            # Where rates are tried, the reveals must not hang on what is chosen later.
            of = taught.make_run(ground, seed, None if rate is None else taught.rates[0])
            return ground.make_imitation(of, self.get_rate(ground) if rate is None else rate)
        rate = self.get_rate(ground) if rate is None else rate
        parts: dict[str, Any] = dict(self.parts)
        changes: dict[str, Any] = dict(BUDGET)
        guided = bool(self.form)
        if self.block == FOUR:
            episodes = ground.family.problems * ground.family.group_size
            parts["optimizer"] = replace(recipes.get(self.recipe).optimizer, minibatch=episodes // STEPS)
        if self.form:
            made = recipes.guided(self.recipe, FORMS[self.form], make_controller(ground))
            parts = {"token_weight": made.token_weight, "controller": made.controller, **parts}
            changes["guidance"] = {"length": ground.whole}
        elif self.recipe in RECIPES and recipes.get(self.recipe).needs_guidance:
            guided = True
            changes["guidance"] = dict(guides.WRAPPERS.get(self.recipe, {}))
        label = f"{ground.name}, {self.block}: {self.label} {rate:g}"
        algorithm = AGENTS.get(self.recipe, self.recipe)
        run = ground.make_run(seed, Arm(label, algorithm, rate, guided, parts=parts), **changes)
        return know_context(run, self.base)


def make_controller(ground: Ground) -> SelfTuning:
    """Return the controller of guided forms: it starts with the whole solution."""
    return SelfTuning(length=ground.whole, max_length=ground.whole)


def make_taught(block: str) -> Entry:
    """Return the row whose reveals supervised training plays back in a block."""
    if block in (ONE, FOUR):
        return Entry(block, "g2rpo-a", "g2rpo-a", REVEALED_RATES)
    return Entry(block, "grpo, revealed", "grpo", REVEALED_RATES, "revealed")


@cache
def list_entries(block: str) -> tuple[Entry, ...]:
    """Return the rows of a block."""
    if block == ONE:
        entries = (Entry(ONE, name, name, get_rates(name)) for name in RECIPES if name not in NEED_CONTEXT)
        return (*entries, Entry(ONE, "veripo", "veripo", parts={"grpo": 20, "dpo": 5}))
    if block == CONTEXT:
        entries = (Entry(CONTEXT, name, name, base=base) for name, base in NEED_CONTEXT.items())
        return (*entries, Entry(CONTEXT, "grpo, base of igrpo", "grpo", base="igrpo"))
    if block == FOUR:
        return tuple(Entry(FOUR, name, name, get_rates(name)) for name in FOUR_STEPS)
    return tuple(list_guided())


NEED_CONTEXT: Mapping[str, str] = {"igrpo": "igrpo", "gac": "gac", "gac-critic": "gac"}
"""Recipes that start from bases which know their context -> the recipe that the base is named after."""


def get_rates(name: str) -> tuple[float, ...]:
    """Return the learning rates that are tried for a recipe: higher ones where revealed tokens are in its loss."""
    if name == "grpo":
        return GRPO_RATES
    return REVEALED_RATES if getattr(recipes.get(name).token_weight, "revealed", False) else PLAIN_RATES


def list_guided() -> Iterator[Entry]:
    """Yield plain GRPO, supervised training and the guided forms of every recipe with a loss per token."""
    yield Entry(GUIDED, GRPO, "grpo", GRPO_RATES)
    yield Entry(GUIDED, SFT, SFT, REVEALED_RATES)
    for name in RECIPES:
        for form, revealed in FORMS.items():
            try:
                recipes.guided(name, revealed)
            except ConfigurationError:
                continue
            if name not in NEED_CONTEXT and "sets" not in get_requirements(recipes.get(name).loss):
                yield Entry(GUIDED, f"{name}, {form}", name, REVEALED_RATES if revealed else PLAIN_RATES, form)


def get_grounds(scale: Scale, block: str) -> list[Ground]:
    """Return the grounds of a block: Addition, and Chain too where guided forms are compared."""
    if scale.small:
        return scale.get_grounds()
    names = list(FAMILIES)[: 1 if block in (ONE, FOUR, CONTEXT) else 2]
    return [Ground(shorten_name(name), name, FAMILIES[name]) for name in names]


def make_parts(scale: Scale) -> list[Part]:
    """Return a part per block and ground: the bases and a row per entry, at the chosen learning rates."""
    return [part for block in BLOCKS for part in make_block(scale, block, list_entries(block), scale.seeds)]


def make_block(scale: Scale, block: str, entries: Sequence[Entry], seeds: Sequence[int]) -> list[Part]:
    """Return a part per ground of a block: the bases and a row per entry, at the chosen learning rates."""
    parts = []
    for ground in get_grounds(scale, block):
        rows = [make_base_row(ground, seeds, base) for base in dict.fromkeys(one.base for one in entries)]
        rows += [TableRow(one.label, tuple(one.make_run(ground, seed) for seed in seeds)) for one in entries]
        parts.append(Part(ground.with_name(f"{ground.name}, {block}"), tuple(rows)))
    return parts


def make_base_row(ground: Ground, seeds: Sequence[int], name: str) -> TableRow:
    """Return the row of the bases that know the context of a recipe, or no other than the prompt."""
    runs = [know_context(ground.make_run(seed, **BUDGET), name) for seed in seeds]
    return TableRow(f"{BASE} of {name}" if name else BASE, tuple(runs))


def know_context(run: Run, name: str) -> Run:
    """Return a run from a base that knows the context of a recipe; the run itself where the name is empty."""
    return replace(run, base=replace(run.base, strategy=recipes.get(name).strategy)) if name else run


def make_trial_parts(scale: Scale) -> list[Part]:
    """Return the parts that learning rates are chosen on, on the trial seed alone."""
    return [part for block in BLOCKS for part in make_trial_block(scale, block, list_entries(block), (TRIAL_SEED,))]


def make_trial_block(scale: Scale, block: str, entries: Sequence[Entry], seeds: Sequence[int]) -> list[Part]:
    """Return a part per ground of a block: a row per entry and rate."""
    parts = []
    for ground in get_grounds(scale, block):
        rows = [
            TableRow(
                f"{one.label} {rate:g}", tuple(one.make_run(ground, seed, rate) for seed in seeds), one.label, rate
            )
            for one in entries
            for rate in one.rates
        ]
        parts.append(Part(ground.with_name(f"{ground.name}, {block}"), tuple(rows)))
    return parts


def choose_rates(found: Found) -> dict[str, float]:
    """Return label -> the rate of greatest accuracy among the trial rows of a part; the lower one of equal ones."""
    chosen: dict[str, float] = {}
    for label in dict.fromkeys(row.series for row in found.part.rows):
        done = [row for row in found.series(label) if found.of(row.label)]
        known = [(found.accuracy(row.label).value, -(row.x or 0.0)) for row in done]
        if known:
            chosen[label] = -max(known)[1]
    return chosen
