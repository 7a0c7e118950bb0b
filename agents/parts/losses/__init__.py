"""Losses: functions of log-probabilities and a batch."""

from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate
from g2rpo_env.agents.parts.losses.revealed import ImitatedReveal, ShapedReveal
from g2rpo_env.agents.parts.losses.sets import SetLoss
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood, LossResult

__all__ = [
    "ClippedSurrogate",
    "CorrectedSurrogate",
    "ImitatedReveal",
    "LogLikelihood",
    "LossResult",
    "SetLoss",
    "ShapedReveal",
]
