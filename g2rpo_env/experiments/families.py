"""Families: the task, the warm start and the rates of an environment on which the arms of :data:`ARMS` were tried.

Those are plain GRPO, supervised training on what was revealed, and guided GRPO with and without the revealed tokens in
its loss, all from one weak base. The rates were found by trying, on the tiny model; other models need other rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.controllers.base import Controller
from g2rpo_env.controllers.rules import AdaptiveGuidance
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.arms import UNGUIDED, Setting

ARMS = (f"grpo{UNGUIDED}", "sft", "g2rpo-a", "g2rpo-a-masked")


@dataclass(frozen=True)
class Family:
    """How a weak base of an environment is made, and how each arm trains it.

    Attributes:
        task: Arguments of the task.
        warm: How the base is made.
        longest: Reveal of the first update, in ``unit``, > 0.
        shortest: The least reveal that the controller goes down to, in ``unit``, in [0, longest].
        unit: ``"tokens"`` or ``"fraction"``.
        ratio: Share of guided members, in [0, 1].
        rates: Name of an algorithm -> its learning rate, > 0.
        updates: Updates of each arm, >= 1; learning rates fall linearly to the last one.
        problems: Problems per update, >= 1: what is revealed to several members of a group teaches no more than once.
        group_size: Members per problem, >= 1.
    """

    task: Mapping[str, Any]
    warm: WarmStart
    longest: float
    shortest: float
    unit: str
    ratio: float
    rates: Mapping[str, float]
    updates: int
    problems: int = 8
    group_size: int = 8

    @property
    def guidance(self) -> dict[str, Any]:
        """Return the arguments of the guidance wrapper."""
        return {"length": self.longest, "unit": self.unit, "ratio": self.ratio}

    @property
    def controller(self) -> Controller:
        """Return the controller of the arms that need one."""
        return AdaptiveGuidance(length=self.longest, min_length=self.shortest, max_length=self.longest)

    def has_rates(self, algorithms: Sequence[str]) -> bool:
        """Return whether there is a rate for each of these algorithms."""
        return all(name in self.rates for name in algorithms)


RATES = dict(zip(ARMS, (5e-5, 2e-4, 3e-4, 3e-5), strict=True))
"""Learning rates on the tiny model; that of plain GRPO is the best one of the grid of ``demo-seeds`` on Addition."""

ADDITION = Family(
    task={"digits": 4, "running": True},
    # The base has seen 1,024 worked sums: it knows the form, and is confidently wrong on most new problems. A base
    # from unlimited sums, stopped at the same success, is nearly right everywhere, and plain GRPO sharpens it alone.
    warm=WarmStart(problems=1024, batch_size=32),
    # The longest is all that may be revealed. Left to itself the controller goes down to about 38 tokens as success
    # grows, and runs of three seeds ended 0.00 to 0.06 lower: on a base this weak a shorter reveal teaches less.
    longest=51.0,
    shortest=46.0,
    unit="tokens",
    ratio=0.5,
    rates=RATES,
    updates=220,
)

COPYING = (0.08, 0.12)
"""Sampled success of bases whose steps copy from steps before. A model learns that within about a hundred
supervised steps, and is then right in about a tenth of its answers; until then it guesses, and neither samples nor
reveals teach it anything in a few hundred updates."""

CHAIN = Family(
    task={},
    warm=WarmStart(problems=512, batch_size=32, success=COPYING),
    longest=1.0,
    shortest=0.95,
    unit="fraction",
    ratio=0.5,
    # At 5e-4 one run in four of g2rpo-a forgot within 50 updates how answers end, and found no reward again.
    rates=dict(zip(ARMS, (1e-4, 3e-4, 3e-4, 3e-5), strict=True)),
    updates=250,
    problems=16,
    group_size=4,
)

WORD_PROBLEM = replace(CHAIN, task={"hops": 2}, updates=180)

# A check runs a program for each sample: fewer checks, and fewer samples in each.
MINI_PYTHON = replace(CHAIN, warm=replace(CHAIN.warm, problems=1024, check_every=40, samples=512), updates=100)

FAMILIES: dict[str, Family] = {
    "g2rpo_env/Addition-v0": ADDITION,
    "g2rpo_env/Chain-v0": CHAIN,
    "g2rpo_env/WordProblem-v0": WORD_PROBLEM,
    "g2rpo_env/MiniPython-v0": MINI_PYTHON,
}
"""Id of an environment -> its family."""


def find_family(env_id: str) -> Family | None:
    """Return the family of an id, whatever module it names, or None."""
    return FAMILIES.get(env_id.rpartition(":")[2])


def find_controller(env_id: str, guidance: Mapping[str, Any]) -> Controller | None:
    """Return the controller of the family of an id, or None where there is no family or the guidance is another."""
    family = find_family(env_id)
    return family.controller if family is not None and family.guidance.items() <= guidance.items() else None


def make_setting(env_id: str, **changes: Any) -> Setting:
    """Return the setting of the family of an id: its task, guidance, groups and updates, with rates that fall.

    Args:
        env_id: A key of :data:`FAMILIES`.
        **changes: Fields of :class:`~g2rpo_env.experiments.arms.Setting` that differ.

    Raises:
        ConfigurationError: the id has no family.
    """
    family = find_family(env_id)
    if family is None:
        raise ConfigurationError(f"env={env_id!r} must be one of {', '.join(FAMILIES)}")
    setting = Setting(
        env=env_id,
        task=dict(family.task),
        guidance=family.guidance,
        problems=family.problems,
        group_size=family.group_size,
        updates=family.updates,
        decay=True,
    )
    return replace(setting, **changes)
