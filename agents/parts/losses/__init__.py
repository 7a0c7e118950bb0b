"""Losses: functions of log-probabilities and a batch."""

from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate
from g2rpo_env.agents.parts.losses.discriminative import Discriminative
from g2rpo_env.agents.parts.losses.lengths import LengthPreference
from g2rpo_env.agents.parts.losses.preference import Preference
from g2rpo_env.agents.parts.losses.revealed import ImitatedReveal, ShapedReveal
from g2rpo_env.agents.parts.losses.sequence import GeometricMean, SequenceSurrogate
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.losses.soft import CappedWeights, DivergenceMask, GammaWeights, SoftGate
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood, LossResult
from g2rpo_env.agents.parts.losses.traces import TracedSurrogate

__all__ = [
    "CappedWeights",
    "ClippedSurrogate",
    "CorrectedSurrogate",
    "Discriminative",
    "DivergenceMask",
    "GammaWeights",
    "GeometricMean",
    "ImitatedReveal",
    "LengthPreference",
    "LogLikelihood",
    "LossResult",
    "Preference",
    "SequenceSurrogate",
    "SetLoss",
    "ShapedReveal",
    "SoftGate",
    "TracedSurrogate",
]
