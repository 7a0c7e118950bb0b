"""Selection: which episodes an update learns from."""

from g2rpo_env.agents.parts.selection.downsample import DownSample
from g2rpo_env.agents.parts.selection.filters import DropUniform, KeepAll, KeepCorrect
from g2rpo_env.agents.parts.selection.pairs import AnswerPairs, JudgedPairs, StepPairs
from g2rpo_env.agents.parts.selection.reached import Reached
from g2rpo_env.agents.parts.selection.splits import LeastReveal, SplitGuided, SplitReveals

__all__ = [
    "AnswerPairs",
    "DownSample",
    "DropUniform",
    "JudgedPairs",
    "KeepAll",
    "KeepCorrect",
    "LeastReveal",
    "Reached",
    "SplitGuided",
    "SplitReveals",
    "StepPairs",
]
