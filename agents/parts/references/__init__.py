"""References: what keeps the policy near an earlier one."""

from g2rpo_env.agents.parts.references.average import KLToAverage, MovingAverage
from g2rpo_env.agents.parts.references.models import AveragedCopy, FrozenCopy, WithoutAdapter, make_reference
from g2rpo_env.agents.parts.references.terms import KLToStart, NoReference, k1, k2, k3

__all__ = [
    "AveragedCopy",
    "FrozenCopy",
    "KLToAverage",
    "KLToStart",
    "MovingAverage",
    "NoReference",
    "WithoutAdapter",
    "k1",
    "k2",
    "k3",
    "make_reference",
]
