"""Math and code problems as token-level Gymnasium environments, with guidance and its controllers.

Importing this package registers the environment ids and imports no torch; ``g2rpo_env.agents`` is the part that does.
"""

from pathlib import Path

# In a checkout agents/ and envs/ lie beside this folder, once installed they lie inside it:
# see package_dir in setup.cfg.
if not (Path(__file__).parent / "envs").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))

# Environments
# Errors
from g2rpo_env import errors
from g2rpo_env._version import __version__

# The admission test
from g2rpo_env.checks import check_env, check_vector_env
from g2rpo_env.controllers.backtracking import Backtracking
from g2rpo_env.controllers.base import Controller, Feedback
from g2rpo_env.controllers.on_failure import ShortestPrefix, SmallestHint, Stages
from g2rpo_env.controllers.per_problem import ItemResponse, PerProblem

# Controllers
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
from g2rpo_env.core import TokenEnv

# The order of problems
from g2rpo_env.curriculum import Curriculum, Measured, Ramp, Readmitting, Without

# Records
from g2rpo_env.episode import Episode, Group, Groups, Role

# Guidance
from g2rpo_env.grading import Grading, with_grading
from g2rpo_env.guidance import GuidanceWrapper, VectorGuidanceWrapper, find_guidance, give_feedback
from g2rpo_env.hints import Hinted

# Problems and verdicts: what a task of your own is made of
from g2rpo_env.problem import Problem, ProblemSource
from g2rpo_env.registration import env_ids, register_all, register_task

# Who is guided
from g2rpo_env.reveal.assignment import FirstMembers, Levels, RandomMembers, WholeGroups, even_levels

# Where guidance stands
from g2rpo_env.reveal.placement import InAnswer, InPrompt
from g2rpo_env.reveal.plan import RevealPlan
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import char_tokenizer, load_tokenizer
from g2rpo_env.traces import Traces, with_traces
from g2rpo_env.vector import TokenVectorEnv
from g2rpo_env.verdict import Outcome, Verdict, Verifier

register_all()

__all__ = [
    "AdaptiveGuidance",
    "Controller",
    "Episode",
    "Feedback",
    "FixedGuidance",
    "Group",
    "Groups",
    "GuidanceWrapper",
    "OfficialCadence",
    "Measured",
    "Outcome",
    "Problem",
    "ProblemSource",
    "Ramp",
    "Replay",
    "RevealPlan",
    "Role",
    "TargetSuccess",
    "Task",
    "TokenEnv",
    "TokenVectorEnv",
    "VectorGuidanceWrapper",
    "Verdict",
    "Verifier",
    "__version__",
    "char_tokenizer",
    "check_env",
    "check_vector_env",
    "env_ids",
    "errors",
    "find_guidance",
    "give_feedback",
    "load_tokenizer",
    "register_all",
    "register_task",
    "FirstMembers",
    "Levels",
    "RandomMembers",
    "even_levels",
    "ShortestPrefix",
    "SelfTuning",
    "SmallestHint",
    "Stages",
    "ItemResponse",
    "PerProblem",
    "CosineBinomial",
    "CosineDecay",
    "Curriculum",
    "LinearDecay",
    "StepDecay",
    "UniformWindow",
    "UniformDraw",
    "WholeGroups",
    "Readmitting",
    "Hinted",
    "InAnswer",
    "InPrompt",
    "LearnerModel",
    "Simulation",
    "simulate_controller",
    "Traces",
    "with_traces",
    "Grading",
    "with_grading",
    "Backtracking",
    "StartStates",
    "Withheld",
    "Without",
]
