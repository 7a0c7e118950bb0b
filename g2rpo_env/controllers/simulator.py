"""Controllers against a modelled learner: whole trainings in milliseconds, many settings side by side.

The learner is a caricature with few numbers, and says nothing about any real task. It is there to find rules that
drift, collapse or get stuck before a real run does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from g2rpo_env.controllers.base import Controller, Feedback
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal.assignment import count_guided
from g2rpo_env.streams import stream


@dataclass(frozen=True)
class LearnerModel:
    """A learner with one number, its ability, in logits.

    Success: P(correct) = 1 / (1 + exp(-(ability - difficulty + help * h^bend))), h in [0, 1] the revealed share of the
    solution, difficulty normal around 0 with standard deviation ``spread``, one per problem.

    Learning: per update ability grows by the mean over groups of s (rate * w + imitation * v), where s is the
    standard deviation of the group's answers, v the mean revealed share of its correct members, and w = 1 - v what they
    wrote themselves. It is what the normalised advantages of the correct members of a group sum to, sum(A+) / G =
    sqrt(p (1 - p)), times the part of the solution that they credit. A group without a right or without a wrong answer
    teaches nothing, and a revealed whole solution teaches nothing but itself.

    Args:
        ability: Ability at the start.
        spread: Standard deviation of the difficulty, >= 0.
        help: Logits that a whole solution adds, >= 0.
        bend: Above 1 only long reveals help (sums), below 1 short ones do; > 0.
        rate: Ability gained from what was sampled, >= 0.
        imitation: Ability gained from what was revealed, >= 0; above 0 where revealed tokens are in the loss.
        trend: Ability gained per update whatever happens, of any sign.
        jump: Ability gained at once before update ``jump_at``, of any sign.
        jump_at: Update of the jump, from 0.
        harder: Growth of the difficulty of the problems drawn per update (a curriculum); accuracy is always
            measured on the difficulty of the start.

    Raises:
        ConfigurationError: a number breaks its rule.
    """

    ability: float = -4.0
    spread: float = 1.0
    help: float = 7.0
    bend: float = 1.0
    rate: float = 0.3
    imitation: float = 0.0
    trend: float = 0.0
    jump: float = 0.0
    jump_at: int = 0
    harder: float = 0.0

    def __post_init__(self) -> None:
        for name in ("spread", "help", "rate", "imitation", "jump_at"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 0")
        if not self.bend > 0:
            raise ConfigurationError(f"bend={self.bend} must be above 0")


@dataclass(frozen=True)
class Simulation:
    """Curves of simulated trainings; S settings, U updates.

    Attributes:
        length: Float (S, U + 1), the lengths before the first update and after each.
        reward: Float (S, U), share of correct answers.
        guided: Float (S, U), share of correct answers with a reveal; NaN without any.
        unguided: Float (S, U), the same without a reveal.
        ability: Float (S, U + 1).
        accuracy: Float (S, U + 1), expected success without guidance at the difficulty of the start.
    """

    length: np.ndarray
    reward: np.ndarray
    guided: np.ndarray
    unguided: np.ndarray
    ability: np.ndarray
    accuracy: np.ndarray


def success(logit: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow.

    >>> success(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return (1 + np.tanh(logit / 2)) / 2


def measure_lessons(correct_SPG: np.ndarray, share_SPG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lesson of a batch in sampled and in revealed tokens, two floats (S,); see LearnerModel.

    >>> half = np.array([[[True, True, False, False]]])
    >>> [float(part[0]) for part in measure_lessons(half, np.array([[[0.5, 0.0, 0.5, 0.0]]]))]     # s = 1/2, v = 1/4
    [0.375, 0.125]
    """
    share_right_SP = correct_SPG.mean(axis=2)
    deviation_SP = np.sqrt(share_right_SP * (1 - share_right_SP))
    revealed_SP = (correct_SPG * share_SPG).sum(axis=2) / np.maximum(correct_SPG.sum(axis=2), 1)
    return (deviation_SP * (1 - revealed_SP)).mean(axis=1), (deviation_SP * revealed_SP).mean(axis=1)


def mean_where(value_SN: np.ndarray, mask_SN: np.ndarray) -> np.ndarray:
    """Return the mean over the entries of a mask, float (S,); NaN where there are none."""
    count_S = mask_SN.sum(axis=1)
    return np.where(count_S > 0, (value_SN * mask_SN).sum(axis=1) / np.maximum(count_S, 1), np.nan)


def simulate_controller(
    rule: Controller | Sequence[Controller],
    learner_model: LearnerModel | Sequence[LearnerModel] = LearnerModel(),
    *,
    updates: int = 200,
    problems: int = 8,
    group_size: int = 8,
    ratio: float = 0.5,
    whole: float | None = None,
    pool: int = 64,
    seed: int = 0,
) -> Simulation:
    """Train modelled learners under controllers.

    Args:
        rule: A controller for all settings or one per setting; they are copied, not changed, and know that revealed
            tokens are trained where ``imitation`` is above 0.
        learner_model: A learner for all settings or one per setting.
        updates: Number of updates, >= 1.
        problems: Groups per update, >= 1.
        group_size: Members of each group, >= 1.
        ratio: Share of the members that are guided, the first ones, in [0, 1].
        whole: Length of a whole solution in the unit of the rule; None for the rule's ``max_length``, 100 if it has
            none.
        pool: Number of distinct problems, >= 1.
        seed: Of problems and answers; equal seeds give equal chances to every rule.

    Raises:
        ConfigurationError: an argument breaks its rule, or there are as many rules as learners in no way.

    >>> from g2rpo_env.controllers.rules import FixedGuidance
    >>> plain = simulate_controller(FixedGuidance(length=0), LearnerModel(ability=-9), updates=50)
    >>> bool(plain.accuracy[0, -1] < 0.01)                                  # too hard to begin with: nothing is learnt
    True
    >>> guided = simulate_controller(FixedGuidance(length=80), LearnerModel(ability=-9), updates=50)
    >>> guided.length.shape, bool(guided.ability[0, -1] > -9)
    ((1, 51), True)
    """
    for name, value in (("updates", updates), ("problems", problems), ("group_size", group_size), ("pool", pool)):
        if value < 1:
            raise ConfigurationError(f"{name}={value} must be at least 1")
    if not 0 <= ratio <= 1:
        raise ConfigurationError(f"ratio={ratio} must lie in [0, 1]")
    rules, models = _side_by_side(rule, learner_model)
    for one, model in zip(rules, models, strict=True):
        one.set_trains_revealed(model.imitation > 0)
    whole_S = np.array([_whole(one) if whole is None else whole for one in rules], dtype=float)
    if not (whole_S > 0).all():
        raise ConfigurationError(f"whole={whole} must be above 0")
    number = {f.name: np.array([getattr(m, f.name) for m in models], dtype=float) for f in fields(LearnerModel)}
    settings, episodes = len(rules), problems * group_size
    shape = settings, problems, group_size

    names = np.array([f"problem {i}" for i in range(pool)], dtype=object)
    member_N = np.tile(np.arange(group_size), problems)
    members = member_N.tolist()
    guided_member_N = member_N < count_guided(ratio, group_size)
    valid_N = np.ones(episodes, dtype=bool)
    difficulty_SQ = stream(seed, "difficulty").standard_normal((settings, pool)) * number["spread"][:, None]

    ability_S = number["ability"].copy()
    length = np.empty((settings, updates + 1))
    length[:, 0] = [one.length for one in rules]
    ability, accuracy = np.empty_like(length), np.empty_like(length)
    reward, guided, unguided = (np.empty((settings, updates)) for _ in range(3))

    def record(column: int) -> None:
        ability[:, column] = ability_S
        accuracy[:, column] = success(ability_S[:, None] - difficulty_SQ).mean(axis=1)

    record(0)
    for update in range(updates):
        random = stream(seed, "simulation", update)
        problem_SP = random.integers(pool, size=(settings, problems))
        name_SN = np.repeat(names[problem_SP], group_size, axis=1)
        ability_S = ability_S + number["trend"] + number["jump"] * (number["jump_at"] == update)
        planned_SN = np.array([one.plan(ids, members) for one, ids in zip(rules, name_SN, strict=True)])
        share_SN = np.clip(planned_SN / whole_S[:, None], 0, 1) * guided_member_N
        problem_difficulty_SP = np.take_along_axis(difficulty_SQ, problem_SP, 1) + number["harder"][:, None] * update
        logit_SN = ability_S[:, None] - np.repeat(problem_difficulty_SP, group_size, axis=1)
        logit_SN += number["help"][:, None] * share_SN ** number["bend"][:, None]
        correct_SN = random.random((settings, episodes)) < success(logit_SN)
        guided_SN = share_SN > 0
        percent_SN = np.ceil(100 * share_SN).astype(int)
        for i, one in enumerate(rules):
            one.update(Feedback(name_SN[i], member_N, guided_SN[i], percent_SN[i], correct_SN[i], valid_N))
        length[:, update + 1] = [one.length for one in rules]
        reward[:, update] = correct_SN.mean(axis=1)
        guided[:, update] = mean_where(correct_SN, guided_SN)
        unguided[:, update] = mean_where(correct_SN, ~guided_SN)
        sampled_S, revealed_S = measure_lessons(correct_SN.reshape(shape), share_SN.reshape(shape))
        ability_S = ability_S + number["rate"] * sampled_S + number["imitation"] * revealed_S
        record(update + 1)
    return Simulation(length, reward, guided, unguided, ability, accuracy)


def _side_by_side(
    rule: Controller | Sequence[Controller], learner_model: LearnerModel | Sequence[LearnerModel]
) -> tuple[list[Controller], list[LearnerModel]]:
    """Return as many rules (copies) as learners."""
    rules = [rule] if isinstance(rule, Controller) else list(rule)
    models = [learner_model] if isinstance(learner_model, LearnerModel) else list(learner_model)
    settings = max(len(rules), len(models))
    if not (rules and models) or len(rules) not in (1, settings) or len(models) not in (1, settings):
        raise ConfigurationError(
            f"rule has {len(rules)} controllers and learner_model {len(models)} learners; they must be as many, or one "
            "of them one for all"
        )
    rules = [copy.deepcopy(one) for one in (rules * settings if len(rules) == 1 else rules)]
    return rules, models * settings if len(models) == 1 else models


def _whole(rule: Controller) -> float:
    longest = getattr(rule, "max_length", None)
    return 100.0 if longest is None else float(longest)
