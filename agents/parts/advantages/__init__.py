"""Advantages: rewards to one number per member."""

from g2rpo_env.agents.parts.advantages.groups import (
    Clamped,
    GroupCentered,
    GroupNormalized,
    Leaning,
    LeaveOneOut,
    MeanNormalized,
    Ones,
    Raw,
)
from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline
from g2rpo_env.agents.parts.advantages.updates import LengthBaseline, ValidScaled, Whitened

__all__ = [
    "Clamped",
    "GroupCentered",
    "GroupNormalized",
    "Leaning",
    "LeaveOneOut",
    "LengthBaseline",
    "MeanNormalized",
    "Ones",
    "Raw",
    "RevealBaseline",
    "ValidScaled",
    "Whitened",
]
