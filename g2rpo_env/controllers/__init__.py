"""Controllers: success in, next reveal length out."""

from g2rpo_env.controllers.backtracking import Backtracking
from g2rpo_env.controllers.base import Bounded, Controller, Feedback
from g2rpo_env.controllers.on_failure import FailureTriggered, ShortestPrefix, SmallestHint, Stages
from g2rpo_env.controllers.per_problem import ItemResponse, PerProblem
from g2rpo_env.controllers.rules import AdaptiveGuidance, FixedGuidance, OfficialCadence, TargetSuccess, Withheld
from g2rpo_env.controllers.schedules import (
    CosineBinomial,
    CosineDecay,
    LinearDecay,
    Replay,
    StartStates,
    StepDecay,
    UniformDraw,
    UniformWindow,
)
from g2rpo_env.controllers.self_tuning import SelfTuning
from g2rpo_env.controllers.simulator import LearnerModel, Simulation, simulate_controller

__all__ = [
    "AdaptiveGuidance",
    "Backtracking",
    "Bounded",
    "Controller",
    "CosineBinomial",
    "CosineDecay",
    "FailureTriggered",
    "Feedback",
    "FixedGuidance",
    "ItemResponse",
    "LearnerModel",
    "LinearDecay",
    "OfficialCadence",
    "PerProblem",
    "Replay",
    "SelfTuning",
    "ShortestPrefix",
    "Simulation",
    "SmallestHint",
    "Stages",
    "StartStates",
    "StepDecay",
    "TargetSuccess",
    "UniformDraw",
    "UniformWindow",
    "Withheld",
    "simulate_controller",
]
