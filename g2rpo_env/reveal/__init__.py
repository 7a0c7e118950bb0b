"""Reveals: how much of a solution is shown, to which members of a group, and where it stands."""

from g2rpo_env.encoding import EncodedProblem
from g2rpo_env.reveal.assignment import (
    Assignment,
    FirstMembers,
    Levels,
    RandomMembers,
    WholeGroups,
    count_guided,
    even_levels,
)
from g2rpo_env.reveal.placement import InAnswer, InPrompt, Placement
from g2rpo_env.reveal.plan import CAPS, UNITS, RevealPlan, reveal_tokens

__all__ = [
    "CAPS",
    "UNITS",
    "Assignment",
    "EncodedProblem",
    "FirstMembers",
    "InAnswer",
    "InPrompt",
    "Levels",
    "Placement",
    "RandomMembers",
    "RevealPlan",
    "WholeGroups",
    "count_guided",
    "even_levels",
    "reveal_tokens",
]
