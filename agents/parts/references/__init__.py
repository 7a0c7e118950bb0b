"""References: what keeps the policy near an earlier one."""

from g2rpo_env.agents.parts.references.models import FrozenCopy, WithoutAdapter, make_reference
from g2rpo_env.agents.parts.references.terms import KLToStart, NoReference

__all__ = ["FrozenCopy", "KLToStart", "NoReference", "WithoutAdapter", "make_reference"]
