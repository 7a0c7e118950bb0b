"""Parts: what can be exchanged in a recipe, one folder per slot. Saved recipes name a part as it is named here."""

from g2rpo_env.agents.parts.advantages import GroupCentered, GroupNormalized, Ones, RevealBaseline
from g2rpo_env.agents.parts.credits import (
    ByProbability,
    HiddenReward,
    NegativeHiddenReward,
    Regulated,
    TopEntropyTokens,
)
from g2rpo_env.agents.parts.losses import (
    CappedWeights,
    ClippedSurrogate,
    CorrectedSurrogate,
    DivergenceMask,
    GammaWeights,
    GeometricMean,
    LogLikelihood,
    SequenceSurrogate,
    ShapedReveal,
    SoftGate,
    TracedSurrogate,
)
from g2rpo_env.agents.parts.references import KLToStart, NoReference
from g2rpo_env.agents.parts.regularizers import EntropyBonus
from g2rpo_env.agents.parts.selection import DropUniform, KeepAll, KeepCorrect, SplitGuided, SplitReveals
from g2rpo_env.agents.parts.shaping import EnvironmentReward, TruncationPenalty
from g2rpo_env.agents.parts.strategies import HuggingFace, Reroll, RevealOnly, Rollout, VLLMServer
from g2rpo_env.agents.parts.advantages import (
    Clamped,
    GroupCentered,
    GroupNormalized,
    Leaning,
    LeaveOneOut,
    LengthBaseline,
    MeanNormalized,
    Ones,
    Raw,
    RevealBaseline,
    ValidScaled,
    Whitened,
)
from g2rpo_env.agents.parts.losses import ClippedSurrogate, CorrectedSurrogate, LogLikelihood, ShapedReveal
from g2rpo_env.agents.parts.references import KLToStart, NoReference
from g2rpo_env.agents.parts.selection import (
    DownSample,
    DropUniform,
    KeepAll,
    KeepCorrect,
    SplitGuided,
    SplitReveals,
)
from g2rpo_env.agents.parts.shaping import (
    EnvironmentReward,
    KLPenalty,
    Signed,
    SoftOverlong,
    TruncationPenalty,
)
from g2rpo_env.agents.parts.strategies import HuggingFace, Reroll, Resampled, RevealOnly, Rollout, VLLMServer
from g2rpo_env.agents.parts.token_weights import (
    Every,
    FixedLength,
    OfPositive,
    RisingMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
    TopEntropy,
)

__all__ = [
    "ByProbability",
    "CappedWeights",
    "ClippedSurrogate",
    "CorrectedSurrogate",
    "DivergenceMask",
    "Clamped",
    "ClippedSurrogate",
    "CorrectedSurrogate",
    "DownSample",
    "DropUniform",
    "EntropyBonus",
    "EnvironmentReward",
    "Every",
    "FixedLength",
    "GammaWeights",
    "GeometricMean",
    "GroupCentered",
    "GroupNormalized",
    "HiddenReward",
    "HuggingFace",
    "KLPenalty",
    "KLToStart",
    "KeepAll",
    "KeepCorrect",
    "Leaning",
    "LeaveOneOut",
    "LengthBaseline",
    "LogLikelihood",
    "NegativeHiddenReward",
    "NoReference",
    "OfPositive",
    "Ones",
    "Regulated",
    "MeanNormalized",
    "NoReference",
    "OfPositive",
    "Ones",
    "Raw",
    "Reroll",
    "Resampled",
    "RevealBaseline",
    "RevealOnly",
    "RisingMean",
    "Rollout",
    "SequenceMean",
    "SequenceSum",
    "SequenceSurrogate",
    "ShapedReveal",
    "SoftGate",
    "Signed",
    "SoftOverlong",
    "SplitGuided",
    "SplitReveals",
    "TokenMean",
    "TopEntropy",
    "TopEntropyTokens",
    "TracedSurrogate",
    "TruncationPenalty",
    "VLLMServer",
    "ValidScaled",
    "Whitened",
]
