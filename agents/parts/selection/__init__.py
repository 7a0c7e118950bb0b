"""Selection: which episodes an update learns from."""

from g2rpo_env.agents.parts.selection.filters import DropUniform, KeepAll, KeepCorrect
from g2rpo_env.agents.parts.selection.splits import LeastReveal, SplitGuided, SplitReveals

__all__ = ["DropUniform", "KeepAll", "KeepCorrect", "LeastReveal", "SplitGuided", "SplitReveals"]
