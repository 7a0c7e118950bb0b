"""Parts: what can be exchanged in a recipe, one folder per slot. Saved recipes name a part as it is named here."""

from g2rpo_env.agents.parts.advantages import GroupCentered, GroupNormalized, Ones, RevealBaseline
from g2rpo_env.agents.parts.losses import ClippedSurrogate, CorrectedSurrogate, ImitatedReveal, LogLikelihood, ShapedReveal
from g2rpo_env.agents.parts.references import KLToStart, NoReference
from g2rpo_env.agents.parts.selection import DropUniform, KeepAll, KeepCorrect, LeastReveal, SplitGuided, SplitReveals
from g2rpo_env.agents.parts.shaping import EnvironmentReward, TruncationPenalty
from g2rpo_env.agents.parts.strategies import GuidedRollout, HuggingFace, Reroll, RevealOnly, Rollout, Stored, VLLMServer
from g2rpo_env.agents.parts.judges import Judged, StatedResult, StepMatch
from g2rpo_env.agents.parts.losses import (
    ClippedSurrogate,
    CorrectedSurrogate,
    Discriminative,
    LengthPreference,
    LogLikelihood,
    Preference,
    ShapedReveal,
)
from g2rpo_env.agents.parts.references import KLToAverage, KLToStart, MovingAverage, NoReference
from g2rpo_env.agents.parts.selection import (
    AnswerPairs,
    DropUniform,
    JudgedPairs,
    KeepAll,
    KeepCorrect,
    SplitGuided,
    SplitReveals,
    StepPairs,
)
from g2rpo_env.agents.parts.shaping import ConsistencyBonus, EnvironmentReward, Progress, TruncationPenalty
from g2rpo_env.agents.parts.strategies import HuggingFace, Reroll, RevealOnly, Rollout, VLLMServer
from g2rpo_env.agents.parts.token_weights import (
    Every,
    FixedLength,
    OfPositive,
    SequenceMean,
    SequenceSum,
    TokenMean,
    TopEntropy,
)

__all__ = [
    "AnswerPairs",
    "ClippedSurrogate",
    "ConsistencyBonus",
    "CorrectedSurrogate",
    "Discriminative",
    "DropUniform",
    "EnvironmentReward",
    "Every",
    "FixedLength",
    "GroupCentered",
    "GroupNormalized",
    "GuidedRollout",
    "HuggingFace",
    "ImitatedReveal",
    "KLToStart",
    "KeepAll",
    "KeepCorrect",
    "LeastReveal",
    "Judged",
    "JudgedPairs",
    "KLToAverage",
    "KLToStart",
    "KeepAll",
    "KeepCorrect",
    "LengthPreference",
    "LogLikelihood",
    "MovingAverage",
    "NoReference",
    "OfPositive",
    "Ones",
    "Preference",
    "Progress",
    "Reroll",
    "RevealBaseline",
    "RevealOnly",
    "Rollout",
    "SequenceMean",
    "SequenceSum",
    "ShapedReveal",
    "SplitGuided",
    "SplitReveals",
    "Stored",
    "StatedResult",
    "StepMatch",
    "StepPairs",
    "TokenMean",
    "TopEntropy",
    "TruncationPenalty",
    "VLLMServer",
]
