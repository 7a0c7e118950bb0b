"""References: what keeps the policy near an earlier one."""

from g2rpo_env.agents.parts.references.average import KLToAverage, MovingAverage
from g2rpo_env.agents.parts.references.models import AveragedCopy, FrozenCopy, WithoutAdapter, make_reference
from g2rpo_env.agents.parts.references.terms import KLToStart, NoReference

__all__ = [
    "AveragedCopy",
    "FrozenCopy",
    "KLToAverage",
    "KLToStart",
    "MovingAverage",
    "NoReference",
    "WithoutAdapter",
    "make_reference",
]
