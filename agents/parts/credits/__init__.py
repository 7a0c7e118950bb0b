"""Credits: the advantage of an episode, shared out over its tokens."""

from g2rpo_env.agents.parts.credits.entropy import TopEntropyTokens
from g2rpo_env.agents.parts.credits.hidden import HiddenReward, NegativeHiddenReward
from g2rpo_env.agents.parts.credits.imitation import FilteredImitation
from g2rpo_env.agents.parts.credits.probability import ByProbability, Regulated

__all__ = [
    "FilteredImitation",
    "ByProbability",
    "HiddenReward",
    "NegativeHiddenReward",
    "Regulated",
    "TopEntropyTokens",
]
