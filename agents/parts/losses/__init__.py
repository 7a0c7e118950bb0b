"""Losses: functions of log-probabilities and a batch."""

from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate
from g2rpo_env.agents.parts.losses.discriminative import Discriminative
from g2rpo_env.agents.parts.losses.lengths import LengthPreference
from g2rpo_env.agents.parts.losses.preference import Preference
from g2rpo_env.agents.parts.losses.revealed import ShapedReveal
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood, LossResult

__all__ = [
    "ClippedSurrogate",
    "CorrectedSurrogate",
    "Discriminative",
    "LengthPreference",
    "LogLikelihood",
    "LossResult",
    "Preference",
    "SetLoss",
    "ShapedReveal",
]
