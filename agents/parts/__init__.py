"""Parts: what can be exchanged in a recipe, one folder per slot. Saved recipes name a part as it is named here."""

from g2rpo_env.agents.parts.advantages import GroupCentered, GroupNormalized, Leaning, Ones, RevealBaseline
from g2rpo_env.agents.parts.losses import ClippedSurrogate, CorrectedSurrogate, LogLikelihood, ShapedReveal
from g2rpo_env.agents.parts.references import KLToStart, NoReference
from g2rpo_env.agents.parts.selection import DropUniform, KeepAll, KeepCorrect, Reached, SplitGuided, SplitReveals
from g2rpo_env.agents.parts.shaping import EnvironmentReward, TruncationPenalty
from g2rpo_env.agents.parts.strategies import (
    Conditioned,
    HuggingFace,
    Refine,
    Reroll,
    RevealOnly,
    Rollout,
    Tree,
    VLLMServer,
)
from g2rpo_env.agents.parts.advantages import GroupCentered, GroupNormalized, Ones, RevealBaseline
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
    ByRole,
    Every,
    FixedLength,
    OfPositive,
    SequenceMean,
    SequenceSum,
    TokenMean,
    TopEntropy,
)

__all__ = [
    "ByRole",
    "ClippedSurrogate",
    "Conditioned",
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
    "HuggingFace",
    "Judged",
    "JudgedPairs",
    "KLToAverage",
    "KLToStart",
    "KeepAll",
    "KeepCorrect",
    "Leaning",
    "LengthPreference",
    "LogLikelihood",
    "MovingAverage",
    "NoReference",
    "OfPositive",
    "Ones",
    "Reached",
    "Refine",
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
    "StatedResult",
    "StepMatch",
    "StepPairs",
    "TokenMean",
    "TopEntropy",
    "Tree",
    "TruncationPenalty",
    "VLLMServer",
]
